"""Faults of a user's own platform: the commands that its target file names."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from earwitness.harness.described import near
from earwitness.harness.dialects.protocol import FaultCommands
from earwitness.harness.errors import SettingsError, TargetError

COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class CommandFault:
    """Fault that the shell commands `on`, `off` and `check` of a target file control.

    The fault lasts from `apply` until `lift` is called.
    """

    name: str
    commands: FaultCommands
    lasting: bool = True

    def apply(self) -> None:
        """Run the command `on`.

        Raises TargetError if it fails or takes longer than COMMAND_S, or if `check` reports that the fault is not on.
        """
        self._run("on", self.commands.on)
        if self.commands.check and self._status(self.commands.check) != 0:
            raise TargetError(f"The fault {self.name} had no effect: its check command reports that it is not on.")

    def lift(self) -> None:
        """Run the command `off`.

        Raises TargetError if it fails or takes longer than COMMAND_S, or if `check` reports that the fault is still on.
        """
        self._run("off", self.commands.off)
        if self.commands.check and self._status(self.commands.check) == 0:
            raise TargetError(f"The fault {self.name} is still on after its command `off`.")

    def _run(self, which: str, command: str) -> None:
        status = self._status(command)
        if status != 0:
            raise TargetError(f"The command `{which}` of the fault {self.name} failed (exit status {status}).")

    def _status(self, command: str) -> int:
        try:
            return subprocess.run(
                command, shell=True, timeout=COMMAND_S, stdin=subprocess.DEVNULL, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            raise TargetError(f"A command of the fault {self.name} did not end within {COMMAND_S:g} s.") from None


def command_faults(
    names: Sequence[str], known: Mapping[str, FaultCommands], target: str, where: str = "--faults"
) -> list[CommandFault]:
    """Return the faults of a target file that have these names.

    `known`: all fault commands of the file, by name; `target`, `where`: the target and the option, for errors. Raises
    SettingsError for names that the file does not have.
    """
    lacks = "" if known else ": its file has no [faults.NAME]"
    missing = [
        f"{name} is not available on this target, {target}{near(name, known)}{lacks}"
        for name in names
        if name not in known
    ]
    if missing:
        raise SettingsError(where, missing)
    return [CommandFault(name, known[name]) for name in names]
