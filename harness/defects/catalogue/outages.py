"""Defects of deployments and of outages."""

from __future__ import annotations

from earwitness.harness.defects.catalogue.described import Described

OUTAGES: tuple[Described, ...] = (
    Described(
        id="Z37",
        name="no-drain",
        breaks="Each time they deploy, my connection dies without a word.",
        opportunity="one socket of a backend that goes down gracefully",
        caught_by=("I28",),
        high=1.0,
        one=0.1,
        needs="a graceful restart or a replacement of a backend",
        story="rolling_restart",
    ),
    Described(
        id="Z38",
        name="reconnects-limited",
        breaks="After a deployment I could not connect again for a while: too many requests, it said.",
        opportunity="one connection of a user who was connected before",
        caught_by=("I28", "I37"),
        high=0.3,
        one=0.05,
        needs="a graceful restart or a replacement of a backend",
        story="rolling_restart",
    ),
    Described(
        id="Z52",
        name="fail-open",
        breaks="While the login service was down, anybody could get in with a token that they had made up.",
        opportunity="one token of an unknown key while auth cannot be asked",
        caught_by=("I35", "I31"),
        high=1.0,
        one=0.2,
        needs="an outage of auth, and forged tokens in it",
        story="auth_outage",
    ),
    Described(
        id="Z53",
        name="breaker-stuck-open",
        breaks="The login service had long been back, and the page still said that nobody can log in.",
        opportunity="one call of auth when an open breaker should try again",
        caught_by=("I40", "I35"),
        high=1.0,
        one=0.04,
        service="frontend",
        needs="an outage of auth, and logins during it and after",
        story="auth_outage",
    ),
    Described(
        id="Z53b",
        name="half-open-for-all",
        breaks="The login service came back, was overrun at once, and went down again.",
        opportunity="one call of auth beside the one that tries whether it is back",
        caught_by=("I40",),
        high=1.0,
        one=0.5,
        service="frontend",
        needs="an outage of auth, and logins during it",
        story="auth_outage",
    ),
)
