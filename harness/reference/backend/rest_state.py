"""The part of the REST API by which people change what their devices share."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from harness.reference.answers import ApiError, json_response, read_json
from harness.reference.backend.doorkeeper import Caller
from harness.reference.backend.marks import Marks
from harness.reference.backend.rest import Rest

ROOM = "/api/conversations/{key}"
NUMBER_MAX = 1 << 62


class StateRest:
    """Handlers by path. `rest` meters, and knows who is a member."""

    def __init__(self, rest: Rest, marks: Marks) -> None:
        self._rest, self._marks = rest, marks

    def routes(self) -> list[web.RouteDef]:
        return [web.put(ROOM + "/read", self._rest.metered(self.read))]

    async def read(self, request: web.Request, caller: Caller) -> web.Response:
        """Everything up to `seq` was read. The answer is the mark after that: it never goes back."""
        conversation = await self._rest.member_of(request.match_info["key"], caller)
        seq = whole((await read_json(request)).get("seq"), "seq")
        mark = await self._marks.advance(caller.user.id, conversation.id, conversation.key, seq)
        if mark is None:
            raise ApiError(400, "invalid_request", "There is no such message yet.")
        return json_response({"conversation": conversation.key, "seq": mark})


def whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < NUMBER_MAX:
        raise ApiError(400, "invalid_request", f"{name} must be a whole number.")
    return value
