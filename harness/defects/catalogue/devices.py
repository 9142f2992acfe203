"""Defects of what the devices of a person share."""

from __future__ import annotations

from earwitness.harness.defects.catalogue.described import Described

STORY = "multi_session"

DEVICES: tuple[Described, ...] = (
    Described(
        id="Z22",
        name="earlier-writer-wins",
        breaks="I corrected the message on the phone, it said saved, and now the text from the laptop is there again.",
        opportunity="one edit of a message that was edited before, or one read mark below the one that stands",
        caught_by=("I18", "I22"),
        high=0.5,
        one=0.03,
        needs="edits and read marks of several devices",
        story=STORY,
    ),
    Described(
        id="Z72",
        name="blind-edit",
        breaks="I saved my correction, and what I had written on the phone meanwhile was overwritten without a word.",
        opportunity="one edit of a version that another edit has replaced",
        caught_by=("I18",),
        high=1.0,
        one=0.5,
        needs="edits of one message by several devices, some of which name the version that they are of",
        story=STORY,
    ),
    Described(
        id="Z29",
        name="missed-mark",
        breaks="I read everything on the phone, and the laptop still shows it as unread.",
        opportunity="one read mark for one device",
        caught_by=("I22",),
        high=0.2,
        one=0.03,  # a tab that is closed and opened again is told all marks: one firing often heals
        needs="read marks of people with several devices",
        story=STORY,
    ),
    Described(
        id="Z35",
        name="endless-lease",
        breaks="They went home hours ago, and are still shown as online.",
        opportunity="one person",
        caught_by=("I27",),
        high=1.0,
        one=0.4,
        needs="a replica that dies, and people who go away afterwards",
        story=STORY,
    ),
    Described(
        id="Z36",
        name="lease-of-all-tabs",
        breaks="I closed one of my tabs, and everybody saw me as offline.",
        opportunity="one socket that ends while others of the same person are open",
        caught_by=("I27",),
        high=0.5,
        one=0.1,
        needs="people with several devices who watch one another",
        story=STORY,
    ),
)
