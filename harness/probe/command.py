"""The command `earwitness probe FILE`: whether a target file is right, and which of its promises a run could judge."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path

from earwitness.harness.client.events import (
    ACK,
    AGENT,
    BEAT,
    EDITED,
    JOINED,
    LEFT,
    MARKED,
    MESSAGE,
    NACK,
    OTHER,
    PRESENCE,
    REPLAYED,
    WELCOME,
    Heard,
)
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import Exit
from earwitness.harness.probe.kinds import SHOWN, form_of, kind_of
from earwitness.harness.probe.proposals import proposals, write_promises
from earwitness.harness.probe.rehearsal import Frame, Rehearsal, Voice, own_messages, own_rows, rehearse, unheard
from earwitness.harness.progress import show

TIMEOUT_S = 10.0
RAW_CHARS = 160

WORDS = {
    MESSAGE: "message",
    ACK: "acknowledgement",
    NACK: "refusal",
    WELCOME: "greeting",
    JOINED: "joined",
    LEFT: "left",
    REPLAYED: "replayed message",
    AGENT: "agent event",
    MARKED: "read mark",
    EDITED: "edit",
    PRESENCE: "presence",
    BEAT: "heartbeat",
    OTHER: "not understood (no rule fits)",
}
JOINING = "frames.joined, frames.welcome.rooms or rooms.joined"
UNSHARED = "a target file cannot describe edits, read marks and presence yet"
JUDGED, NOT_PROMISED, UNKNOWN = "can be judged", "not promised", "UNKNOWN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `earwitness probe` to its parser."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the target.toml of the platform, or its dialect in Python"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the promises that were kept into the [contract] of the file, with what was seen",
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS", help="how long to wait for each answer"
    )


def run(args: argparse.Namespace) -> int:
    """Try out a target file with two users, print the report and return the exit code.

    0: every promise of the file can be judged. 3: some stay UNKNOWN, or the file does not fit. 2 (raised as an error):
    nothing answers, or the file has a mistake.
    """
    target = load_target(args.file)
    rehearsal = asyncio.run(rehearse(target, args.timeout))
    for line in report(rehearsal):
        show(line)
    if args.write:
        show(f"\n{write_promises(args.file, rehearsal)}")
    unknown = [row for row in judgeable(rehearsal) if row[2].startswith(UNKNOWN)]
    return Exit.UNKNOWN if unknown or rehearsal.notes or rehearsal.misfits() else Exit.PASS


def report(rehearsal: Rehearsal) -> Iterator[str]:
    """Yield the lines of the report: users, frames, checks, and what differs from the file."""
    yield f"{rehearsal.target.name}: {_names(rehearsal)} talked in {rehearsal.room.label}"
    yield ""
    for voice in rehearsal.voices:
        yield from _who(voice)
    yield ""
    yield "Frames, the first of each kind:"
    yield from _frames(rehearsal)
    yield ""
    yield "Checks on this platform:"
    for ids, name, verdict in judgeable(rehearsal):
        yield f"  {ids:<12} {name:<46} {verdict}"
    yield from _not_in_contract(rehearsal)
    for note in (*(misfit.sentence for misfit in rehearsal.misfits()), *rehearsal.notes):
        yield f"\nDiffers from the target file: {note}"


def _not_in_contract(rehearsal: Rehearsal) -> Iterator[str]:
    proposed = list(proposals(rehearsal))
    mentioned = {promise.partition(" ")[0] for promise, _ in proposed}
    described = [said for promise, said in rehearsal.target.parts.unjudged.items() if promise not in mentioned]
    if proposed or described:
        yield ""
        yield "Not judged, because [contract] does not promise it:"
    yield from (f"  {promise:<28} {seen}" for promise, seen in proposed)
    yield from (f"  {sentence}" for sentence in described)


def _names(rehearsal: Rehearsal) -> str:
    return " and ".join(voice.person.name for voice in rehearsal.voices)


def _who(voice: Voice) -> Iterator[str]:
    user_id = voice.credentials.user_id
    said = [f"place {s.place} states {s.user_id}" for s in voice.statements if s.user_id != user_id]
    count = len(voice.statements)
    agree = f"asked at {count} place{'s'[: count != 1]}: the same" if count and not said else "; ".join(said)
    yield f"  {voice.person.name} logged in as {user_id}" + (f" ({agree})" if agree else "")


def _frames(rehearsal: Rehearsal) -> Iterator[str]:
    """Yield lines about the first frame of each kind: the raw frame without tokens, and the events in it."""
    seen: set[str] = set()
    tokens = [voice.credentials.token for voice in rehearsal.voices if voice.credentials.token]
    for voice in rehearsal.voices:
        for frame in voice.frames:
            new = _new_kinds(frame, seen)
            if not new:
                continue
            seen.update(new)
            if len(seen) > SHOWN:
                yield "  … and more kinds of frames that were not understood"
                return
            raw = frame.data if isinstance(frame.data, str) else repr(frame.data)
            for token in tokens:
                raw = raw.replace(token, "(token)")
            yield f"  {voice.person.name} got  {raw[:RAW_CHARS]}{' …' if len(raw) > RAW_CHARS else ''}"
            yield from (f"    = {words(heard)}" for heard in new.values() if heard is not None)
            if not frame.heard:
                yield "    = ignored: no rule reads it"
    if not seen:
        yield "  none"


def _new_kinds(frame: Frame, seen: Collection[str]) -> dict[str, Heard | None]:
    """Return the first event of each kind in a frame that is not in `seen`; None for a frame without events."""
    if not frame.heard:
        kind = kind_of(frame.data)
        return {} if kind in seen else {kind: None}
    found: dict[str, Heard | None] = {}
    for heard in frame.heard:
        more = heard[6]
        unread = kind_of(more) if isinstance(more, str | bytes) else form_of(more)
        kind = unread if heard[0] == OTHER else str(heard[0])
        if kind not in seen:
            found.setdefault(kind, heard)
    return found


def words(heard: Heard) -> str:
    """Return one event as text, with every field that has a value."""
    what, label, text, seq, sender, message_id, extra = heard
    facts: dict[str, object] = {"room": label, "sender": sender, "id": message_id}
    if seq >= 0:
        facts["number"] = seq
    if text is not None:
        facts["text"] = repr(text[:40])
    if what == NACK:
        facts["code"], facts["retry after s"] = extra
    if what == AGENT:
        facts["event"] = extra[1]
    if what in (WELCOME, JOINED, OTHER) and extra is not None:
        facts["more"] = str(extra)[:80]
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
    return f"{WORDS[what]}: {told}" if told else WORDS[what]


def judgeable(rehearsal: Rehearsal) -> list[tuple[str, str, str]]:
    """Return (ids of checks, their name, state) for each promise, as rows of the report.

    The state is JUDGED, NOT_PROMISED, or "UNKNOWN: " and the reason why a run could not judge the promise.
    """
    contract, target = rehearsal.target.contract, rehearsal.target
    messages = [heard for voice in rehearsal.voices for heard in own_messages(rehearsal, voice)]
    sent = {text for voice in rehearsal.voices for text in voice.sent.values()}
    missed = sum(len(unheard(rehearsal, voice)) for voice in rehearsal.voices)
    numbered = all(heard[3] >= 0 for heard in messages)
    senders = {voice.credentials.user_id for voice in rehearsal.voices}
    named = all(heard[4] in senders for heard in messages)
    acked = all(voice.events(ACK) for voice in rehearsal.voices)
    joined = all(voice.events(JOINED) for voice in rehearsal.voices)
    stored = {row.text for row in own_rows(rehearsal)}
    none = "" if messages else "no message was received"
    changed = none or (f"{missed} times a message was not received as it was sent" if missed else "")
    unacked = "" if acked or not contract.acknowledges else "nothing was acknowledged"
    unjoined = "" if joined else f"no frame states when a room is joined ({JOINING})"
    unread = "" if sent <= stored else f"{len(sent - stored)} of {len(sent)} messages are not in the history"
    unnumbered = none or ("" if numbered else "messages carry no number (frames.message.seq)")
    unnamed = none or ("" if named else f"senders are none of {', '.join(sorted(senders))} (login.user_id)")
    is_numbered = contract.sequence != "none"
    answers, endless = _streams(rehearsal)
    rows = [
        ("I1", "order of each sender", contract.ordered, none),
        ("I2", "one order for all members", contract.total_order, unnumbered if is_numbered else none),
        ("I4", "no gaps in the numbers", contract.sequence == "contiguous", unnumbered),
        ("I5a", "nothing acknowledged is lost from the history", contract.durable and contract.history, unread),
        ("I5b", "everything is delivered", contract.delivers, unjoined or changed or unacked),
        ("I6", "no duplicates", contract.at_most_once != "no", none),
        ("I7", "a retry takes effect once", contract.idempotent, none),
        ("I8 I12", "no invented messages, none to strangers", True, none),
        ("I9", "what was refused has no effect", contract.acknowledges, none),
        ("I10", "texts arrive unchanged", contract.unchanged, changed),
        ("I15", "senders are the true ones", contract.names_sender, unnamed),
        ("I20", "resuming leaves no gap", contract.resume, none),
        ("I24", "each streamed answer comes whole", answers, endless),
        ("I25", "delivered in time", contract.delivery_bound_s is not None, unjoined or changed),
        ("I18 I22", "devices show the same edits and marks", contract.shared_state_s is not None, UNSHARED),
        ("I27", "presence is true", contract.presence_s is not None, UNSHARED),
        ("I41", "both user tables agree", contract.sync_bound_s is not None, _undatabased(len(target.parts.databases))),
    ]
    return [
        (ids, name, NOT_PROMISED if not promised else f"{UNKNOWN}: {doubt}" if doubt else JUDGED)
        for ids, name, promised, doubt in rows
    ]


def _streams(rehearsal: Rehearsal) -> tuple[bool, str]:
    """Return (whether the platform streams answers, reason why they could not be judged); the reason is "" if none."""
    parts = rehearsal.target.parts
    events = [heard[6][1] for voice in rehearsal.voices for heard in voice.events(AGENT)]
    asked = parts.streams_answers is not None
    if asked and "chunk" not in events:
        return True, "no answer has a text (options.text)"
    ends = events.count("completed") + events.count("error")
    return asked or bool(events), "" if ends >= events.count("started") else "an answer has no end"


def _undatabased(count: int) -> str:
    return "" if count == 2 else "needs two [databases]"
