"""A mistake of a user or of a server is a sentence, whatever it is: a sample of what `make campaign fuzz` tries."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import campaign
from mutations import as_json
from valid_inputs import plain_history

from earwitness.checks.contract import Contract, ContractError
from earwitness.checks.history.record import NOBODY, NONE
from earwitness.harness.cli import main
from earwitness.harness.client.statements import stated_budget
from earwitness.harness.described import from_json, read_toml, whole_number
from earwitness.harness.errors import SENTENCE_CHARS, RecordError, SettingsError

INPUTS = 220
DEEP = "[" * 100_000 + "]" * 100_000


def test_inputs_with_one_to_three_mistakes() -> None:
    """Refused in one sentence, or run and judged: no traceback, no hang, no more memory."""
    tally = campaign(0, INPUTS)
    assert tally.wrong == []
    assert sum(tally.outcomes.values()) == INPUTS
    refused = sum(count for (_, outcome), count in tally.outcomes.items() if outcome == "refused")
    assert 0.1 * INPUTS < refused < 0.95 * INPUTS, tally.outcomes


def test_a_wrong_trial_is_noticed() -> None:
    """The judge of the trials sees words that are no sentence."""
    from fuzz_trials import _no_sentence

    assert _no_sentence("earwitness: x is wrong.\n") == ""
    assert "not one sentence" in _no_sentence("earwitness: a\nearwitness: b\n")
    assert "characters" in _no_sentence(f"earwitness: {'x ' * 3000}\n")


def test_sentences_are_short_whatever_they_quote() -> None:
    """Beginning and end of an overlong value; a sentence of ordinary words is left as it is."""
    assert str(RecordError("x" * 390)) == "x" * 390
    assert len(str(SettingsError("--faults", ["y" * 300_000]))) < 300
    assert "\n" not in str(SettingsError("--shape", ["'spike:\n' is none"]))
    assert len(str(RecordError("word " * 60_000))) < SENTENCE_CHARS + 50


@pytest.mark.parametrize("text", [DEEP, "9" * 5000, "{", b"\xff{}"])
def test_what_is_no_json(text: str | bytes) -> None:
    """Always a ValueError, with words for people."""
    with pytest.raises(ValueError, match=r"^[^;]+$") as caught:
        from_json(text)
    assert "set_int_max" not in str(caught.value)


@pytest.mark.parametrize("content", [b"a = " + DEEP.encode(), b"a = " + b"9" * 5000, b"\xff", b"a = ["])
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    """One sentence that names the file."""
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"x\.toml: is no (valid TOML|text in UTF-8)"):
        read_toml(tmp_path / "x.toml")


def test_numbers_of_others() -> None:
    """Digits of ASCII, and not too many of them."""
    assert [whole_number(text, 100) for text in ("7", "100", "101", "²", "٣", "", "-1", "9" * 5000)] == [
        *(7, 100),
        *(None,) * 6,
    ]
    assert stated_budget({"retry-after": "²", "x-ratelimit-remaining": "9" * 5000}) == (NONE, NOBODY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 10**400])
def test_promises_that_no_platform_can_break(value: float) -> None:
    """A bound that nothing exceeds, or everything, is a mistake."""
    with pytest.raises(ContractError, match="delivery_bound_s"):
        Contract.from_dict({"delivery_bound_s": value})


def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    """Names and texts of a platform are written out, and the verdict is the same."""
    rows = plain_history()
    rows[1]["run"]["story"] = "half a character: \ud800"
    rows[0]["roster"]["members"]["g\u00e9n\u00e9ral \U0001f9f5"] = rows[0]["roster"]["members"].pop("general")
    text = "\n".join(map(as_json, rows)).replace('"general"', '"g\\u00e9n\\u00e9ral \\ud83e\\uddf5"')
    (tmp_path / "h.jsonl").write_text(text)
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["import", str(tmp_path / "h.jsonl"), "-o", str(tmp_path / "run")]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "earwitness.harness.cli", "check", str(tmp_path / "run")],
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 3), done.stderr
    assert done.stdout.isascii()
    assert "\ud800" in json.loads((tmp_path / "run" / "verdict.json").read_bytes())["story"]
    assert "\\u" in done.stdout or "\\x" in done.stdout
