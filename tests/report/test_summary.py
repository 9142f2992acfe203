"""One sentence for each broken check: how often, of how many, at what rate, and who was hit."""

from __future__ import annotations

from typing import Any

import pytest

from earwitness.harness.report.summary import KNOWN, broken_sentence, per_cent


def row(id: str, violations: int, examined: int, *hit: tuple[str | None, str | None], **facts: int) -> dict[str, Any]:
    witnesses = [{"room": room, "user": user} for room, user in hit]
    return {"id": id, "violations": violations, "examined": examined, "witnesses": witnesses, "facts": facts}


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (row("I5a", 3, 1188, *[("lobby", None)] * 3),
         "3 of 1,188 acknowledged messages are not in the final state (0.253 %), in 1 room"),
        (row("I5a", 1, 8, ("lobby", None)),
         "1 of 8 acknowledged messages is not in the final state (12.5 %), in 1 room"),
        (row("I12", 9, 12_745, ("a", "ann"), ("b", "bob")),
         "9 of 12,745 receipts leaked something of a conversation to where it does not belong (0.0706 %); "
         "the first 2 are in 2 rooms, for 2 users"),
        (row("I4", 5, 200, reorder=3, open=2),
         "5 of 200 deliveries jumped over numbers: 3 jumps whose numbers came late, "
         "2 whose numbers never came (2.5 %)"),
        (row("I4", 5, 200), "5 of 200 deliveries (2.5 %)"),
        (row("I36", 1, 9), "1 of 9 grants (11.1 %)"),
        (row("U1", 2, 0), "2 violations in 0 examined"),
        (row("U1", 1, 5), "1 violation in 5 examined (20 %)"),
        (row("I24", 9, 4), "9 violations in 4 streamed answers (225 %)"),
        (row("I6", 3, 30, (None, "ann")),
         "3 of 30 deliveries brought a message again (10 %); the first 1 are for 1 user"),
    ],
)  # fmt: skip
def test_words(check: dict[str, Any], words: str) -> None:
    """Its own words where a check has them; a verdict of an earlier version and own checks have general ones."""
    assert broken_sentence(check) == words


@pytest.mark.parametrize("id", [check.id for check in KNOWN.values() if check.tally])
@pytest.mark.parametrize("violations", [1, 7])
def test_every_tally_can_be_filled(id: str, violations: int) -> None:
    """No braces are left, and the general words are not needed."""
    words = broken_sentence(row(id, violations, 99, reorder=1, open=0))
    assert f"{violations} of 99 " in words
    assert "{" not in words


def test_a_rate_is_never_rounded_to_nothing() -> None:
    """Three significant digits, however rare."""
    assert per_cent(1, 10_000_000) == "less than 0.0001 %"
    assert per_cent(1, 3) == "33.3 %"
    assert per_cent(0, 0) == ""
