"""Defects of the sync plane: what the main database knows of accounts."""

from __future__ import annotations

from earwitness.harness.defects.catalogue.described import Described

STORY = "user_sync"

SYNC: tuple[Described, ...] = (
    Described(
        id="Z59",
        name="sync-error-swallowed",
        breaks="I have an account, and the chat says that it does not know me.",
        opportunity="one change of an account, a new one too",
        caught_by=("I41",),
        high=0.2,
        one=0.01,
        story=STORY,
        also=("oauth_login",),
    ),
    Described(
        id="Z60",
        name="deactivation-forgotten",
        service="auth",
        breaks="They left the company, their account is closed, and they still chat.",
        opportunity="one deactivation",
        caught_by=("I41", "I30", "I34"),
        high=1.0,
        one=0.2,
        needs="accounts that are deactivated",
        story=STORY,
    ),
    Described(
        id="Z61",
        name="two-accounts",
        service="auth",
        breaks="I have two accounts, and each has half of my conversations.",
        opportunity="one first login",
        caught_by=("I42", "I41"),
        high=0.5,
        one=0.02,
        needs="first logins of one person on several devices at once",
        story="oauth_login",
    ),
    Described(
        id="Z62",
        name="late-sync",
        service="auth",
        breaks="I changed my name, and the others saw the old one for a long time.",
        opportunity="one change of an account that was there before",
        caught_by=("I41",),
        high=0.5,
        one=0.05,
        needs="accounts that change",
        story=STORY,
    ),
    Described(
        id="Z63",
        name="news-for-nobody",
        breaks="I changed my name on the laptop, and the phone showed the old one until I restarted the app.",
        opportunity="one socket that would be told of a changed account",
        caught_by=("I41",),
        high=0.3,
        one=0.03,
        needs="accounts that change while a socket of theirs is open",
        story=STORY,
    ),
    Described(
        id="Z67",
        name="news-to-another",
        breaks="Somebody else's name and address appeared as mine, until I restarted the app.",
        opportunity="one socket that is told of a changed account while somebody else's is open on the same replica",
        caught_by=("I14",),
        high=0.3,
        one=0.03,
        needs="accounts that change while sockets are open",
        story=STORY,
    ),
)
