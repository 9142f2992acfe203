"""Shared state of the reference platform: read marks, edits, presence, and changes of the own account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from earwitness.harness.client.events import EDITED, MARKED, OTHER, PRESENCE, PROFILE, Heard
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.protocol import Credentials, Room
from earwitness.harness.dialects.reference.rooms import answer_object, bearer, seq_of

T = TypeVar("T")
REFUSED = (400, 403, 404, 409)


class ReferenceSharing:
    """Implementation of `harness.dialects.parts.Sharing` for the reference platform.

    `edge` is a base URL; `url_of` returns the address of a conversation.
    """

    def __init__(self, edge: str, url_of: Callable[[Room], str]) -> None:
        """Keep both; nothing is sent."""
        self._edge, self._url_of = edge, url_of

    def mark_read(self, credentials: Credentials, room: Room, seq: int) -> Flow[int | None]:
        """Implement `Sharing.mark_read`: send PUT …/read."""
        url, body = f"{self._url_of(room)}/read", orjson.dumps({"seq": seq})
        response = yield HttpRequest("PUT", url, _json(credentials), body, "mark read")
        if response.status in REFUSED:
            return None
        return _understood("marking read", response, lambda answer: seq_of(answer["seq"]))

    def marks(self, credentials: Credentials) -> Flow[Mapping[str, int]]:
        """Implement `Sharing.marks`: return the field `read` of each conversation in the user's list."""
        response = yield HttpRequest("GET", f"{self._edge}/api/conversations", bearer(credentials), b"", "read marks")
        return _understood(
            "reading the marks", response,
            lambda answer: {str(one["key"]): seq_of(one["read"]) for one in answer["conversations"]},
        )  # fmt: skip

    def edit(self, credentials: Credentials, room: Room, seq: int, text: str, version: int | None) -> Flow[Edit | None]:
        """Implement `Sharing.edit`: send PATCH …/messages/{seq}."""
        said = {"text": text} if version is None else {"text": text, "version": version}
        url = f"{self._url_of(room)}/messages/{seq}"
        response = yield HttpRequest("PATCH", url, _json(credentials), orjson.dumps(said), "edit")
        return None if response.status in REFUSED else _understood("editing", response, _edit)

    def edits_after(self, credentials: Credentials, room: Room, number: int) -> Flow[list[Edit]]:
        """Implement `Sharing.edits_after`: read GET …/edits page by page.

        Raises FlowError if a page does not continue after the one before it.
        """
        edits: list[Edit] = []
        while True:
            url = f"{self._url_of(room)}/edits?after={number}"
            response = yield HttpRequest("GET", url, bearer(credentials), b"", "edits")
            page, last = _understood(
                "reading edits", response,
                lambda answer: (list(map(_edit, answer["edits"])), seq_of(answer["last"])),
            )  # fmt: skip
            edits += page
            if not page or page[-1].number >= last:
                return edits
            if page[-1].number <= number:
                raise FlowError("reading edits", f"edits after {number}", response)
            number = page[-1].number

    def watch(self, label: str) -> str:
        """Implement `Sharing.watch`: return a frame of type `watch`."""
        return orjson.dumps({"type": "watch", "conversation": label}).decode()


def hear_sharing(frame: Mapping[str, Any]) -> Sequence[Heard]:
    """Return the events of a frame with shared state: MARKED, EDITED, PRESENCE or PROFILE; OTHER for other types.

    Raises KeyError, TypeError or ValueError if the frame is malformed.
    """
    kind = frame["type"]
    if kind == "read":
        return ((MARKED, str(frame["conversation"]), None, seq_of(frame["seq"]), None, None, None),)
    if kind == "edited":
        edit = _edit(frame)
        return ((EDITED, str(frame["conversation"]), edit.text, edit.seq, None, None, (edit.number, edit.version)),)
    if kind == "presence":
        users = {str(user): bool(online) for user, online in frame["users"].items()}
        return ((PRESENCE, str(frame["conversation"]), None, -1, None, None, users),)
    if kind == "user":
        user = frame["user"]
        account = (str(user["id"]), str(user["email"]), str(user["name"]))
        return ((PROFILE, None, None, -1, None, None, account),)
    return ((OTHER, None, None, -1, None, None, frame),)


def greeted_marks(frame: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return `{"read": {room label: read mark}}` from a greeting, {} if it carries no read marks.

    The mark is 0 for a conversation without one. Raises ValueError for a mark that is no sequence number.
    """
    marks = frame.get("read")
    if not isinstance(marks, dict):
        return {}
    return {"read": {str(label): seq_of(marks.get(label, 0)) for label in frame["conversations"]}}


def _json(credentials: Credentials) -> dict[str, str]:
    return {**bearer(credentials), "content-type": "application/json"}


def _edit(row: Mapping[str, object]) -> Edit:
    return Edit(seq_of(row["n"]), seq_of(row["seq"]), seq_of(row["version"]), str(row["text"]))


def _understood(step: str, response: HttpResponse, take: Callable[[dict[str, Any]], T]) -> T:
    """Return what `take` returns for the JSON object of the answer.

    Raises FlowError if the status is not 200, the answer is no JSON object, or `take` raises KeyError, TypeError or
    ValueError. `step`: what the tester was doing, for the error.
    """
    answer = answer_object(step, response)
    try:
        return take(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise FlowError(step, "an answer as the API has it", response) from error
