"""`earwitness probe` against somebody else's chat, and against nobody."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.target.load import load_target
from harness.target.probe import judgeable
from harness.target.rehearsal import rehearse


def test_probe_of_a_right_file(other_chat: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of frame is shown with what it was taken for, and every promise can be judged."""
    assert main(["probe", str(other_chat.target_file)]) == 0
    out = capsys.readouterr().out
    for word in ("greeting", "joined: room probe-", "acknowledgement: id", "message: room probe-"):
        assert word in out
    assert "UNKNOWN" not in out
    assert re.search(r"I4 +no gaps in the numbers +not promised", out)


def test_probe_shows_no_secret(other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file whose user id is wrong is answered with the shape of the login's answer, not with its values."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace("you.handle", "you.number"))
    assert main(["probe", str(file)]) == 2
    error = capsys.readouterr().err
    assert "login.user_id" in error
    assert "an object with you, claims" in error
    assert "people.example" not in error


async def test_a_wrong_path_makes_checks_unknown(other_chat: Any, tmp_path: Path) -> None:
    """With a wrong sender path the identity check is UNKNOWN and says which path to look at; others stand."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace('"what.by"', '"what.from"'))
    verdicts = {ids: verdict for ids, _, verdict in judgeable(await rehearse(load_target(file), 5.0))}
    assert verdicts["I15"].startswith("UNKNOWN: senders are none of")
    assert verdicts["I10"] == "can be judged"


async def test_what_a_file_cannot_describe(other_chat: Any, tmp_path: Path) -> None:
    """Who promises it is told that it cannot be judged."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace("[contract]", "[contract]\npresence_s = 5.0"))
    verdicts = {ids: verdict for ids, _, verdict in judgeable(await rehearse(load_target(file), 5.0))}
    assert verdicts["I27"].startswith("UNKNOWN: a target file cannot describe")
    assert verdicts["I18 I22"] == "not promised"


async def test_a_loss_is_seen(losing_chat: Any) -> None:
    """A delivery that never comes leaves completeness UNKNOWN instead of judged."""
    rehearsal = await rehearse(load_target(losing_chat.target_file), 1.0)
    verdicts = {ids: verdict for ids, _, verdict in judgeable(rehearsal)}
    assert verdicts["I5b"] == "UNKNOWN: 1 times a message was not heard as it was sent"
    assert verdicts["I5a"] == "can be judged"


def test_nobody_answers(tmp_path: Path, other_chat: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and exit code 2."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace(str(other_chat.port), "1"))
    assert main(["probe", str(file)]) == 2
    error = capsys.readouterr().err
    assert "nobody answered" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("/session", "/sessions", "When ann-0 tried to log in, the answer did not fit."),
        ("/live", "/dead", "ann-0 could not open a socket at ws://"),
        ('op = "hello"', 'op = "hallo"', "ann-0 heard no greeting within 2 s. No frame came at all."),
        ('"PUT"', '"POST"', "When ann-0 tried to open the room"),
        ("?skip={offset}", "s?skip={offset}", "When the history of the room was read"),
    ],
)
def test_each_step_has_its_sentence(
    other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    """Where the platform does not do what the file says, the step is named."""
    file = tmp_path / "target.toml"
    text = other_chat.target_file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert main(["probe", str(file), "--timeout", "2"]) == 2
    assert sentence in capsys.readouterr().err


def test_arguments() -> None:
    """The verb takes a file and a timeout."""
    from harness.target import probe

    parser = argparse.ArgumentParser()
    probe.add_arguments(parser)
    arguments = parser.parse_args(["x.toml", "--timeout", "3"])
    assert (arguments.file, arguments.timeout) == (Path("x.toml"), 3.0)
