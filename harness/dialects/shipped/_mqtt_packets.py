"""Encoding and decoding of MQTT 3.1.1 packets. Received data may be cut anywhere, also inside a packet.

https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
"""

from __future__ import annotations

from typing import Final

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14
BROKEN: Final = 0
"""Kind of data that is no packet: its length cannot be read, or is above the limit."""
QOS_1: Final = 0x02
LENGTH_BYTES: Final = 4
"""Most bytes of the field "remaining length" (§2.2.3)."""
REFUSALS: Final = ("", "protocol version", "client id", "server unavailable", "user or password", "not authorized")
"""Meaning of the return codes of CONNACK (§3.2.2.3)."""
Packet = tuple[int, int, bytes]
"""Packet: kind, flags, and everything behind the fixed header."""


def split(data: bytes, most: int) -> tuple[list[Packet], bytes]:
    """Return the complete packets of `data`, and the bytes behind them. `most`: largest remaining length, in bytes.

    A packet whose length cannot be read, or exceeds `most`, is the last one, with the kind BROKEN. The data behind it
    is dropped, because it is unknown where the next one begins.
    """
    packets: list[Packet] = []
    at = 0
    while at + 1 < len(data):
        length, shift, place = 0, 0, at + 1
        while place < len(data) and place - at <= LENGTH_BYTES:
            length |= (data[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if not data[place - 1] & 0x80:
                break
        whole = not data[place - 1] & 0x80
        if length > most or (not whole and place - at > LENGTH_BYTES):
            return [*packets, (BROKEN, 0, data[at : at + 16])], b""
        if not whole or len(data) < place + length:
            break
        packets.append((data[at] >> 4, data[at] & 0x0F, data[place : place + length]))
        at = place + length
    return packets, data[at:]


def packet(kind: int, flags: int, body: bytes = b"") -> bytes:
    """Return a packet: the fixed header with `kind` and `flags` (4 bits each), then `body`."""
    length, left = bytearray(), len(body)
    while True:
        left, low = left >> 7, left & 0x7F
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes([kind << 4 | flags]) + bytes(length) + body


def text(value: str) -> bytes:
    """Return a text in UTF-8 behind its length in bytes, a number of two bytes (§1.5.3)."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def connect(client_id: str, keepalive_s: int, *, clean: bool, user: str = "", password: str = "") -> bytes:
    """Return the packet that opens a session (§3.1). `clean`: the session ends with its connection.

    `user`, `password`: "" without one.
    """
    flags = (0x02 if clean else 0) | (0x80 if user else 0) | (0x40 if user and password else 0)
    body = text("MQTT") + bytes([4, flags]) + keepalive_s.to_bytes(2, "big") + text(client_id)
    if user:
        body += text(user) + (text(password) if password else b"")
    return packet(CONNECT, 0, body)


def subscribe(packet_id: int, topics: list[str]) -> bytes:
    """Return the packet that subscribes to topics at QoS 1 (§3.8)."""
    return packet(SUBSCRIBE, 0x02, packet_id.to_bytes(2, "big") + b"".join(text(one) + b"\x01" for one in topics))


def publish(packet_id: int, topic: str, payload: bytes) -> bytes:
    """Return the packet that sends a message at QoS 1 (§3.3)."""
    return packet(PUBLISH, QOS_1, text(topic) + packet_id.to_bytes(2, "big") + payload)


def published(flags: int, body: bytes) -> tuple[str, int | None, bytes] | None:
    """Return (topic, packet id or None at QoS 0, payload) of a PUBLISH packet; None if `body` is too short."""
    length = int.from_bytes(body[:2], "big")
    start, qos = 2 + length, flags >> 1 & 3
    end = start + (2 if qos else 0)
    if len(body) < end or len(body) < 2:
        return None
    number = int.from_bytes(body[start:end], "big") if qos else None
    return body[2:start].decode(errors="replace"), number, body[end:]
