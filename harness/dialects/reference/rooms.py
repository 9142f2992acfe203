"""Conversations of the reference platform over HTTP: histories, members, and messages sent as requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from earwitness.harness.client.events import ACK, NACK, Heard
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse
from earwitness.harness.client.statements import WAIT_MAX_S
from earwitness.harness.described import whole_number
from earwitness.harness.dialects.parts import HistoryPart
from earwitness.harness.dialects.protocol import Credentials, Person, Room, StoredRow

HISTORY_PAGE = 1000
SEQ_LIMIT = 1 << 62


class ReferenceRooms:
    """Base class of `ReferenceTarget` that reads histories, removes members, and sends messages as requests."""

    _edge: str

    def history(self, credentials: Credentials, room: Room) -> Flow[list[StoredRow]]:
        """Implement `Target.history`: read all pages from sequence number 0 on."""
        return (yield from self.history_after(credentials, room, 0)).rows

    def history_after(self, credentials: Credentials, room: Room, after: int) -> Flow[HistoryPart]:
        """Implement `ReadsHistoryAfter.history_after`: read pages of `HISTORY_PAGE` messages up to the newest one.

        Raises FlowError if an answer is not a page, or does not continue after the one before it.
        """
        rows: list[StoredRow] = []
        fits = True
        step = f"reading the history of {room.label}"
        while True:
            url = f"{self.conversation_url(room)}/messages?after={after}&limit={HISTORY_PAGE}"
            response = yield HttpRequest("GET", url, bearer(credentials), b"", "history")
            page = answer_object(step, response)
            try:
                messages = [_stored(message) for message in page["messages"]]
                head = int(page["head"])
                own = page_digest(page["messages"])
                fits &= page.get("digest", own) == own
            except (KeyError, TypeError, ValueError) as error:
                raise FlowError(step, "messages with seq, id, sender, text, and head", response) from error
            if not messages:
                return HistoryPart(rows, fits)
            rows += messages
            last = max(row.seq for row in messages)
            if last <= after:
                raise FlowError(step, f"messages after {after}", response)
            after = last
            if after >= head:
                return HistoryPart(rows, fits)

    def remove_member(self, credentials: Credentials, room: Room, person: Person) -> Flow[None]:
        """Implement `RemovesMembers.remove_member`: send DELETE for the member. Raises FlowError for a refusal."""
        url = f"{self.conversation_url(room)}/members/{quote(person.email, safe='')}"
        response = yield HttpRequest("DELETE", url, bearer(credentials), b"", "remove member")
        answer_object(f"removing {person.name} from {room.label}", response)

    def post_beside(self, credentials: Credentials, label: str, message_id: str, text: str) -> Flow[Sequence[Heard]]:
        """Implement `PostsBeside.post_beside`: send `POST …/messages`.

        The platform treats it like a message from a socket. 201 is ACK, any other status below 500 is NACK.
        """
        url = f"{self._edge}/api/conversations/{quote(label, safe='')}/messages"
        headers = {**bearer(credentials), "content-type": "application/json"}
        body = orjson.dumps({"id": message_id, "text": text})
        response = yield HttpRequest("POST", url, headers, body, "send by HTTP")
        if response.status == 201:
            try:
                answer = response.json()
                return ((ACK, label, None, seq_of(answer["seq"]), None, str(answer["id"]), None),)
            except (KeyError, TypeError, ValueError) as error:
                raise FlowError("sending by HTTP", "a message with id and seq", response) from error
        if response.status >= 500:
            raise FlowError("sending by HTTP", "201", response)
        retry = response.headers.get("retry-after", "")
        wait_s = whole_number(retry, WAIT_MAX_S)
        return ((NACK, label, None, -1, None, message_id, (response.status, wait_s)),)

    def conversation_url(self, room: Room) -> str:
        """Return the address of a room's conversation at the edge."""
        return f"{self._edge}/api/conversations/{quote(room.label, safe='')}"


def bearer(credentials: Credentials) -> dict[str, str]:
    """Return the header that presents a token (RFC 6750 §2.1)."""
    return {"authorization": f"Bearer {credentials.token}"}


def page_digest(messages: Sequence[Mapping[str, object]]) -> str:
    """Return the SHA-256 (hex) of number, id, sender and text of each message of a page, as one line of JSON each.

    The platform states the same digest with each page.
    """
    digest = hashlib.sha256()
    for message in messages:
        row = [message["seq"], message["id"], message["sender"], message["text"]]
        digest.update(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return digest.hexdigest()


def seq_of(value: object) -> int:
    """Return `value` if it is a sequence number that fits into a record (0 to 2^62 - 1), or -1, which stands for none.

    Raises ValueError for anything else.
    """
    if type(value) is not int or not -1 <= value < SEQ_LIMIT:
        raise ValueError("not a sequence number")
    return value


def answer_object(step: str, response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of an answer with status 200.

    Raises FlowError for any other answer.
    """
    if response.status != 200:
        raise FlowError(step, "200", response)
    try:
        value = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FlowError(step, "JSON", response) from error
    if not isinstance(value, dict):
        raise FlowError(step, "a JSON object", response)
    return value


def _stored(message: Mapping[str, Any]) -> StoredRow:
    sender, message_id = message["sender"], message["id"]
    return StoredRow(
        text=str(message["text"]),
        seq=int(message["seq"]),
        sender=None if sender is None else str(sender),
        message_id=None if message_id is None else str(message_id),
        conversation=message.get("conversation"),
    )
