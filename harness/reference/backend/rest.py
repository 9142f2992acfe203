"""REST API of the backend: accounts, conversations, members, histories, and messages sent by POST.

A posted message takes the same path as one from a socket.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from earwitness.harness.reference.answers import ApiError, json_response, read_json
from earwitness.harness.reference.backend.checked import ID_CHARS_MAX, message_fault
from earwitness.harness.reference.backend.commit import Committer, Item
from earwitness.harness.reference.backend.doorkeeper import Caller, Doorkeeper
from earwitness.harness.reference.backend.edits import EditRows
from earwitness.harness.reference.backend.invitations import Invitations, is_member
from earwitness.harness.reference.backend.memberships import Memberships
from earwitness.harness.reference.backend.session import retry_after
from earwitness.harness.reference.backend.store import Conversation, Message, Messages, Rooms, iso
from earwitness.harness.reference.limits import Decision, Limiter, payer

PAGE_MAX = 1000
MEMBERS_MAX = 5000

Handler: TypeAlias = Callable[[web.Request, Caller], Awaitable[web.Response]]


class Reply:
    """Future of the HTTP response to a posted message; implements `commit.Answer`."""

    def __init__(self) -> None:
        """Make the future; requires a running event loop."""
        self.done: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()

    def stored(self, item: Item, seq: int, decision: Decision | None) -> None:
        """Implement `Answer.stored`: answer 201 with the sequence number."""
        data = {"id": item.client_id, "conversation": item.key, "seq": seq}
        self._set(json_response(data, 201, decision.headers() if decision else None))

    def refused(self, item: Item, code: int, reason: str, decision: Decision | None) -> None:
        """Implement `Answer.refused`: answer with the status `code` and the reason."""
        self._set(refusal(code, reason, decision).response())

    def unknown(self, item: Item) -> None:
        """Implement `Answer.unknown`: answer 503 `unknown_outcome`."""
        error = ApiError(503, "unknown_outcome", "The message may have been stored: send it again.", retry_after_s=1)
        self._set(error.response())

    def _set(self, response: web.Response) -> None:
        if not self.done.done():
            self.done.set_result(response)


def refusal(code: int, reason: str, decision: Decision | None) -> ApiError:
    """Return an ApiError for a message that was refused with `code`, `reason` and the limiter's `decision`."""
    names = {400: "invalid_request", 403: "not_a_member", 413: "too_long", 429: "rate_limited", 503: "unavailable"}
    headers = decision.headers(refused=code == 429) if decision is not None else None
    wait_s = retry_after(code, decision)
    extra = {"retry_after": round(wait_s, 3)} if code == 429 and wait_s is not None else None
    return ApiError(
        code, names[code], reason, retry_after_s=wait_s if code == 503 else None, headers=headers, extra=extra
    )


