"""Promises that the platform kept in a rehearsal and the target file does not make: a run could judge them too."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from earwitness.harness.client.events import ACK, Heard
from earwitness.harness.errors import TargetError
from earwitness.harness.probe.rehearsal import Rehearsal, Voice, own_messages, own_rows, unheard
from earwitness.harness.progress import one_line
from earwitness.harness.record.rundir import write_whole

NOT_KEPT = "not kept here"
"""Beginning of the evidence against a promise."""


def proposals(rehearsal: Rehearsal) -> Iterator[tuple[str, str]]:
    """Yield (line for [contract], sentence about the evidence) for each promise that was kept and is not made.

    For the numbers of messages (`sequence`) the evidence may also contradict the promise: it then begins with NOT_KEPT,
    and the platform's owner must decide. Yields nothing if no message was received.
    """
    contract, voices = rehearsal.target.contract, rehearsal.voices
    heard = {voice.person.name: own_messages(rehearsal, voice) for voice in voices}
    count = sum(map(len, heard.values()))
    if not count:
        return
    if contract.sequence == "none":
        yield from _sequence(rehearsal, list(heard.values()))
    whole = not any(unheard(rehearsal, voice) for voice in voices)
    if rehearsal.target.parts.streams_answers is not None:
        whole = all(_own_back(rehearsal, voice) for voice in voices)
    if not contract.unchanged and whole:
        yield "unchanged = true", f"{count} messages were received as they were sent"
    if not contract.echo and all(_own_back(rehearsal, voice) for voice in voices):
        yield "echo = true", "both users received their own messages"
    users = {voice.credentials.user_id for voice in voices}
    if not contract.names_sender and all(message[4] in users for messages in heard.values() for message in messages):
        yield "names_sender = true", f"{count} messages named one of the two users as their sender"
    if not contract.acknowledges and all(len(voice.events(ACK)) == len(voice.sent) for voice in voices):
        yield "acknowledges = true", f"{sum(len(voice.sent) for voice in voices)} messages were acknowledged"
    once = all(max(Counter(_texts(messages)).values(), default=0) == 1 for messages in heard.values())
    if contract.at_most_once == "no" and once:
        yield 'at_most_once = "connection"', f"each of {count} messages came once"
    if not contract.total_order and len({tuple(_texts(messages)) for messages in heard.values()}) == 1:
        yield "total_order = true", "both users received the messages in one order"
    sent = {text for voice in voices for text in voice.sent.values()}
    if not contract.durable and sent <= {row.text for row in own_rows(rehearsal)}:
        yield "durable = true", f"{len(sent)} messages are in the history"


def write_promises(path: Path, rehearsal: Rehearsal) -> str:
    """Write the promises that were kept into the [contract] of a target file; return a sentence about it.

    Each line has the evidence as its comment. Promises that were not kept stay out. Raises TargetError for a dialect
    in Python, whose settings are no TOML, and if the [contract] has a form to which no lines can be added.
    """
    if path.suffix != ".toml":
        raise TargetError(f"{path} is no target.toml: write the promises above into PROMISES yourself.")
    kept = [(line, seen) for line, seen in proposals(rehearsal) if not seen.startswith(NOT_KEPT)]
    if not kept:
        return f"{path} has every promise that was seen kept: nothing was written."
    text = path.read_text("utf-8")
    lines = "".join(f"{line}  # {one_line(seen)}\n" for line, seen in kept)
    header = re.search(r"(?m)^\[contract\][^\n]*\n?", text)
    if header is None:
        whole = f"{text.rstrip()}\n\n[contract]\n{lines}"
    else:
        whole = f"{text[: header.end()].rstrip()}\n{_without(text[header.end() :], kept, lines)}"
    try:
        tomllib.loads(whole)
    except ValueError:  # for instance [contract] written as an inline table
        raise TargetError(f"{path} has its [contract] in a form that cannot be completed; add:\n{lines}") from None
    write_whole(path, whole.encode())
    return f"{len(kept)} promise{'s'[: len(kept) != 1]} written into {path}: read them, and take out what is chance."


def _without(rest: str, kept: list[tuple[str, str]], lines: str) -> str:
    """Return `lines`, then `rest` without its lines about the promises in `kept`.

    `rest`: the file's text behind the header [contract].
    """
    table, header, others = rest.partition("\n[")
    replaced = [line.partition(" ")[0] for line, _ in kept]
    old = [one for one in table.split("\n") if one.partition("=")[0].strip() not in replaced]
    return lines + "\n".join(old) + header + others


def _texts(messages: list[Heard]) -> list[str]:
    return [str(message[2]) for message in messages]


def _own_back(rehearsal: Rehearsal, voice: Voice) -> bool:
    return set(voice.sent.values()) <= set(_texts(own_messages(rehearsal, voice)))


def _sequence(rehearsal: Rehearsal, heard: list[list[Heard]]) -> Iterator[tuple[str, str]]:
    """Yield (line for [contract], evidence) for the promise `sequence`; nothing if no message has a number."""
    numbers: dict[str, set[int]] = {}
    for message in (one for messages in heard for one in messages if one[3] >= 0):
        numbers.setdefault(str(message[2]), set()).add(message[3])
    if not numbers:
        return
    # Messages of others take numbers in a room that existed before.
    wanted = "increasing" if rehearsal.target.parts.has_rooms else "contiguous"
    given = Counter(number for each in numbers.values() for number in each)
    often, times = given.most_common(1)[0]
    low, high = min(given), max(given)
    rising = all(a[3] < b[3] for messages in heard for a, b in pairwise(messages) if a[3] >= 0 and b[3] >= 0)
    if any(len(each) > 1 for each in numbers.values()):
        seen = "not kept here: two users received a message with different numbers"
    elif times > 1:
        seen = f"not kept here: number {often} was given to {times} messages"
    elif wanted == "contiguous" and high - low + 1 != len(given):
        wanted, seen = "increasing", f"{len(given)} messages had numbers from {low} to {high}, with gaps"
    else:
        seen = f"{len(given)} messages had the numbers {low} to {high}, each once"
    if not rising and not seen.startswith(NOT_KEPT):
        seen = f"not kept here: numbers from {low} to {high} did not come in their order"
    yield f'sequence = "{wanted}"', seen
