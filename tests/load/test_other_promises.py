"""What somebody else's platform promises beyond the plainest, and breaks; and what it says that nobody judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TALKING = "tests/load/stories/talking.py"


def test_numbers_that_nothing_is_promised_of(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """The run says at its beginning and in its verdict what it does not judge."""
    file = other_chat()
    text = file.read_text().replace('sender = "what.by" }', 'sender = "what.by", seq = "what.n" }', 1)
    file.write_text(text.replace('sequence = "none"', ""))
    run = locust("-u", "5", "-r", "5", "-t", "3s", "--target", str(file), story=TALKING)
    assert run.code == 0, run.out
    words = "frames.message.seq is described, but [contract] does not mention sequence"
    assert " ".join(run.out.split()).count(words) == 2
    [warning] = run.verdict["warnings"]
    assert 'Write sequence = "contiguous" if the platform promises it' in warning


def promising(file: Path, *promises: str, numbers: bool = False) -> Path:
    """A target file with more promises; with `numbers`, messages have them and acknowledgements have none."""
    text = file.read_text()
    if numbers:
        text = text.replace('sender = "what.by" }', 'sender = "what.by", seq = "what.n" }', 1)
        text = text.replace('sequence = "none"', 'sequence = "contiguous"').replace(
            'sender = "by"', 'sender = "by"\nseq = "n"'
        )
    file.write_text("\n".join((text, *promises, "")))
    return file


def test_sockets_that_fall_silent_before_they_are_cut(
    locust: Callable[..., Any], other_chat: Callable[..., Path]
) -> None:
    """What happens to a connection after the bound excuses nothing (I25); what never came at all is counted (I47)."""
    file = promising(other_chat("--mute", "20"), "delivery_bound_s = 1.0", "misses_nothing = true")
    run = locust("-u", "4", "-r", "4", "-t", "8s", "--target", str(file), story=TALKING)
    assert run.code == 1, run.out
    assert run.broken == ["I25", "I47"]
    missed = run.verdict["missed_live"]
    assert missed["missed"] == run.check("I47")["violations"] > 0
    assert missed["devices"] == 4
    assert f"missed live: {missed['missed']:,} of {missed['owed']:,}" in run.out


def test_a_slow_platform_loses_nothing(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Our deadline ends the run while every connection still receives: UNKNOWN with what to do, and no loss."""
    file = other_chat("--slow", "0.03")
    run = locust("-u", "2", "-r", "2", "-t", "3s", "--drain-s", "2", "--target", str(file))
    assert run.code == 3, run.out
    assert (run.check("I5b")["outcome"], run.check("I5b")["violations"]) == ("UNKNOWN", 0)
    assert "raise --drain-s" in run.check("I5b")["why"]


def test_pushes_that_come_after_the_last_acknowledgement(
    locust: Callable[..., Any], other_chat: Callable[..., Path]
) -> None:
    """Acknowledgements without numbers, and 0.3 s later the messages with theirs: the run waits for what is owed."""
    file = promising(other_chat("--lag", "0.3"), numbers=True)
    run = locust("-u", "4", "-r", "4", "-t", "4s", "--target", str(file), story=TALKING)
    assert run.code == 0, run.out
    assert run.check("I4")["outcome"] == run.check("I5b")["outcome"] == "PASS"
    assert run.verdict["missed_live"]["missed"] == 0


def test_acknowledgements_that_never_come(locust: Callable[..., Any], other_chat: Callable[..., Path]) -> None:
    """Every tenth message is never answered: a violation (I43), and a percentile does not leave it out."""
    file = promising(other_chat("--silent", "10"), "answer_bound_s = 1.0")
    run = locust(
        "-u", "4", "-r", "4", "-t", "4s", "--threshold", "ack p99 < 1 s", "--target", str(file), story=TALKING
    )  # fmt: skip
    assert run.code == 1, run.out
    assert run.broken == ["I43"]
    sent = run.recorded("INVOKE") + 2  # two before the load
    assert run.check("I43")["violations"] == sent // 10
    assert f"MISSED  ack p99: unbounded, {sent // 10} were never answered, at most 1 s" in run.out
