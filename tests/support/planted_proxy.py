"""TCP proxy that plants one fault into the deliveries of a NATS, MQTT or STOMP server.

    python tests/support/planted_proxy.py nats 127.0.0.1:4222 lose --every 20

prints {"port": N} and serves until it is ended. Of every N-th delivery: `lose` drops it, `duplicate` sends it twice,
`swap` sends it behind the next one of the same author in the same room, `leak` also sends it to a connection that
never named its room (and counts only deliveries for which there is one). It cuts the stream by itself, so it proves
nothing by the decoders that are under test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BODY = re.compile(rb"ew1:[^:]+:(\d+):(\d+):(\d+):")
ROOM = re.compile(rb"\w+-r\d+-of-\d+")
START_S = 20.0


def cut_nats(data: bytes) -> int:
    """Return the length of the first protocol message of `data`, 0 if it is not whole."""
    end = data.find(b"\r\n")
    if end < 0:
        return 0
    words = data[:end].split()
    length = end + 2 + (int(words[-1]) + 2 if words and words[0] in (b"MSG", b"HMSG") else 0)
    return length if len(data) >= length else 0


def cut_mqtt(data: bytes) -> int:
    length, at = 0, 1
    while at < len(data):
        length |= (data[at] & 127) << (7 * (at - 1))
        at += 1
        if data[at - 1] < 128:
            return at + length if len(data) >= at + length else 0
    return 0


def cut_stomp(data: bytes) -> int:
    if data[:1] in (b"\n", b"\r"):
        return 1
    return data.find(b"\0") + 1


CUTS: dict[str, Callable[[bytes], int]] = {"nats": cut_nats, "mqtt": cut_mqtt, "stomp": cut_stomp}


class Peer:
    """One connection: what the client named so far, and a delivery that is held back."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer, self.named, self.tail = writer, set[bytes](), b""
        self.held: tuple[tuple[bytes, ...], bytes] | None = None

    def note(self, data: bytes) -> None:
        self.named |= set(ROOM.findall(self.tail + data))
        self.tail = data[-64:]


class Proxy:
    def __init__(self, cut: Callable[[bytes], int], fault: str, every: int) -> None:
        self.cut, self.fault, self.every = cut, fault, every
        self.count, self.peers = 0, list[Peer]()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[str, int]) -> None:
        server_reader, server_writer = await asyncio.open_connection(*to)
        peer = Peer(writer)
        self.peers.append(peer)
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(self.up(peer, reader, server_writer), self.down(peer, server_reader))
        finally:
            self.peers.remove(peer)
            writer.close()
            server_writer.close()

    async def up(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            peer.note(data)
            writer.write(data)
        writer.close()

    async def down(self, peer: Peer, reader: asyncio.StreamReader) -> None:
        rest = b""
        while data := await reader.read(65536):
            rest += data
            while length := self.cut(rest):
                unit, rest = rest[:length], rest[length:]
                for sent in self.plant(peer, unit):
                    peer.writer.write(sent)
        peer.writer.close()

    def plant(self, peer: Peer, unit: bytes) -> Iterator[bytes]:
        found = BODY.search(unit)
        if found is None:
            yield unit
            return
        strangers: list[Peer] = []
        if self.fault == "leak":
            room = (ROOM.search(unit) or found).group(0)
            strangers = [other for other in self.peers if other.named and room not in other.named]
        self.count += self.fault != "leak" or bool(strangers)
        due, key = self.count % self.every == 0, found.group(1, 2)
        if self.fault == "swap":
            if peer.held and peer.held[0] == key:
                yield unit
                yield peer.held[1]
                peer.held = None
            elif due and not peer.held:
                peer.held = (key, unit)
            else:
                yield unit
            return
        if due:
            for other in strangers[:1]:
                other.writer.write(unit)
        if not (due and self.fault == "lose"):
            yield unit
        if due and self.fault == "duplicate":
            yield unit


async def main(arguments: argparse.Namespace) -> None:
    host, _, port = arguments.to.rpartition(":")
    proxy = Proxy(CUTS[arguments.protocol], arguments.fault, arguments.every)
    server = await asyncio.start_server(lambda r, w: proxy.serve(r, w, (host, int(port))), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


@contextmanager
def planted(protocol: str, port: int, fault: str, every: int) -> Iterator[int]:
    """Run the proxy as a process in front of a server on `port` of this machine; yield its own port."""
    command = [sys.executable, __file__, protocol, f"127.0.0.1:{port}", fault, "--every", str(every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], START_S)[0], "the proxy did not say that it listens"
        yield int(json.loads(process.stdout.readline())["port"])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=tuple(CUTS))
    parser.add_argument("to", help="host:port of the server")
    parser.add_argument("fault", choices=("lose", "duplicate", "swap", "leak"))
    parser.add_argument("--every", type=int, default=20)
    asyncio.run(main(parser.parse_args()))
