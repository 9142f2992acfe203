"""The part of the REST API that changes state shared by a user's devices: read marks and edits."""

from __future__ import annotations

from aiohttp import web

from earwitness.harness.reference.answers import ApiError, json_response, read_json
from earwitness.harness.reference.backend.checked import message_fault
from earwitness.harness.reference.backend.doorkeeper import Caller
from earwitness.harness.reference.backend.edits import EditRefused, Edits
from earwitness.harness.reference.backend.marks import Marks
from earwitness.harness.reference.backend.rest import Rest, refusal

ROOM = "/api/conversations/{key}"
NUMBER_MAX = 1 << 62
REFUSALS = {
    403: ("not_yours", "Only its sender may edit a message."),
    404: ("no_such_message", "There is no such message."),
    409: ("edited_meanwhile", "The message has another version by now."),
}


class StateRest:
    """Handlers of the REST API for read marks and edits.

    `rest` applies the rate limit and checks membership.
    """

    def __init__(self, rest: Rest, marks: Marks, edits: Edits) -> None:
        """Keep the parts that change read marks and edits."""
        self._rest, self._marks, self._edits = rest, marks, edits

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for read marks and edits with their handlers."""
        return [
            web.put(ROOM + "/read", self._rest.metered(self.read)),
            web.patch(ROOM + "/messages/{seq}", self._rest.metered(self.edit)),
            web.get(ROOM + "/edits", self._rest.metered(self.edits)),
        ]

    async def read(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: mark everything up to `seq` of the JSON body as read.

        The response has the conversation and the mark after the change, which is higher than `seq` if the mark was
        higher before. The status is 400 if there is no message `seq` yet.
        """
        conversation = await self._rest.member_of(request.match_info["key"], caller)
        seq = whole((await read_json(request)).get("seq"), "seq")
        mark = await self._marks.advance(caller.user.id, conversation.id, conversation.key, seq)
        if mark is None:
            raise ApiError(400, "invalid_request", "There is no such message yet.")
        return json_response({"conversation": conversation.key, "seq": mark})

    async def edit(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: replace the text of the caller's own message; return the edit.

        The body may have `version`, the version that is edited: 409 if it is not the present one. Without it the last
        edit wins.
        """
        conversation = await self._rest.member_of(request.match_info["key"], caller)
        said = await read_json(request)
        fault = message_fault(conversation.key, "-", said.get("text"))
        if fault is not None:
            raise refusal(fault.code, fault.reason, None)
        seq = number(request.match_info["seq"], "seq")
        base = None if said.get("version") is None else whole(said["version"], "version")
        try:
            edit = await self._edits.edit(conversation.id, conversation.key, seq, caller.user.id, said["text"], base)
        except EditRefused as refused:
            code, sentence = REFUSALS[refused.code]
            extra = {"version": refused.version} if refused.version else None
            raise ApiError(refused.code, code, sentence, extra=extra) from None
        return json_response({"conversation": conversation.key, **edit.public()})

    async def edits(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: return the edits of a conversation with a number above `after`, in order, a page at most.

        `last` in the answer is the number of the conversation's last edit.
        """
        conversation = await self._rest.member_of(request.match_info["key"], caller)
        after = number(request.query.get("after", "0"), "after")
        page = await self._edits.rows.after(conversation.id, after)
        return json_response({"edits": [edit.public() for edit in page], "last": conversation.edits})


def number(text: str, name: str) -> int:
    """Return the whole number that the digits in `text` spell. `name`: of the parameter, for the error.

    Raises ApiError 400.
    """
    return whole(int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None, name)


def whole(value: object, name: str) -> int:
    """Return `value` if it is a whole number from 0 to below NUMBER_MAX. `name`: of the field, for the error.

    Raises ApiError 400.
    """
    if type(value) is not int or not 0 <= value < NUMBER_MAX:
        raise ApiError(400, "invalid_request", f"{name} must be a whole number.")
    return value
