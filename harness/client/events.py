"""Events that a platform can send. Every dialect translates the frames of its platform into them.

On the hot path an event is a plain tuple (making an object takes longer than parsing the frame):

    (what, conversation, text, seq, sender, message_id, extra)

what          one of the constants below
conversation  the platform's label of the conversation, or None
text          message text as delivered, or None
seq           the platform's number of the message in that conversation, or -1
sender        the platform's statement of who sent the message (a user id of the platform), or None
message_id    the sender's client message id, if the platform repeats it, or None
extra         depends on the event, see here and below; None for other events:

    MESSAGE  the fields of its body if they have been read already (see `frame_cache`), else None
    NACK     (code: int, retry_after_s: float | None)
    WELCOME  {"user", "replica", "session"}
    JOINED   True if nothing was missed since the resume point, False if history must be fetched, None if the session
             is new
    AGENT    (run id, event name, chunk number)
    OTHER    anything, e.g. the frame

BEAT shows only that the connection works: a heartbeat of the platform, or its answer to a heartbeat of the client.

AGENT names the question that the answer belongs to, if the platform does: by the `message_id` of the question, or by
its number in the conversation (`seq`). Without either, the time to the first token is unknown.

Events about state that the devices of a user share (`text` and `seq` as of a message):

MARKED    the user's own read mark in the conversation is now at `seq`, whichever device moved it
EDITED    message `seq` now has the text `text`; extra → (number of the edit in the conversation, version of the
          message)
PRESENCE  extra → {user id: whether the user is online now}
PROFILE   what the user's own account shows now, whichever device changed it; extra → (user id, e-mail, name)

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
"""Events of a frame that is a heartbeat, or the answer to a heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """Data that a client needs to open a socket.

    network  how the host is reached: TLS, proxies, longest frame
    welcome  the platform greets each connection, which is usable only after the event WELCOME
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()
    network: Network = ANY
    welcome: bool = True
