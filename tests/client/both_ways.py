"""One conversation twice, with the native path and without: what both leave behind, for comparison."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.checks.history.record import RECORD
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.link import Link, Transport
from earwitness.harness.client.outbox import Encode, PlainCounts
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Summary, Tally
from earwitness.harness.errors import RecordError
from earwitness.harness.record.journal import Journal

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TAG = "run1"
ROOMS = {"alpha": 0, "béta": 1, "room-3": 2}
CLIENT = 7


class Side(Link):
    """A link without a socket: bytes are put in, and what it writes is kept."""

    def __init__(self, session: ChatSession, dialogue: Dialogue, transport: Transport, *, native: bool) -> None:
        super().__init__(session, dialogue, transport=transport)
        self.native = native
        self.written: list[bytes] = []

    def _write(self, data: bytes) -> None:
        if data:
            self.written.append(data)

    def _shut(self) -> None:
        pass

    def _beat(self, every_s: float) -> None:
        pass

    def upgrade(self, now_ns: int) -> None:
        """Send the request and accept it, as a server does."""
        self._begun_ns = now_ns - 1_000_000
        self._reached(now_ns)
        key = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", b"".join(self.written))
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        self.written.clear()
        self._received(
            now_ns,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
        )

    def receive(self, now_ns: int, data: bytes) -> None:
        """Read some bytes, as the shells do: an error of ours ends the connection."""
        if self.over:
            return
        try:
            self._received(now_ns, data)
        except Exception as error:
            with suppress(RecordError):  # the end cannot be recorded either, which the shells' loops log
                self._broken(error)

    def say(
        self, now_ns: int, label: str, payload: str, planned_ns: int | None = None, *, ask: Encode | None = None
    ) -> None:
        """Send one message, natively where that is done; `ask`: as a question, which this puts into a frame."""
        asks = ask is not None
        framed = self.said(now_ns, label, payload, planned_ns, asks)
        if framed is None:
            assert isinstance(self.session, ChatSession)
            framed = self._frame(self.session.send(now_ns, label, payload, planned_ns, ask, asks=asks))
        self.transport.frames_out += 1
        self._write(framed)

    def say_again(self, now_ns: int, message_id: str) -> None:
        """Send a message again, natively where that is done."""
        framed = self.said_again(now_ns, message_id)
        if framed is None:
            assert isinstance(self.session, ChatSession)
            framed = self._frame(self.session.retry(now_ns, message_id))
        self.transport.frames_out += 1
        self._write(framed)


class Way:
    """A session with its own journal, and the connections that it has had; `native`: which way it goes."""

    def __init__(self, directory: Path, make: Callable[[], Dialogue], *, native: bool, **settings: Any) -> None:
        self.directory = directory / ("native" if native else "plain")
        self.native, self._make = native, make
        self.journal = Journal.create(self.directory, "one", meta={}, native=native)
        self.tally, self.transport = Tally(), Transport()
        self.session = ChatSession(
            client=CLIENT, tag=TAG, journal=self.journal, rooms=dict(ROOMS), tally=self.tally, **settings
        )
        self.told: list[object] = []
        self.before: dict[str, int] = {}
        self.numbers: Counter[str] = Counter()
        """Counters of the simulated platform: a script counts edits, or the pieces of an answer."""
        self.latencies: Mapping[str, Summary] = {}
        self.written: list[bytes] = []
        self.session.on_answer = lambda: self.told.append(("answer", self.session.acked, self.session.pending))
        self.session.on_refused = lambda *what: self.told.append(("refused", *what))
        self.connect(100)

    def connect(self, now_ns: int) -> None:
        self.link = Side(self.session, self._make(), self.transport, native=self.native)
        self.link.upgrade(now_ns)

    def left(self) -> dict[str, Any]:
        """Everything that one can see of it: records, names, tables, counts, hooks, and what was sent."""
        self.written += self.link.written
        self.journal.close({})
        names = [json.loads(line) for line in (self.directory / "one.names.jsonl").read_text("utf-8").splitlines()]
        summaries, counts = self.tally.drain()
        self.latencies = summaries
        state = {name: getattr(self.session, name, None) for name in dir(self.session) if _is_state(name)}
        for name in ("_pending", "_unanswered", "_refused"):  # the native path has a type of its own for these
            state[name] = {message_id: tuple(sent) for message_id, sent in state[name].items()}
        state |= {name: getattr(self.session, name) for name in PlainCounts.__slots__ if not name.startswith("on_")}
        state |= _answers_and_state(self.session)
        return {
            "records": (self.directory / "one.ewj").read_bytes(),
            "names": names,
            "state": state,
            "latencies": summaries,
            "counts": dict(counts),
            "moved": {name: n for name, n in self.transport.snapshot().items() if name != "frames_native"},
            "told": self.told,
            "error": type(self.link.error),
            "over": (self.link.over, self.link.wire.close_code, self.link.wire.close_reason),
            "sent": [unmasked(data) for data in self.written],
        }


def _answers_and_state(session: ChatSession) -> dict[str, Any]:
    questions, shown = session.questions, session.shown
    found: dict[str, Any] = {
        "open": list(questions.open.items()),
        "by number": list(questions._by_number.items()),
        "answers": {run: asdict(answer) for run, answer in questions._answers.items()},
        "streams": list(session._streams._open.items()),
    }
    if shown is not None:
        beyond = {label: sorted(numbers) for label, numbers in shown._beyond.items() if numbers}
        found |= {"edits": shown.edits, "versions": shown.versions, "beyond": beyond}
    return found


_TABLES = ("_seen", "_acked_seq", "_pending", "_unanswered", "_refused", "_posted", "_last", "asked", "outside")


def _is_state(name: str) -> bool:
    return name in _TABLES or name in ("conn", "welcomed", "_due")


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a client's bytes: the first byte and the payload of each."""
    frames, at = [], 0
    while at < len(data):
        head, size, start = data[at], data[at + 1] & 127, at + 2
        assert data[at + 1] & 128
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        key, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
        frames.append((head, bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))))
        at = start + 4 + size
    return frames


def frame(payload: str | bytes, head: int | None = None) -> bytes:
    """A server's frame."""
    data = payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload
    first = (0x81 if isinstance(payload, str) else 0x82) if head is None else head
    size = len(data)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 65536 else None
    return bytes((first,)) + (length or b"\x7f" + size.to_bytes(8, "big")) + data


def assert_alike(plain: Mapping[str, Any], native: Mapping[str, Any]) -> None:
    """Compare part by part, so that a failure names the part."""
    rows = [np.frombuffer(left["records"], RECORD) for left in (plain, native)]
    for number, (one, other) in enumerate(zip(*rows, strict=False)):
        assert one == other, f"record {number + 1} of {len(rows[0])} and {len(rows[1])}"
    for part in plain:
        assert native[part] == plain[part], part
