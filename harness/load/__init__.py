"""Locust users whose every frame is recorded, and the life of a run from start to verdict."""

from harness.load.accounts import AccountUser
from harness.load.asking import Asking
from harness.load.attacks import Attacker
from harness.load.cutting import Cutting
from harness.load.devices import Device
from harness.load.flooding import Flooder
from harness.load.racing import Racer
from harness.load.reading import Reading
from harness.load.removing import Removing
from harness.load.returning import Returning
from harness.load.story import Story, story
from harness.load.users import ChatUser
from harness.load.visitors import Visitor

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
