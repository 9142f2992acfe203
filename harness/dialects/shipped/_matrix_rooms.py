"""Rooms of a Matrix homeserver: joined by their alias, and made by their first member; `matrix` is the dialect.

A server answers the joins of one room one after the other, so on a slow machine the last of many users waits long.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote, urlencode

import orjson

from earwitness.dialects import Credentials, Flow, FlowError, HttpResponse, Room
from earwitness.harness.dialects.shipped._matrix_sync import API, NONE, as_table, as_text

TRIES, ALONE, LOST = 60, 10, 6
"""Tries to join; those after which any member makes the room; requests without an answer after which a user gives up.
"""
PAUSE_MS = 1000


class Ask(Protocol):
    """Protocol of a request to the server: `name` for statistics, `me` for who asks."""

    def __call__(
        self, method: str, path: str, name: str, body: object = None, me: Credentials | None = None
    ) -> Flow[HttpResponse]:
        """Return the answer."""
        ...


def enter(ask: Ask, room: Room, alias: str, me: Credentials) -> Flow[str]:
    """Join a room by its alias, and make it if there is none; return its id. Raises FlowError.

    The first member makes it. The others wait, because each room that is made in vain delays all of them. A request
    without an answer is repeated: it may have taken effect, and then the next one is answered at once.
    """
    join, since, lost = f"{API}/join/{quote(alias, safe='')}", "", 0
    makes = bool(room.members) and room.members[0].number == me.person.number
    response: HttpResponse | None = None
    for tried in range(TRIES):
        try:
            response = yield from ask("POST", join, "join", {}, me)
            if response.status == 404 and (makes or tried >= ALONE):
                response = yield from _make(ask, alias, me)
            if response.status == 200:
                return as_text((as_table(response.body) or {}).get("room_id"))
            held = yield from ask("GET", _pause(since), "pause", me=me)
            since = as_text((as_table(held.body) or {}).get("next_batch")) or since
        except FlowError:
            lost += 1
            if lost == LOST:
                raise
    raise FlowError("open room", "the id of a room that was joined or made", response)


def _make(ask: Ask, alias: str, me: Credentials) -> Flow[HttpResponse]:
    """Make a room, and give it its alias once others may join it; return the answer that says so, or why not."""
    body = {"preset": "public_chat", "visibility": "private"}
    made = yield from ask("POST", f"{API}/createRoom", "create room", body, me)
    if made.status != 200:
        return made
    room_id = as_text((as_table(made.body) or {}).get("room_id"))
    at = f"{API}/directory/room/{quote(alias, safe='')}"
    named = yield from ask("PUT", at, "name room", {"room_id": room_id}, me)
    return made if named.status == 200 else named


def _pause(since: str) -> str:
    """Return the address of a poll that shows nothing, and is held for PAUSE_MS behind a cursor: a flow has no clock.

    `since`: cursor of the poll before; "" asks for the first one at once.
    """
    shown = orjson.dumps({"presence": NONE, "account_data": NONE, "room": {"rooms": []}}).decode()
    held = {"since": since, "timeout": PAUSE_MS} if since else {"timeout": 0}
    return f"{API}/sync?{urlencode({'filter': shown, **held})}"
