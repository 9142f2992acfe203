"""Measure messages per CPU-second of the client process, with every frame recorded in a real journal.

    python -m benchmarks.client request-response|burst|burst-coalesced|idle [--seconds S] [--connections N]
                                [--keep-frames]

A message is one frame sent and its echo received: INVOKE, DELIVER and OK are recorded, and both latencies counted. The
CPU time is `time.process_time` of this process during the measurement; the echo server is another process.
EARWITNESS_NATIVE=off measures the Python path.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import orjson

from earwitness.harness.client.bell import Bell
from earwitness.harness.client.dialogue import PlainDialogue
from earwitness.harness.client.envelope import Envelope, Put, Quoted, Values
from earwitness.harness.client.events import MESSAGE, Handshake, Heard
from earwitness.harness.client.frame_cache import hearing
from earwitness.harness.client.frame_capture import KeepingSession
from earwitness.harness.client.gevent_shell import TRANSPORT, Connection
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.native import described
from earwitness.harness.record.frames import FrameStore
from earwitness.harness.record.journal import Journal

MODES = ("request-response", "burst", "burst-coalesced", "idle")
BURST = 1000
CONNECTIONS = 100
FRAME_BYTES = 128
LABEL = "room"
CREDENTIALS = Credentials(
    person=Person(number=0, name="ann", email="ann@people.example"), user_id="u0", token="e" * 700
)


def hear(data: str | bytes) -> Sequence[Heard]:
    """Decode a frame of the echo server, which sends back what was sent, as a MESSAGE event."""
    frame = orjson.loads(data)
    return ((MESSAGE, frame["conversation"], frame["text"], frame["seq"], None, frame["id"], None),)


ENVELOPE = Envelope(
    message=Values(room="conversation", text="text", seq="seq", id="id"),
    send=(
        '{"type":"send","conversation":"', (Put.LABEL, Quoted.RAW), '","seq":7,"id":"', (Put.ID, Quoted.RAW),
        '","text":"', (Put.TEXT, Quoted.RAW), '"}',
    ),
)  # fmt: skip


def encode(label: str, message_id: str, text: str) -> str:
    return f'{{"type":"send","conversation":"{label}","seq":7,"id":"{message_id}","text":"{text}"}}'


def say(connection: Connection, payload: str, *, soon: bool = False) -> None:
    """Send one message, as users do (`ChatUser._say`)."""
    now_ns = time.monotonic_ns()
    if not connection.say(now_ns, LABEL, payload, soon=soon):
        frame = connection.session.send(now_ns, LABEL, payload)
        (connection.send_soon if soon else connection.send)(frame)


@contextmanager
def echo_server() -> Iterator[int]:
    """Start an echo server as a process, and yield its port; the server ends with the context."""
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()


class Bench:
    """Connected sessions that record into one journal."""

    def __init__(self, port: int, connections: int, directory: Path, *, keep_frames: bool = False) -> None:
        self.journal = Journal.create(directory, "bench", meta={})
        self.frames = FrameStore.create(directory, "bench") if keep_frames else None
        kept = {"frames": self.frames, "credentials": lambda: CREDENTIALS} if keep_frames else {}
        self.rooms = {LABEL: 0}
        hear_once = hearing(hear, ())  # no frame is received by several connections
        device: Any = KeepingSession if keep_frames else ChatSession
        self.tally = Tally()
        self.url = f"ws://127.0.0.1:{port}/"
        self.connections: list[Connection] = []
        for client in range(connections):
            session = device(
                client=client,
                tag="bench",
                journal=self.journal,
                rooms=self.rooms,
                tally=self.tally,
                ack_by_echo=True,
                **kept,
            )
            spoken = PlainDialogue(Handshake(url=self.url, welcome=False), hear_once, encode, envelope=ENVELOPE)
            connection = Connection(session, spoken, timeout_s=30)
            connection.open()
            self.connections.append(connection)
        blank = len(encode(LABEL, "bench-10-1000", "ew1:bench:10:0:1000:10.1:01234567:"))
        self.payload = "x" * (FRAME_BYTES - blank)

    def close(self) -> None:
        for connection in self.connections:
            connection.abort()
        if self.frames is not None:
            self.frames.close()
        self.journal.close(TRANSPORT.snapshot())

    def request_response(self, seconds: float) -> int:
        """Let each user send a message, wait for the answer, and send the next one, for `seconds` seconds.

        Returns the number of messages.
        """
        end = time.monotonic() + seconds
        done = 0

        def user(connection: Connection) -> None:
            nonlocal done
            session = connection.session
            answered = Bell()
            session.on_answer = answered.set
            while time.monotonic() < end:
                answered.clear()
                say(connection, self.payload)
                answered.wait(10)
                assert not session.pending
                done += 1

        gevent.joinall([gevent.spawn(user, connection) for connection in self.connections], raise_error=True)
        return done

    def burst(self, seconds: float, *, coalesced: bool) -> int:
        """Let one user after the other send 1,000 messages at once and wait for all answers; return the message count.

        `coalesced`: write the messages of one iteration of the event loop together.
        """
        end = time.monotonic() + seconds
        done, payloads = 0, [self.payload] * BURST
        answered = Bell()
        for connection in self.connections:
            connection.session.on_answer = answered.set
        while time.monotonic() < end:
            connection = self.connections[done // BURST % len(self.connections)]
            session = connection.session
            target = session.acked + BURST
            done_natively = 0
            while done_natively < BURST:
                done_natively += connection.say_many(LABEL, payloads[done_natively:], joined=coalesced)
                if done_natively < BURST:
                    say(connection, self.payload, soon=coalesced)
                    done_natively += 1
            while session.acked < target:
                answered.clear()
                assert answered.wait(30)
            done += BURST
        return done


def measure(mode: str, seconds: float = 3.0, connections: int = 100, *, keep_frames: bool = False) -> dict[str, Any]:
    """Measure one round of a mode: return messages, cpu_s, per_cpu_s, wall_s, records and the share of native frames.

    For "idle" return bytes_per_connection and cpu_s instead.
    """
    with tempfile.TemporaryDirectory() as directory, echo_server() as port:
        if mode == "idle":
            return _idle(port, connections, Path(directory))
        bench = Bench(port, connections, Path(directory), keep_frames=keep_frames)
        try:
            run = {
                "request-response": bench.request_response,
                "burst": lambda s: bench.burst(s, coalesced=False),
                "burst-coalesced": lambda s: bench.burst(s, coalesced=True),
            }[mode]
            run(min(0.3, seconds))
            before = TRANSPORT.snapshot()
            begin_cpu, begin, first = time.process_time(), time.monotonic(), bench.journal.records
            messages = run(seconds)
            cpu_s, wall_s = time.process_time() - begin_cpu, time.monotonic() - begin
            moved = TRANSPORT.since(before)
            records = bench.journal.records - first
            assert moved["frames_in"] == moved["frames_out"] == messages
            assert records == 3 * messages
        finally:
            bench.close()
    return {
        "mode": mode,
        "messages": messages,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "per_cpu_s": messages / cpu_s,
        "records": records,
        "native": described()["native"],
        "native_share": moved["frames_native"] / (moved["frames_in"] + moved["frames_out"]),
    }


def _idle(port: int, connections: int, directory: Path) -> dict[str, Any]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    warm = Bench(port, 10, directory / "warm")
    gc.collect()
    before = _resident()
    begin_cpu = time.process_time()
    bench = Bench(port, connections, directory)
    cpu_s = time.process_time() - begin_cpu
    gc.collect()
    grown = _resident() - before
    bench.close()
    warm.close()
    return {"mode": "idle", "connections": connections, "bytes_per_connection": grown / connections, "cpu_s": cpu_s}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages per CPU-second of the client process.")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=None, help="default: 100, and 10,000 for idle")
    parser.add_argument("--keep-frames", action="store_true", help="keep the raw frames beside the records")
    options = parser.parse_args()
    connections = options.connections or (10_000 if options.mode == "idle" else CONNECTIONS)
    print(json.dumps(measure(options.mode, options.seconds, connections, keep_frames=options.keep_frames)))


if __name__ == "__main__":
    main()
