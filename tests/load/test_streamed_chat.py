"""A chat API whose answers are streamed over HTTP: judged without a socket, and each planted fault found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sse_server import sse_chat

__all__ = ["sse_chat"]  # fixture
STORY, CUTS = "examples/dialects/ask_story.py", "examples/dialects/ask_cut.py"


def test_it_passes(locust: Callable[..., Any], sse_chat: Callable[..., Path]) -> None:
    """Questions one after the other and at once, all answers whole, none of another user; the history agrees."""
    run = locust("-u", "10", "-r", "10", "-t", "5s", "--target", str(sse_chat(strict=True)), story=STORY)
    assert run.code == 0, run.out
    examined = {
        c["id"] for c in run.verdict["checks"] if c["examined"] > 0 and c["outcome"] == "PASS" and c["promised"]
    }
    assert {"I5a", "I8", "I10", "I11", "I12", "I24", "I43"} <= examined
    assert run.check("I24")["examined"] == run.recorded("OK") == run.recorded("INVOKE") > 20


@pytest.mark.parametrize(
    ("switch", "broken"),
    [
        pytest.param("--leak", {"I12"}, marks=pytest.mark.campaign),
        ("--end", {"I24"}),
        pytest.param("--swap", {"I12", "I24"}, marks=pytest.mark.campaign),
        pytest.param("--cut", {"I24"}, marks=pytest.mark.campaign),
        pytest.param("--stall", {"I24"}, marks=pytest.mark.campaign),
        pytest.param("--lose", {"I10", "I24"}, marks=pytest.mark.campaign),
        pytest.param("--double", {"I10", "I24"}, marks=pytest.mark.campaign),
        pytest.param("--forget", {"I24"}, marks=pytest.mark.campaign),
    ],
)
def test_a_planted_fault(
    locust: Callable[..., Any], sse_chat: Callable[..., Path], switch: str, broken: set[str]
) -> None:
    """One answer in ten has it. It is found by the right check, and is no trouble of acknowledgements."""
    file = sse_chat(switch, "10", strict=switch in ("--lose", "--double", "--stall", "--forget"))
    run = locust("-u", "10", "-r", "10", "-t", "5s", "--target", str(file), story=STORY)
    assert run.code == 1, run.out
    assert run.broken
    assert set(run.broken) <= broken
    assert run.recorded("OK") == run.recorded("INVOKE")


def test_answers_that_outlast_the_run(locust: Callable[..., Any], sse_chat: Callable[..., Path]) -> None:
    """The tester ends them itself: no end is missing, and each such room is left on record."""
    file = sse_chat("--gap-s", "1")
    run = locust("-u", "4", "-r", "4", "-t", "3s", "--drain-s", "1", "--target", str(file), story=STORY)
    assert run.check("I24")["violations"] == 0, run.out
    assert run.recorded("LEAVE") >= 1
    assert run.code in (0, 3)


@pytest.mark.parametrize(
    ("switches", "broken"), [((), []), pytest.param(("--cut", "10"), ["I24"], marks=pytest.mark.campaign)]
)
def test_answers_that_the_tester_cuts(
    locust: Callable[..., Any], sse_chat: Callable[..., Path], switches: tuple[str, ...], broken: list[str]
) -> None:
    """They are neither missed nor counted, users ask again, and an answer that the server cuts is still found."""
    file = sse_chat("--gap-s", "0.02", *switches, strict=True)
    run = locust("-u", "6", "-r", "6", "-t", "8s", "--target", str(file), story=CUTS)
    assert (run.code, run.broken) == (1 if broken else 0, broken), run.out
    cut = run.verdict["streams"]["cut_short"]
    assert 1 <= cut <= 3, "one answer of each second user; one that ended by itself at that moment is not cut"
    assert run.check("I24")["examined"] == run.recorded("OK") - cut
    assert run.recorded("CONNECT") == 9
