"""Faults of somebody's own platform, by the commands of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.harness.dialects.protocol import FaultCommands
from earwitness.harness.dialects.toml.fault_commands import CommandFault, command_faults
from earwitness.harness.errors import SettingsError, TargetError


def commands(tmp_path: Path, **changed: str) -> FaultCommands:
    flag = tmp_path / "down"
    return FaultCommands(**{"on": f"touch {flag}", "off": f"rm {flag}", "check": f"test -e {flag}", **changed})


def test_on_check_off(tmp_path: Path) -> None:
    """`on` makes it happen, `check` says so, `off` ends it."""
    fault = CommandFault("auth_down", commands(tmp_path))
    fault.apply()
    assert (tmp_path / "down").exists()
    fault.lift()
    assert not (tmp_path / "down").exists()


@pytest.mark.parametrize(
    ("changed", "verb", "words"),
    [
        ({"on": "true"}, "apply", "The fault auth_down had no effect"),
        ({"on": "exit 3"}, "apply", "The command `on` of the fault auth_down failed (exit status 3)"),
        ({"off": "true"}, "lift", "still on after its command `off`"),
        ({"off": "exit 4"}, "lift", "The command `off` of the fault auth_down failed (exit status 4)"),
    ],
)
def test_what_goes_wrong_is_told(tmp_path: Path, changed: dict[str, str], verb: str, words: str) -> None:
    """Which command, and what came of it."""
    fault = CommandFault("auth_down", commands(tmp_path, **changed))
    if verb == "lift":
        fault.apply()
    with pytest.raises(TargetError) as caught:
        getattr(fault, verb)()
    assert words in str(caught.value)


def test_a_fault_without_command_is_not_available(tmp_path: Path) -> None:
    """The sentence names the target and what its file has."""
    known = {"auth_down": commands(tmp_path)}
    assert [fault.name for fault in command_faults(["auth_down"], known, "our chat")] == ["auth_down"]
    with pytest.raises(SettingsError) as caught:
        command_faults(["auth_down", "kill:auth"], known, "our chat")
    assert "kill:auth is not available on this target, our chat (known: auth_down)" in str(caught.value)
