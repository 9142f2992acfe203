"""Glossary of `report.html`: words that a reader who has never used the tool may not know."""

from __future__ import annotations

from typing import Final

from earwitness.harness.report.page.words import section, text

TERMS: Final = (
    ("story", "what the users of the run do, written as a program, and which checks judge it"),
    ("fault", "an event of the run that harms the platform, such as a killed service"),
    ("planted defect", "a mistake that was built into the reference platform on purpose"),
    ("contract", "what the platform promises; what it does not promise is only observed"),
    ("counterexample", "the records that prove one violation; also called witness in commands and paths"),
    ("lane", "a column of a picture: one device, or the platform"),
    ("load-0:1527", "record 1527 of the journal load-0, which one load process writes; collector is another"),
    ("r7-of-4", "a room that the tool planned: room r7, with 4 members; other names are the platform's"),
    ("#3 of ann, number 7", "the third message that ann sent; the platform gave it number 7 of its room"),
    ("device, connection", "a user has devices; a device has one connection after another; each journal numbers them"),
    ("drain", "the end of a run: nothing new is sent, and what is under way may arrive"),
    ("final read, final state", "the history of each room, read after the drain: what the platform has stored"),
    ("fan-out", "the time from a message's sending to its receipt by another device"),
    ("ack, planned ack", "the time to the acknowledgement: from the sending, and from its planned moment"),
    ("probe", "a request, again and again, to see whether the platform answers"),
    ("lag", "how late the load generator itself was; a sample is one load process, so few samples are normal"),
    ("edge, provider", "services of the reference platform: the proxy before it, and the login service of others"),
)  # fmt: skip


def terms() -> str:
    """Return the HTML section that explains the words of the page."""
    rows = "".join(f"<dt>{text(word)}</dt><dd>{text(meaning)}</dd>" for word, meaning in TERMS)
    return section("words", "Words of this page", f"<dl>{rows}</dl>")
