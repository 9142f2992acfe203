"""Locust users that record every frame, their behaviours, and the Locust hooks of a run."""

from earwitness.harness.load.behaviour import Behaviour
from earwitness.harness.load.behaviours.accounts import Accounts
from earwitness.harness.load.behaviours.asking import Asking
from earwitness.harness.load.behaviours.attacks import Attacks
from earwitness.harness.load.behaviours.cutting import Cutting
from earwitness.harness.load.behaviours.devices import Devices
from earwitness.harness.load.behaviours.flooding import Flooding
from earwitness.harness.load.behaviours.leaving import Leaving
from earwitness.harness.load.behaviours.racing import Racing
from earwitness.harness.load.behaviours.reading import Reading
from earwitness.harness.load.behaviours.removing import Removing
from earwitness.harness.load.behaviours.returning import Returning
from earwitness.harness.load.behaviours.tokens import Tokens
from earwitness.harness.load.behaviours.unusual import Unusual
from earwitness.harness.load.behaviours.visiting import Visiting
from earwitness.harness.load.declaration import Story
from earwitness.harness.load.story import story
from earwitness.harness.load.users import ChatUser

__all__ = [
    "Accounts",
    "Asking",
    "Attacks",
    "Behaviour",
    "ChatUser",
    "Cutting",
    "Devices",
    "Flooding",
    "Leaving",
    "Racing",
    "Reading",
    "Removing",
    "Returning",
    "Story",
    "Tokens",
    "Unusual",
    "Visiting",
    "story",
]