class Rest:
    """Handlers of the REST API, by path."""

    def __init__(
        self, doorkeeper: Doorkeeper, limiter: Limiter, rooms: Rooms, messages: Messages, invitations: Invitations,
        committer: Committer, memberships: Memberships, edits: EditRows,
    ) -> None:  # fmt: skip
        """Keep the parts that requests need. Defects may replace `payer`, `read_page` (history) and `edited`."""
        self._doorkeeper, self.limiter, self._rooms = doorkeeper, limiter, rooms
        self.read_page, self._invitations, self._committer = messages.page, invitations, committer
        self._memberships, self.payer, self.edited = memberships, payer, edits.of_messages

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the REST API with their handlers."""
        room = "/api/conversations/{key}"
        return [
            web.get("/api/me", self.metered(self.me)),
            web.get("/api/conversations", self.metered(self.conversations)),
            web.put(room, self.metered(self.put_conversation)),
            web.get(room, self.metered(self.conversation)),
            web.delete(room + "/members/{email}", self.metered(self.remove_member)),
            web.get(room + "/messages", self.metered(self.history)),
            web.post(room + "/messages", self._post),
        ]

    def metered(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return `handler` behind authentication and rate limit, which raise ApiError: 401, 403, 429, 503.

        Responses and ApiErrors of `handler` have the rate headers, and so has a 429.
        """

        async def metered(request: web.Request) -> web.StreamResponse:
            caller = await self._doorkeeper.rest_caller(request)
            decision = await self.limiter.take(self.payer(request, caller.user.id))
            if not decision.allowed:
                raise refusal(429, "You have used up your request budget.", decision)
            try:
                response = await handler(request, caller)
            except ApiError as error:
                error.headers = {**(error.headers or {}), **decision.headers()}
                raise
            response.headers.update(decision.headers())
            return response

        return metered

    async def me(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: return the caller's account, from the main database."""
        return json_response({**caller.user.public(), "is_active": caller.user.is_active})

    async def conversations(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: return the conversations of which the caller is a member."""
        found = await self._rooms.of_user(caller.user)
        return json_response(
            {"conversations": [{"key": c.key, "title": c.title, "head": c.head, "read": c.read} for c in found]}
        )

    async def put_conversation(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: create a conversation or invite members.

        The status is 201 if it was created, else 200, and 403 if the caller is no member.
        """
        key = request.match_info["key"]
        if len(key) > ID_CHARS_MAX or "\0" in key:
            raise ApiError(400, "invalid_request", f"The key must have at most {ID_CHARS_MAX} characters.")
        data = await read_json(request)
        members, title = data.get("members"), data.get("title", key)
        if not isinstance(members, list) or not all(isinstance(m, str) and "@" in m and "\0" not in m for m in members):
            raise ApiError(400, "invalid_request", "members must be a list of e-mail addresses.")
        if len(members) > MEMBERS_MAX:
            raise ApiError(400, "invalid_request", f"A conversation has at most {MEMBERS_MAX} members.")
        if not isinstance(title, str) or "\0" in title:
            raise ApiError(400, "invalid_request", "title must be text.")
        made, conversation = await self._invitations.put(caller.user, key, title, members)
        return json_response({"key": conversation.key, "title": conversation.title}, 201 if made else 200)

    async def conversation(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: return one conversation with its members.

        A member who has no account yet has neither id nor name.
        """
        found = await self.member_of(request.match_info["key"], caller)
        people = [{"id": id, "email": email, "name": name} for id, email, name in await self._rooms.people(found.id)]
        return json_response({"key": found.key, "title": found.title, "head": found.head, "members": people})

    async def remove_member(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: remove a member, which any member may do; 403 for other callers.

        `removed` is false if there was no such member.
        """
        conversation = await self.member_of(request.match_info["key"], caller)
        removed = await self._memberships.remove(conversation, request.match_info["email"].lower())
        return json_response({"key": conversation.key, "removed": removed})

    async def history(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer a request: return one page of messages, with the last edit of each message that has one.

        The query has `after` (a sequence number, 0 by default) and `limit` (100 by default, PAGE_MAX at most).
        `digest`: SHA-256 of the JSON lines [seq, id, sender, text] of the messages as they were sent.
        """
        conversation = await self.member_of(request.match_info["key"], caller)
        after, limit = _number(request, "after", 0, 1 << 62), _number(request, "limit", 100, PAGE_MAX)
        page = await self.read_page(conversation.id, after, limit)
        messages: list[dict[str, Any]] = [
            {"seq": m.seq, "id": m.client_id, "sender": m.sender, "text": m.text, "at": iso(m.at)} for m in page
        ]
        if conversation.edits:
            edited = await self.edited(conversation.id, [m.seq for m in page])
            for shown in messages:
                if (edit := edited.get(shown["seq"])) is not None:
                    shown["edited"] = edit.public()
        return json_response({"messages": messages, "head": conversation.head, "digest": page_digest(page)})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        """Accept a posted message.

        The message path charges the budget, once for each message whatever its origin.
        """
        caller = await self._doorkeeper.rest_caller(request)
        data = await read_json(request)
        key = request.match_info["key"]
        fault = message_fault(key, data.get("id"), data.get("text"))
        if fault is not None:
            raise refusal(fault.code, fault.reason, None)
        reply = Reply()
        item = Item(reply, caller.user.id, caller.user.email, key, data["id"], data["text"], data.get("ask") is True)
        await self._committer.room()
        self._committer.submit(item)
        return await reply.done

    async def member_of(self, key: str, caller: Caller) -> Conversation:
        """Return the conversation `key`, of which the caller must be a member.

        Raises ApiError 403 if the caller is not a member, or if there is no such conversation.
        """
        found = await self._rooms.find(key)
        if found is not None:
            conversation, members = found
            if is_member(caller.user, members):
                return conversation
        # The same for a conversation that does not exist: else strangers could find out names.
        raise ApiError(403, "not_a_member", "You are not a member of this conversation.")


def page_digest(page: Sequence[Message]) -> str:
    """Return the SHA-256 of a page of messages, in hexadecimal (see `Rest.history`)."""
    digest = hashlib.sha256()
    for message in page:
        row: list[object] = [message.seq, message.client_id, message.sender, message.text]
        digest.update(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return digest.hexdigest()


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ApiError(400, "invalid_request", f"{name} must be a whole number.")
    return min(int(text), most)
