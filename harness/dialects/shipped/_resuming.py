"""Resuming a session by a request of the application, for protocols that cannot resume by themselves.

The new connection states the number of the last message received; the application sends the messages after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from earwitness.checks.contract import Contract
from earwitness.harness.client.events import REPLAYED, Heard
from earwitness.harness.described import Table
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.toml.paths import Getter
from earwitness.harness.dialects.toml.requests import read_path
from earwitness.harness.dialects.toml.template import Template


@dataclass(frozen=True, slots=True)
class Resume:
    """Rules of the table [options.resume].

    asks      template with {seq} that is sent in place of the option that usually joins a room
    items     path of the list of missed messages in the answer; None: they arrive like new messages
    complete  path of a flag in the answer that is false if messages may be missing; None: there is no such flag
    """

    asks: Template
    items: Getter | None
    complete: Getter | None

    def missed(self, label: str, paths: messages.Paths, answer: object) -> tuple[bool | None, Sequence[Heard]]:
        """Return (whether the room `label` continues without a gap, events of the missed messages in it).

        `answer`: to the join; `paths`: of the parts of a message. The first value is None if `answer` has no list where
        `items` expects one, because it is unknown then what was missed. Messages become REPLAYED, other items OTHER.
        """
        whole = self.complete is None or self.complete(answer) is not False
        if self.items is None:
            return whole, ()
        found = self.items(answer)
        if type(found) is not list:
            return None, messages.not_understood(answer)
        events: list[Heard] = []
        for item in found:
            message = paths.message(label, item)
            events += messages.not_understood(item) if message is None else [(REPLAYED, *message[1:])]
        return whole, events


def read_resume(own: Table, promised: Contract, key: str, example: Mapping[str, object]) -> Resume | None:
    """Return the rules of the table [options.resume], None without it. Mistakes are collected in `own`.

    `key`: the key of the table that holds the template with {seq}; `example`: a correct template. It is a mistake if
    only one of the table and the promise `resume` is there, or if the option `number` is missing.
    """
    table = own.table("resume", example=f'{{ {key} = {{ after = "{{seq}}" }} }}')
    if table is None:
        if promised.resume:
            lacking = "is promised, but there is no [options.resume]"
            own.faults.add("contract.resume", lacking, "resume = false")
        return None
    if not promised.resume:
        own.fault("resume", "is used only where [contract] promises it", "[contract] resume = true")
    if not own.has("number"):
        own.fault("number", "is missing, and [options.resume] needs the numbers of messages", 'number = "number"')
    resume = Resume(
        asks=messages.read_or(table, key, messages.IN_ROOM | {"seq"}, example, needs="seq"),
        items=read_path(table, "items", "messages") if key == "join" else None,
        complete=read_path(table, "complete", "complete") if key == "join" else None,
    )
    table.finish()
    return resume


def refuse_resume(own: Table, promised: Contract, protocol: str) -> None:
    """Collect a mistake if a target file promises to resume with a protocol that has no way to do it."""
    if promised.resume:
        own.faults.add("contract.resume", f"is promised, but {protocol} resumes nothing", "resume = false")


__all__ = ["Resume", "read_resume", "refuse_resume"]
