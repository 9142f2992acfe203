"""Final reads of a room: by HTTP requests, or by a dialogue on a separate socket. Both return a list of rows."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from earwitness.harness.client.asyncio_shell import AsyncConnection
from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import Heard
from earwitness.harness.client.flow import FlowError, run_flow_async
from earwitness.harness.client.link import Transport
from earwitness.harness.client.wire import Refused
from earwitness.harness.dialects.guarded import GuardedDialogue
from earwitness.harness.dialects.parts import SocketReader
from earwitness.harness.dialects.protocol import Credentials, Room, StoredRow, Target
from earwitness.harness.errors import TargetError

LEAST_LIMIT = 10
"""Smallest number in a request for a history that is taken for a limit of its rows."""


async def read_history(
    target: Target, credentials: Credentials, room: Room, http: httpx.AsyncClient
) -> list[StoredRow]:
    """Return all messages of a room that the platform has stored, oldest first.

    Raises FlowError if the history cannot be read, and if the number of rows is LEAST_LIMIT or more and equals a number
    in the request (`Parts.history_limits`): the rows may be only the first ones. httpx's transport errors are raised
    unchanged.
    """
    by_socket = target.parts.reads_by_socket
    if by_socket is None:
        rows = await run_flow_async(target.history(credentials, room), http)
    else:
        rows = await _talk(by_socket.reader(credentials, room), target.name)
    if len(rows) >= LEAST_LIMIT and len(rows) in target.parts.history_limits:
        said = f"exactly {len(rows)}, which the request names: that may be its limit, so read all pages"
        raise FlowError("history", f"all messages of {room.label}", detail=said)
    return rows


async def _talk(reader: SocketReader, name: str) -> list[StoredRow]:
    """Open a socket for a reader, and return its rows when it has read them.

    `name`: of the target, for errors. Raises FlowError if the socket fails, or if not all rows came in time.
    """
    listener = _Listener()
    # Counters of its own: these frames are not recorded.
    connection = AsyncConnection(
        listener, GuardedDialogue(reader, name), timeout_s=bounds().answer_s, transport=Transport()
    )
    try:
        await connection.open()
        whole = await connection.wait(lambda: reader.rows is not None or connection.over, bounds().answer_s)
        if connection.error is not None:
            raise connection.error
        await connection.close()
    except (Refused, OSError, TimeoutError, TargetError) as error:
        raise FlowError("history", "a socket to read it from", detail=str(error) or type(error).__name__) from error
    if reader.rows is None:
        ended = "no whole answer in time" if not whole else f"the connection ended ({connection.wire.close_code})"
        raise FlowError("history", "all rows of the room", detail=ended)
    return reader.rows


class _Listener:
    """Receiver of a socket's frames that passes them to the reader's dialogue and records nothing."""

    def __init__(self) -> None:
        self.welcomed = False

    def connected(self, dialogue: Dialogue, now_ns: int, handshake_ns: int, replica: str | None = None) -> int:
        """Implement `Hears.connected`: keep the function that decodes frames; return the number 1."""
        self._decode = dialogue.received
        self.welcomed = True
        return 1

    def heard(self, now_ns: int, data: str | bytes) -> None:
        """Implement `Hears.heard`: pass the frame to the dialogue, which stores the rows in it."""
        self._decode(data)

    def happened(self, now_ns: int, events: Sequence[Heard]) -> None:
        """Implement `Hears.happened`: do nothing."""

    def closed(self, now_ns: int, code: int, own: bool, reason: str = "") -> None:
        """Implement `Hears.closed`: do nothing."""


__all__ = ["read_history"]
