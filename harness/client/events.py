"""Events that a platform can send, in terms that every dialect translates into and no platform owns.

On the hot path an event is a plain tuple (building an object costs more than parsing the frame):

    (what, conversation, text, seq, sender, message_id, extra)

what          one of the constants below
conversation  the platform's label of the conversation, or None
text          message text as delivered, or None
seq           the platform's number in that conversation, or -1
sender        the platform's own statement of who sent it (its user id), or None
message_id    the sender's client message id, if the platform repeats it, or None
extra         per kind: MESSAGE → the fields of its body if they have been read (see `frame_cache`), else None;
              NACK → (code: int, retry_after_s: float | None); WELCOME → {"user", "replica", "session"};
              JOINED → True if nothing was missed since the resume point, False if history must be fetched,
              None if the session is new; AGENT → (run id, event name, chunk number); OTHER → anything

BEAT says only that the connection lives: a heartbeat of the platform, or its answer to one of ours. It is counted.

AGENT names the question that the answer belongs to, if the platform does: by the `message_id` of the question, or by
its number in the conversation (`seq`). Without, the time to the first token is not known.

Events about state that the devices of a user share (`text` and `seq` as of a message):

MARKED    the own read mark in the conversation is at `seq` by now, on whatever device it was moved
EDITED    message `seq` has `text` now; extra → (number of the edit in the conversation, version of the message)
PRESENCE  extra → {user id: whether they are online now}
PROFILE   what the own account shows by now, changed on whatever device; extra → (user id, e-mail, name)

WELCOME may carry all read marks: "read" in its extra → {conversation: seq}, 0 where nothing was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from earwitness.harness.client.network import ANY, Network

MESSAGE = 1
ACK = 2
NACK = 3
WELCOME = 4
JOINED = 5
LEFT = 6
REPLAYED = 7
AGENT = 8
OTHER = 9
MARKED = 10
EDITED = 11
PRESENCE = 12
PROFILE = 13
BEAT = 14

Heard: TypeAlias = tuple[int, str | None, str | None, int, str | None, str | None, Any]
"""One event: (what, conversation, text, seq, sender, message_id, extra)."""

BEATS: Final[tuple[Heard]] = ((BEAT, None, None, -1, None, None, None),)
"""Events of a frame that is a heartbeat, or the answer to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """Data that a client needs to open a socket.

    network  how the host is reached: TLS, proxies, longest frame
    welcome  the platform greets: the connection is usable only after the event WELCOME
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()
    network: Network = ANY
    welcome: bool = True
