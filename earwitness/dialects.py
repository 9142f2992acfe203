"""Everything that a dialect in Python needs: `from earwitness.dialects import BaseDialect, BaseDialogue, …`.

A dialect describes how one platform is spoken to (docs/guide/dialects.md). These names are stable; modules below
`earwitness.harness` may move.
"""

from __future__ import annotations

from earwitness.harness.client.answering import AnswerIds, StreamedAnswer
from earwitness.harness.client.dialogue import BaseDialogue, Dialogue, ManyDialogues, PlainDialogue, SilentDialogue
from earwitness.harness.client.events import (
    ACK,
    AGENT,
    BEAT,
    BEATS,
    EDITED,
    JOINED,
    LEFT,
    MARKED,
    MESSAGE,
    NACK,
    OTHER,
    PRESENCE,
    PROFILE,
    REPLAYED,
    WELCOME,
    Handshake,
    Heard,
)
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse, StreamedRequest
from earwitness.harness.client.wire import Refused
from earwitness.harness.client.wires import ByteStream, EventStream, LongPoll, NoSocket, parse_event
from earwitness.harness.dialects.base import BaseDialect, posted
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.dialects.protocol import Target
from earwitness.harness.dialects.settings import Settings
from earwitness.harness.dialects.values import Credentials, Opening, Person, Room, Statement, StoredRow

__all__ = [
    "ACK",
    "AGENT",
    "BEAT",
    "BEATS",
    "EDITED",
    "JOINED",
    "LEFT",
    "MARKED",
    "MESSAGE",
    "NACK",
    "OTHER",
    "PRESENCE",
    "PROFILE",
    "REPLAYED",
    "WELCOME",
    "AnswerIds",
    "BaseDialect",
    "BaseDialogue",
    "ByteStream",
    "Credentials",
    "Dialogue",
    "EventStream",
    "Flow",
    "FlowError",
    "Handshake",
    "Heard",
    "HttpRequest",
    "HttpResponse",
    "LongPoll",
    "ManyDialogues",
    "NoSocket",
    "Opening",
    "Parts",
    "Person",
    "PlainDialogue",
    "Refused",
    "Room",
    "Settings",
    "SilentDialogue",
    "Statement",
    "StoredRow",
    "StreamedAnswer",
    "StreamedRequest",
    "Target",
    "parse_event",
    "posted",
]
