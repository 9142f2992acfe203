"""`earwitness probe` against somebody else's chat, and against nobody."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.client.events import MESSAGE
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.probe.command import judgeable
from earwitness.harness.probe.fit import fit
from earwitness.harness.probe.rehearsal import Frame, rehearse

OTHER = Path(__file__).parents[1] / "support" / "other_chat"


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


def test_numbers_that_nothing_is_promised_of(
    other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The promise is proposed with what was seen; with the promise made or denied there is nothing to say."""
    text = other_chat.target_file.read_text().replace('sender = "what.by" }', 'sender = "what.by", seq = "what.n" }', 1)
    file = tmp_path / "target.toml"
    file.write_text(text.replace('sequence = "none"', ""))
    assert main(["probe", str(file)]) == 0
    assert re.search(r'sequence = "contiguous" +6 messages had the numbers 0 to 5, each once', capsys.readouterr().out)
    assert "does not mention sequence" in load_target(file).parts.unjudged["sequence"]
    for said in ("none", "contiguous"):
        file.write_text(text.replace('sequence = "none"', f'sequence = "{said}"'))
        assert not load_target(file).parts.unjudged


def test_a_wrong_path_is_named(other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Key, path and the keys that are there; no waiting for what has come already."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace('"what.body"', '"what.bdoy"'))
    assert main(["probe", str(file), "--timeout", "60"]) == 3
    out = capsys.readouterr().out
    assert "frames.message.text = 'what.bdoy' finds no text in any of 12 frames" in out
    assert "the keys at 'what' are by, body, n" in out


def test_promises_are_written(other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was seen kept stands in [contract] with its evidence, once; the rest of the file is as it was."""
    text = other_chat.target_file.read_text().replace('sender = "what.by" }', 'sender = "what.by", seq = "what.n" }', 1)
    file = tmp_path / "target.toml"
    file.write_text(text)
    assert main(["probe", str(file), "--write"]) == 0
    assert "written into" in capsys.readouterr().out
    contract = load_target(file).contract
    assert (contract.sequence, contract.echo, contract.history) == ("contiguous", True, True)
    whole = file.read_text()
    assert whole.startswith(text[: text.index("[contract]")])
    assert whole.count("sequence =") == 1
    assert 'sequence = "contiguous"  # 6 messages had the numbers 0 to 5, each once' in whole
    assert main(["probe", str(file), "--write"]) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert file.read_text() == whole


def test_each_unknown_kind_is_shown_once(other_chat: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rules are missing: one frame of each of these kinds, of many."""
    text = other_chat.target_file.read_text()
    for line in ('ack = { is = "ok", id = "ref" }', 'joined = { is = "entered", room = "circle" }'):
        assert line in text
        text = text.replace(line, "")
    file = tmp_path / "target.toml"
    file.write_text(text.replace("[contract]", "[contract]\nacknowledges = false"))
    assert main(["probe", str(file)]) == 3
    out = capsys.readouterr().out
    assert out.count("not understood (no rule fits)") == 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"what.body"', '"what.bdoy"', "frames.message.text"),
        ('is = "said"', 'is = "sayd"', "frames.message.is = 'sayd'"),
        ('sender = "what.by"', 'sender = "what.from"', "frames.message.sender"),
        (
            'joined = { is = "entered", room = "circle"',
            'joined = { is = "entered", room = "room"',
            "frames.joined.room",
        ),
        ('ack = { is = "ok", id = "ref"', 'ack = { is = "ok", id = "id"', "frames.ack.id"),
        ('welcome = { is = "ready"', 'welcome = { is = "hello"', "received no greeting"),
        ('id = "handle"', 'id = "name"', "identity.id of place 'backend' finds no id"),
        ('sender = "by"', 'sender = "of"', "history.sender finds nothing right in any of 2 rows"),
        ('text = "body"', 'text = "txt"', "history.items, history.text"),
        ('"you.handle"', '"you.name"', "login.user_id"),
        ('url = "/session"', 'url = "/sessions"', "tried to log in, the answer did not fit"),
    ],
)
def test_a_load_does_not_begin_with_a_wrong_path(
    other_chat: Any, tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    """Each would have been counted against the platform."""
    file = tmp_path / "target.toml"
    text = other_chat.target_file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    assert sentence in fit(file, 1.0)["fault"]


def test_a_right_file_fits(other_chat: Any, tmp_path: Path) -> None:
    """No fault and no note; nor for a room that others talk in."""
    assert fit(other_chat.target_file) == {"fault": "", "notes": []}
    shutil.copy(OTHER / "people.json", tmp_path)
    file = tmp_path / "by_http.toml"
    file.write_text((OTHER / "by_http.toml").read_text().replace("8765", str(other_chat.port)))
    assert fit(file) == {"fault": "", "notes": []}


def test_one_token_is_enough_for_a_load_of_one(other_chat: Any, tmp_path: Path) -> None:
    """What cannot be tried with two users is no fault of the file."""
    (tmp_path / "tokens.txt").write_text("only-token\n")
    text = other_chat.target_file.read_text()
    login = '[login]\nby = "tokens"\nfile = "tokens.txt"\nuser_id = "{name}"\n\n'
    file = tmp_path / "target.toml"
    file.write_text(text[: text.index("[login]")] + login + text[text.index("[socket]") :])
    found = fit(file)
    assert found["fault"] == ""
    assert "two accounts, but the file of accounts has 1" in found["notes"][0]


def test_a_platform_that_is_at_fault_is_the_loads_to_judge(losing_chat: Any, tmp_path: Path) -> None:
    """A loss before the load stops nothing; nor does a file that cannot be tried, which is said."""
    assert fit(losing_chat.target_file, 1.0)["fault"] == ""
    file = tmp_path / "target.toml"
    file.write_text(losing_chat.target_file.read_text().replace("[urls]", "max_users = 1\n[urls]", 1))
    [note] = fit(file)["notes"]
    assert "was not tried before the load" in note


async def test_strangers_in_an_existing_room(other_chat: Any, tmp_path: Path) -> None:
    """What an old hand says there leaves nothing UNKNOWN: neither its sender nor that it has no number of ours."""
    shutil.copy(OTHER / "people.json", tmp_path)
    file = tmp_path / "by_http.toml"
    file.write_text((OTHER / "by_http.toml").read_text().replace("8765", str(other_chat.port)))
    rehearsal = await rehearse(load_target(file), 5.0)
    for voice in rehearsal.voices:
        stranger = (MESSAGE, "lobby", "those were the days", -1, "old.hand", None, None)
        voice.frames.append(Frame(voice.person, "[]", (stranger,)))
    verdicts = {verdict for _, _, verdict in judgeable(rehearsal)}
    assert verdicts == {"can be judged", "not promised"}


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
    assert verdicts["I5b"] == "UNKNOWN: 1 times a message was not received as it was sent"
    assert verdicts["I5a"] == "can be judged"


def test_a_platform_that_hangs_up(tired_chat: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Who closed the connection, with what code and reason, instead of messages that were not heard."""
    assert main(["probe", str(tired_chat.target_file), "--timeout", "5"]) == 3
    out = capsys.readouterr().out
    for name in ("ann-0", "bob-1"):
        assert re.search(f"{name} had sent .* when the platform closed the connection with 4002 'that was enough'", out)


def test_a_frame_over_the_limit(other_chat: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The limit, which is that of the load, is named with 1009: it was ours."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace("[urls]", "[urls]\nframe_bytes_max = 120"))
    assert main(["probe", str(file), "--timeout", "5"]) == 3
    out = capsys.readouterr().out
    ending = r"when earwitness closed the connection with 1009 'frame with \d+ bytes exceeds limit of 120 bytes'"
    assert re.search(ending + r" \(urls\.frame_bytes_max\)", out)


def test_nobody_answers(tmp_path: Path, other_chat: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence and exit code 2."""
    file = tmp_path / "target.toml"
    file.write_text(other_chat.target_file.read_text().replace(str(other_chat.port), "1"))
    assert main(["probe", str(file)]) == 2
    error = capsys.readouterr().err
    assert "there was no answer" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("/session", "/sessions", "When ann-0 tried to log in, the answer did not fit."),
        ("/live", "/dead", "ann-0 could not open a socket at ws://"),
        (
            'op = "hello"',
            'op = "hallo"',
            "ann-0 received no greeting within 2 s. No frame came at all. The platform closed the connection with 4001",
        ),
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
    from earwitness.harness.probe import command as probe

    parser = argparse.ArgumentParser()
    probe.add_arguments(parser)
    arguments = parser.parse_args(["x.toml", "--timeout", "3"])
    assert (arguments.file, arguments.timeout) == (Path("x.toml"), 3.0)
