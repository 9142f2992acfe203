"""Defects that a person, not a load story, meets: each is shown by a test of `pytest_suite` that names it.

No check of a recorded history is meant for them, so `caught_by` is empty and the matrix leaves them out.
"""

from __future__ import annotations

from earwitness.harness.defects.catalogue.described import Described

REQUEST = "one request"
LOGIN = "one login"
STORY = "pytest_suite"


def found_by_tests(id: str, name: str, service: str, breaks: str, opportunity: str) -> Described:
    return Described(
        id=id,
        name=name,
        service=service,
        breaks=breaks,
        opportunity=opportunity,
        caught_by=(),
        high=1.0,
        one=0.1,
        story=STORY,
    )


FUNCTIONAL: tuple[Described, ...] = (
    found_by_tests(
        "S1", "ask-auth-each-time", "backend",
        "The login service was down, and nobody who was logged in could read any more.", REQUEST,
    ),
    found_by_tests(
        "S2", "breaker-never-opens", "backend",
        "The login service was slow, and everything else became as slow.", "one time that the breaker should open",
    ),
    found_by_tests(
        "S3", "provider-taken-for-up", "auth",
        "Google was down, and the login sent me to a page that never came.", "one login while the provider is down",
    ),
    found_by_tests(
        "S4", "panic", "backend",
        "The login service restarted, and everybody was thrown out of the chat.", "one failed look at auth",
    ),
    found_by_tests(
        "S5", "stranger-each-time", "auth",
        "I logged in again, and all my conversations were gone.", LOGIN,
    ),
    found_by_tests(
        "S6", "stale-change", "backend",
        "I changed my name, it was confirmed, and everybody sees the old one.", "one change of an account",
    ),
    found_by_tests(
        "S7", "deaf-while-away", "backend",
        "I signed up during the maintenance, and the chat does not know me.", "one start that finds unread news",
    ),
    found_by_tests(
        "S8", "told-once", "auth",
        "My rights were changed while a server was down, and nobody ever heard of it.", "one change that is not taken",
    ),
    found_by_tests(
        "S9", "yes-anyway", "auth",
        "The app said that my new name was saved, and it was not.", "one change while the database is away",
    ),
    found_by_tests(
        "S10", "answered-as-another", "backend",
        "I opened my profile, and it was somebody else's.", "one request after somebody else's",
    ),
    found_by_tests(
        "S11", "connected-as-another", "backend",
        "I opened the app, and I was somebody else.", "one socket after somebody else's",
    ),
    found_by_tests(
        "S12", "keys-once", "backend",
        "The keys were changed as planned, and whoever logged in afterwards was refused.", "one unknown key",
    ),
    found_by_tests(
        "S13", "one-falls-all-fall", "backend",
        "I closed one tab, and all the others lost their connection.", "one socket that ends beside others of its user",
    ),
    found_by_tests(
        "S14", "news-to-one-tab", "backend",
        "I changed my name, and only one of my tabs shows it.", "one piece of news for a user's second socket",
    ),
    found_by_tests(
        "S15", "logout-everywhere", "auth",
        "I logged out on the laptop, and the phone was logged out as well.", "one logout",
    ),
    found_by_tests(
        "S16", "plain-pkce", "auth",
        "Whoever read my browser's history could finish my login.", LOGIN,
    ),
    found_by_tests(
        "S17", "one-nonce", "auth",
        "An old answer of Google could be used for a new login.", LOGIN,
    ),
    found_by_tests(
        "S18", "nonce-unchecked", "auth",
        "I was logged in with an answer that was meant for another login.", "one login with another's nonce",
    ),
    found_by_tests(
        "S19", "issuer-unchecked", "auth",
        "Another provider's answer was taken for Google's.", "one answer of another issuer",
    ),
    found_by_tests(
        "S20", "code-for-anybody", "provider",
        "Somebody who had seen my code could log in with it as well.", "one code that is used again",
    ),
    found_by_tests(
        "S21", "open-redirect", "auth",
        "A link to our login led to a page that stole it.", "one address that is no page of ours",
    ),
    found_by_tests(
        "S22", "tenth-of-the-budget", "backend",
        "I pasted a long text, and the app told me to slow down.", "one refusal that the budget does not justify",
    ),
    found_by_tests(
        "S23", "endless-patience", "backend",
        "A broken program hammered us all day, and nobody closed its connection.", "one socket that should be closed",
    ),
    found_by_tests(
        "S24", "forgetful-sessions", "auth",
        "After the update everybody had to log in again.", "one refresh token from before the start",
    ),
    found_by_tests(
        "S25", "cached-people", "backend",
        "Their account was closed in the morning, and in the evening they were still connecting.",
        "one look-up of somebody who has changed or is gone",
    ),
    found_by_tests(
        "S26", "first-header-wins", "backend",
        "A proxy saw one person in the request, the chat another.", "one request with two tokens",
    ),
)  # fmt: skip
