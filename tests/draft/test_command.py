"""`earwitness draft`: where the draft goes, and bad recordings."""

from __future__ import annotations

import json
import tomllib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.draft.recording import MOST_BYTES, MOST_FRAMES
from tests.support.recorder import har, socket, write

FRAMES: list[tuple[str, Any]] = [
    (">", {"type": "say", "text": "good day"}),
    ("<", {"type": "said", "text": "good day"}),
]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return write(tmp_path / "session.har", har(socket("ws://127.0.0.1:1/ws", FRAMES)))


def test_a_draft_is_printed(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draft", str(session)]) == 0
    assert tomllib.loads(capsys.readouterr().out)["send"] == {"frame": {"type": "say", "text": "{text}"}}


def test_a_draft_is_written_and_none_overwritten(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second time the file stays as it is, and so does a dangling link."""
    file = session.with_name("chat.toml")
    assert main(["draft", str(session), "--write", str(file)]) == 0
    assert "guesses to check" in capsys.readouterr().err
    file.write_text("mine")
    link = session.with_name("link.toml")
    link.symlink_to(session.with_name("nowhere.toml"))
    for given in (file, link):
        assert main(["draft", str(session), "--write", str(given)]) == 2
        assert capsys.readouterr().err == (
            f"earwitness: {given} exists, and is not overwritten: give --write another name.\n"
        )
    assert file.read_text() == "mine"
    assert main(["draft", str(session), "--write", str(session / "x.toml")]) == 2
    assert "cannot be written" in capsys.readouterr().err


BAD = {
    "nothing": (b"", "is no HAR file"),
    "no JSON": (b"\x89PNG\r\n\x1a\n", "is no HAR file"),
    "a list": (b"[]", "has no list log.entries"),
    "another object": (b'{"log": {"entries": {}}}', "has no list log.entries"),
    "deep": (b'{"log":' + b"[" * 200_000, "is no HAR file"),
    "no socket": (json.dumps(har()).encode(), "has no WebSocket among its 0 entries"),
    "odd entries": (json.dumps(har(None, 7, [], {"request": []})).encode(), "has no WebSocket among its 4 entries"),
    "no frames": (json.dumps(har(socket("ws://h/", []))).encode(), "no frames of it"),
    "half": (json.dumps(har(socket("ws://h/", FRAMES))).encode()[:-9], "is no HAR file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_recording_is_answered_by_one_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, sentence = BAD[case]
    file = tmp_path / "bad.har"
    file.write_bytes(content)
    assert main(["draft", str(file)]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_a_missing_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (tmp_path / "none.har", tmp_path):
        assert main(["draft", str(file)]) == 2
        assert f"{file} cannot be read: " in capsys.readouterr().err


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sparse file of 1 TiB: at most the bound is read, and the sentence says how to record less."""
    file = tmp_path / "long.har"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    tracemalloc.start()
    assert main(["draft", str(file)]) == 2
    assert tracemalloc.get_traced_memory()[1] < 2.5 * MOST_BYTES
    tracemalloc.stop()
    assert f"has more than {MOST_BYTES >> 20} MiB" in capsys.readouterr().err


def test_many_and_long_frames_are_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames after the first ones are not read, and the draft states how many; wide and long ones cost little."""
    wide = {"type": "state", **{f"k{number}": number for number in range(2_000)}}
    frames = [
        *FRAMES * (MOST_FRAMES // 4),
        *([("<", wide)] * 200),
        *([("<", "x" * 100_000)] * 20),
        *FRAMES * MOST_FRAMES,
    ]
    file = write(tmp_path / "many.har", har(socket("ws://127.0.0.1:1/ws", frames)))
    assert main(["draft", str(file)]) == 0
    shown = capsys.readouterr().out.replace("\n# ", " ")
    assert f"{len(frames) - MOST_FRAMES:,} frames after the first ones of a connection were not read" in shown
    assert "20 of 2000 frames are binary, or too long" in shown
