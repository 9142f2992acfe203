"""Locust users whose every frame is recorded, and the life of a run from start to verdict."""

from earwitness.harness.load.behaviours.accounts import AccountUser
from earwitness.harness.load.behaviours.asking import Asking
from earwitness.harness.load.behaviours.attacks import Attacker
from earwitness.harness.load.behaviours.cutting import Cutting
from earwitness.harness.load.behaviours.devices import Device
from earwitness.harness.load.behaviours.flooding import Flooder
from earwitness.harness.load.behaviours.racing import Racer
from earwitness.harness.load.behaviours.reading import Reading
from earwitness.harness.load.behaviours.removing import Removing
from earwitness.harness.load.behaviours.returning import Returning
from earwitness.harness.load.behaviours.visitors import Visitor
from earwitness.harness.load.story import Story, story
from earwitness.harness.load.users import ChatUser

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
