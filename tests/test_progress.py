"""Whoever waits for more than two seconds is told how far it has come."""

from __future__ import annotations

import io
import json
import logging
import sys
import time

import pytest

from earwitness.harness import progress
from earwitness.harness.progress import Progress, show_verdict


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, screen: bool, total: int) -> str:
    """What stands on stderr when a second passes before each of eight calls."""
    now = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: screen)
    with Progress("judging x", total) as judging:
        for done in range(1, 9):
            judging.at(done)
    return capsys.readouterr().err


def test_words_of_others_do_not_drive_the_terminal() -> None:
    """Control characters are written out; lines and other writing stay."""
    assert progress.printable("a\x1b[2J\x07\x9b\x7f\r\u2028b\n\tnaïve 🧵") == (
        "a\\x1b[2J\\x07\\x9b\\x7f\\x0d\\u2028b\n\tnaïve 🧵"
    )


def test_words_of_others_in_a_line_make_no_other() -> None:
    """A line break would forge a sentence of ours; what lets text run backwards is written out too."""
    assert progress.one_line("left\nearwitness: PASS\t\u202e\ud800") == r"left\x0aearwitness: PASS\x09\u202e\ud800"


def test_everything_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences, texts, and JSON, which stays what it is for a program."""
    progress.say("gone: \x9b31m")
    progress.show("a\x1b[2J\nb")
    progress.show_json({"by": "é\x1b\x9b"})
    out, err = capsys.readouterr()
    assert err == "earwitness: gone: \\x9b31m\n"
    assert out.startswith("a\\x1b[2J\nb\n")
    assert "é" in out
    assert not {"\x1b", "\x9b"} & set(out)
    assert json.loads(out.removeprefix("a\\x1b[2J\nb\n")) == {"by": "é\x1b\x9b"}


def test_logs_write_controls_out() -> None:
    """What a story raises may quote the platform, and Locust logs it with its traceback."""
    written = io.StringIO()
    logger = logging.getLogger("a logger of its own")
    handler = logging.StreamHandler(written)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        progress.show_logs()
        progress.show_logs()
        logger.error("it said %s", "\x1b[2J")
        assert written.getvalue() == "it said \\x1b[2J\n"
    finally:
        logger.removeHandler(handler)


def test_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in the first two seconds; then a line every five."""
    said = told(monkeypatch, capsys, screen=False, total=8)
    assert said == "earwitness: judging x: 25 %\nearwitness: judging x: 87 %\n"


def test_on_a_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, written again and again, and gone at the end."""
    said = told(monkeypatch, capsys, screen=True, total=8)
    assert said.count("\n") == 0
    assert [part for part in said.split("\r\033[K") if part][-1] == "earwitness: judging x: 100 %"
    assert said.endswith("\r\033[K")


def test_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe has no size: that it goes on can still be said."""
    assert told(monkeypatch, capsys, screen=False, total=0).startswith("earwitness: judging x: ...\n")


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Also not at its end."""
    with Progress("judging x", 1) as judging:
        judging.at(1)
    assert capsys.readouterr().err == ""


VERDICT = "\nFAIL  (exit code 1) broken: I1\n\nHeld (2)\n  MISSED  ack p99: 3 s\nheld: it is not a heading\n"


def test_a_verdict_has_colours_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in a pipe, not with NO_COLOR, not on a dumb terminal; what a platform sent stays escaped."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    show_verdict(VERDICT)
    assert capsys.readouterr().out == VERDICT + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_verdict(f"{VERDICT}\x1b[31m")
    shown = capsys.readouterr().out
    assert "\n\033[31mFAIL  (exit code 1) broken: I1\033[0m\n" in shown
    assert "\n\033[32mHeld (2)\033[0m\n\033[33m  MISSED  ack p99: 3 s\033[0m\nheld: it" in shown
    assert "\\x1b[31m" in shown
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            show_verdict(VERDICT)
        assert capsys.readouterr().out == VERDICT + "\n"
