"""Locust users whose every frame is recorded, and the life of a run from start to verdict."""

from earwitness.harness.load.accounts import AccountUser
from earwitness.harness.load.asking import Asking
from earwitness.harness.load.attacks import Attacker
from earwitness.harness.load.cutting import Cutting
from earwitness.harness.load.devices import Device
from earwitness.harness.load.flooding import Flooder
from earwitness.harness.load.racing import Racer
from earwitness.harness.load.reading import Reading
from earwitness.harness.load.removing import Removing
from earwitness.harness.load.returning import Returning
from earwitness.harness.load.story import Story, story
from earwitness.harness.load.users import ChatUser
from earwitness.harness.load.visitors import Visitor

__all__ = [
    "AccountUser",
    "Asking",
    "Attacker",
    "ChatUser",
    "Cutting",
    "Device",
    "Flooder",
    "Racer",
    "Reading",
    "Removing",
    "Returning",
    "Story",
    "Visitor",
    "story",
]
