"""Defects of the resource plane: how much of the platform somebody gets."""

from __future__ import annotations

from earwitness.harness.defects.catalogue.described import Described

STORY = "rate_limits"
PERSON = "one person; it fires for each request of theirs beyond the budget"

LIMITS: tuple[Described, ...] = (
    Described(
        id="Z54",
        name="limit-per-process",
        breaks="With two connections I can send twice as much as I may.",
        opportunity=PERSON,
        caught_by=("I36", "I38"),
        high=1.0,
        one=0.1,
        needs="people who use up their budget over several replicas",
        story=STORY,
    ),
    Described(
        id="Z55",
        name="limit-by-header",
        service="auth",
        breaks="Whoever writes another address into a header may go on flooding.",
        opportunity="one request that says where it is from",
        caught_by=("I39", "I36", "I38"),
        high=1.0,
        one=0.1,
        needs="people who use up their budget and claim to come from elsewhere",
        story=STORY,
    ),
    Described(
        id="Z56",
        name="fixed-window",
        breaks="At the turn of the minute somebody floods us with twice of what is allowed.",
        opportunity=PERSON,
        caught_by=("I36", "I38"),
        high=1.0,
        one=0.4,
        needs="people who use up their budget",
        story=STORY,
    ),
    Described(
        id="Z57",
        name="limit-wrong-user",
        breaks="I had sent nothing, and the app told me to slow down.",
        opportunity="one charge after somebody else's",
        caught_by=("I39", "I37", "I36"),
        high=0.5,
        one=0.05,
        needs="people who use up their budget beside others who do not",
        story=STORY,
    ),
    Described(
        id="Z58",
        name="retry-after",
        breaks="The app tries again and again, and is refused each time.",
        opportunity="one refusal of somebody who has used up their budget",
        caught_by=("I38",),
        high=0.5,
        one=0.02,
        needs="people who use up their budget",
        story=STORY,
    ),
)
