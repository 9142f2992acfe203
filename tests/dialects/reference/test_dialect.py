"""The reference dialect's flows, driven answer by answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import Place
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse
from earwitness.harness.client.sharing import Edit
from earwitness.harness.dialects.protocol import Credentials, Person, Room, Target
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.reference.rooms import page_digest
from earwitness.harness.errors import SettingsError

ENDPOINTS = {"edge": "http://127.0.0.1:1", "auth": "http://127.0.0.1:2", "frontend": "http://127.0.0.1:3"}
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def target() -> ReferenceTarget:
    return ReferenceTarget(ENDPOINTS)


@pytest.fixture
def credentials(person: Callable[..., Person]) -> Credentials:
    extra = {"refresh_token": "R", "ticket": "K"}
    return Credentials(person=person(0), user_id="u-0", token="T", extra=extra)


def drive(flow: Flow[Any], *answers: HttpResponse | Any) -> tuple[Any, list[HttpRequest]]:
    """Run a flow on ready answers; gives its result and its requests."""
    requests: list[HttpRequest] = []
    waiting = list(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            answer = waiting.pop(0)
            if not isinstance(answer, HttpResponse):
                answer = HttpResponse(200, {}, json.dumps(answer).encode())
            request = flow.send(answer)
    except StopIteration as end:
        assert not waiting, "the flow asked for less than was expected"
        return end.value, requests


def redirect(to: str, *cookies: str) -> HttpResponse:
    return HttpResponse(302, {"location": to}, b"", set_cookies=cookies)


def token_for(person: Person, **changes: Any) -> str:
    claims: dict[str, Any] = {
        "iss": ENDPOINTS["auth"],
        "aud": "earwitness-chat",
        "sub": "u-0",
        "email": person.email,
        "exp": int(time.time()) + 60,
    }
    claims |= changes
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, KEY)


def answer_for(person: Person, **changes: Any) -> dict[str, Any]:
    return {
        "access_token": token_for(person, **changes),
        "refresh_token": "R",
        "expires_in": 60,
        "user": {"id": "u-0", "email": person.email, "name": person.name},
    }


def test_it_is_a_target(target: ReferenceTarget) -> None:
    """It has everything that the protocol asks for, and promises what its backend's defaults promise."""
    as_target: Target = target
    assert as_target.allow_load
    contract = target.contract
    assert (contract.sequence, contract.at_most_once) == ("contiguous", "device")
    assert (contract.idempotent, contract.resume, contract.history, contract.echo) == (True, True, True, True)
    assert (contract.rate_per_s, contract.rate_burst) == (1000.0, 2000.0)
    assert Contract.from_dict(contract.to_dict()) == contract
    assert ReferenceTarget(ENDPOINTS, promises={"rate_per_s": 5.0}).contract.rate_per_s == 5.0


def test_login_is_a_browser(target: ReferenceTarget, person: Callable[..., Person]) -> None:
    """Redirects through the provider are followed with the cookies of each host, to the callback's JSON."""
    provider = "http://127.0.0.9:9"
    answers = [
        redirect(f"{provider}/authorize?x=1", "ew_login=S1; Path=/auth; HttpOnly"),
        redirect(f"{ENDPOINTS['auth']}/auth/google/callback?code=C&state=S"),
        answer_for(person(0)),
    ]
    credentials, requests = drive(target.login(person(0)), *answers)
    assert (credentials.user_id, credentials.extra["refresh_token"]) == ("u-0", "R")
    assert credentials.expires_at == pytest.approx(time.time() + 60, abs=5)
    first, at_provider, callback = requests
    assert parse_qs(urlsplit(first.url).query) == {"login_hint": [person(0).email]}
    assert at_provider.url == f"{provider}/authorize?x=1"
    assert "cookie" not in at_provider.headers
    assert callback.headers["cookie"] == "ew_login=S1"
    assert {request.name for request in requests[1:]} <= {"GET /authorize", "GET /auth/google/callback"}
    assert "access" not in repr(credentials)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sub": "u-1"}, "sub 'u-1' is not the user's id 'u-0'"),
        ({"sub": None}, "sub None is not the user's id"),
        ({"iss": "http://evil.example"}, "iss 'http://evil.example' is not"),
        ({"aud": None}, "aud None is not"),
        ({"email": "eve@people.example"}, "email 'eve@people.example' is not"),
        ({"exp": None}, "exp None is no time"),
    ],
)
def test_a_token_that_does_not_fit(
    target: ReferenceTarget, person: Callable[..., Person], changes: dict[str, Any], sentence: str
) -> None:
    """A login whose token is about somebody or something else is a failed login, and says why."""
    with pytest.raises(FlowError) as caught:
        drive(target.login(person(0)), answer_for(person(0), **changes))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [HttpResponse(503, {}, b"{}"), HttpResponse(200, {}, b"<html>"), ["x"], {"access_token": "no jwt"}, {}],
)
def test_a_login_without_an_answer(target: ReferenceTarget, person: Callable[..., Person], answer: Any) -> None:
    """Whatever else comes is a failed login, never credentials."""
    with pytest.raises(FlowError):
        drive(target.login(person(0)), answer)


def test_audience_is_compared_when_known(person: Callable[..., Person]) -> None:
    """With `audience` the token must be meant for it, as text or in a list."""
    target = ReferenceTarget(ENDPOINTS, audience="chat")
    drive(target.login(person(0)), answer_for(person(0), aud=["other", "chat"]))
    with pytest.raises(FlowError, match="aud 'other' is not 'chat'"):
        drive(target.login(person(0)), answer_for(person(0), aud="other"))


def test_refresh_and_ticket(target: ReferenceTarget, credentials: Credentials) -> None:
    """A refresh gives whole new credentials; a ticket belongs to one handshake."""
    fresh, requests = drive(target.refresh(credentials), answer_for(credentials.person))
    assert json.loads(requests[0].body) == {"refresh_token": "R"}
    assert fresh.token != credentials.token
    ticketed, requests = drive(target.ticket(fresh), {"ticket": "K2"})
    assert requests[0].headers["authorization"] == f"Bearer {fresh.token}"
    assert (ticketed.extra["ticket"], ticketed.extra["refresh_token"]) == ("K2", "R")


def test_a_refresh_that_names_another(target: ReferenceTarget, credentials: Credentials) -> None:
    """What it names is told, so that it can be recorded and judged: only a login has to fit the person."""
    fresh, _ = drive(target.refresh(credentials), answer_for(credentials.person, sub="u-1", email="eve@people.example"))
    assert fresh.user_id == "u-1"
    with pytest.raises(FlowError, match="aud None is not"):
        drive(target.refresh(credentials), answer_for(credentials.person, aud=None))


def test_handshakes(credentials: Credentials) -> None:
    """Four ways to show the token; resuming asks for it in the address and in the first frame."""
    urls = {}
    for via in ("header", "subprotocol", "query", "ticket"):
        dialogue = ReferenceTarget(ENDPOINTS, via=via).dialogue(credentials)  # type: ignore[arg-type]
        handshake = dialogue.handshake
        urls[via] = (handshake.url, dict(handshake.headers), handshake.subprotocols)
        assert (dialogue.opened(), dialogue.out) == ((), [])
    assert urls == {
        "header": ("ws://127.0.0.1:1/ws", {"authorization": "Bearer T"}, ()),
        "subprotocol": ("ws://127.0.0.1:1/ws", {}, ("earwitness.v1", "bearer.T")),
        "query": ("ws://127.0.0.1:1/ws?token=T", {}, ()),
        "ticket": ("ws://127.0.0.1:1/ws?ticket=K", {}, ()),
    }
    resumed = ReferenceTarget(ENDPOINTS).dialogue(credentials, resume={"a": 5})
    resumed.opened()
    assert resumed.handshake.url == "ws://127.0.0.1:1/ws?resume=1"
    assert [json.loads(frame) for frame in resumed.out] == [{"type": "resume", "from": {"a": 5}}]
    secure = ReferenceTarget({**ENDPOINTS, "edge": "https://chat.example/base/"})
    assert secure.dialogue(credentials).handshake.url == "wss://chat.example/base/ws"
    assert secure.dialogue(credentials).handshake.network.hosts == {"chat.example", "localhost"}


def test_identity(target: ReferenceTarget, credentials: Credentials) -> None:
    """Auth, the backend through the edge, and the backend through the frontend are each asked."""
    statements, requests = drive(target.identity(credentials), {"id": "u-0"}, {"user": {"id": "u-9"}}, {"name": "x"})
    assert [(s.place, s.user_id) for s in statements] == [
        (Place.AUTH, "u-0"),
        (Place.BACKEND, "u-9"),
        (Place.FRONTEND, None),
    ]
    assert [r.url for r in requests] == [
        "http://127.0.0.1:2/auth/me",
        "http://127.0.0.1:1/api/me",
        "http://127.0.0.1:3/api/me",
    ]


@pytest.mark.parametrize("status", [200, 201])
def test_open_room(target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room], status: int) -> None:
    """Created or there already is the same; members are named by e-mail."""
    planned = Room(number=0, label="a/b c", members=room(0).members)
    _, requests = drive(target.open_room(credentials, planned), HttpResponse(status, {}, b"{}"))
    assert (requests[0].method, requests[0].url) == ("PUT", "http://127.0.0.1:1/api/conversations/a%2Fb%20c")
    assert json.loads(requests[0].body)["members"] == [member.email for member in planned.members]
    with pytest.raises(FlowError, match="opening room a/b c: expected 200 or 201, got 403"):
        drive(target.open_room(credentials, planned), HttpResponse(403, {}, b""))


def message(seq: int) -> dict[str, Any]:
    return {"seq": seq, "id": f"m{seq}", "sender": "u-0", "text": f"x{seq}", "at": "2026-01-01T00:00:00Z"}


def test_history_goes_to_the_head(target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room]) -> None:
    """Pages are asked for after the last number until the head is reached or nothing comes."""
    pages = [
        {"messages": [message(1), message(2)], "head": 5, "digest": ""},
        {"messages": [message(3), message(5)], "head": 5, "digest": ""},
    ]
    rows, requests = drive(target.history(credentials, room(0)), *pages)
    assert [row.seq for row in rows] == [1, 2, 3, 5]
    assert rows[0].text == "x1"
    assert rows[0].sender == "u-0"
    assert [parse_qs(urlsplit(r.url).query) for r in requests] == [
        {"after": ["0"], "limit": ["1000"]},
        {"after": ["2"], "limit": ["1000"]},
    ]
    assert drive(target.history(credentials, room(0)), {"messages": [], "head": 0, "digest": ""})[0] == []


@pytest.mark.parametrize(("digests", "fits"), [(("own", "own"), True), (("own", "0a"), False), ((None, "own"), True)])
def test_the_digest_of_a_page_is_compared(
    target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room], digests: Any, fits: bool
) -> None:
    """What the platform states of a page must be what it shows; one that states nothing is believed."""
    pages: list[dict[str, Any]] = [{"messages": [message(1)], "head": 2}, {"messages": [message(2)], "head": 2}]
    for page, digest in zip(pages, digests, strict=True):
        if digest is not None:
            page["digest"] = page_digest(page["messages"]) if digest == "own" else digest
    part, _ = drive(target.history_after(credentials, room(0), 0), *pages)
    assert ([row.seq for row in part.rows], part.fits) == ([1, 2], fits)


@pytest.mark.parametrize(
    "page",
    [
        {"messages": [message(0)], "head": 3, "digest": ""},
        {"messages": [{"seq": 1}], "head": 3, "digest": ""},
        {"head": 3, "digest": ""},
        {"messages": [message(1)], "digest": ""},
        HttpResponse(500, {}, b""),
        HttpResponse(200, {}, b"["),
    ],
)
def test_history_that_cannot_be_trusted(
    target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room], page: Any
) -> None:
    """A page that makes no sense or no progress is an error, never an endless loop or a short history."""
    with pytest.raises(FlowError):
        drive(target.history(credentials, room(0)), page)


def test_reachable(target: ReferenceTarget) -> None:
    """The edge must refuse strangers and auth must publish keys: a page that says 200 to everybody proves nothing."""
    keys = {"keys": [{"kid": "1"}]}
    assert drive(target.reachable(), HttpResponse(401, {}, b"{}"), keys)[0] is None
    for answers in ([HttpResponse(200, {}, b"{}")], [HttpResponse(401, {}, b""), {"keys": []}]):
        with pytest.raises(FlowError):
            drive(target.reachable(), *answers)


def test_probe_gives_any_status(target: ReferenceTarget, credentials: Credentials) -> None:
    """A probe judges nothing, it tells the status."""
    assert drive(target.probe(credentials), HttpResponse(503, {}, b""))[0] == 503


def test_databases_only_with_their_addresses() -> None:
    """Both users tables are looked at where the endpoints name them, and passwords do not show."""
    assert ReferenceTarget(ENDPOINTS).parts.databases == {}
    dsns = {"auth_dsn": "postgres://u:pw@127.0.0.1/a", "main_dsn": "postgres://u:pw@127.0.0.1/m"}
    databases = ReferenceTarget({**ENDPOINTS, **dsns}).parts.databases
    assert set(databases) == {Place.AUTH_DATABASE, Place.MAIN_DATABASE}
    assert "pw@" not in repr(databases)


def test_endpoints_are_needed() -> None:
    """All that is missing is said at once."""
    with pytest.raises(SettingsError) as caught:
        ReferenceTarget({"edge": "http://x"}, via="pigeon")  # type: ignore[arg-type]
    assert len(caught.value.faults) == 3


def test_what_devices_share(target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room]) -> None:
    """Marks and edits by their own requests; a refusal is None."""
    sharing, where = target.parts.sharing, target.conversation_url(room(0))
    assert sharing is not None
    mark, (request,) = drive(sharing.mark_read(credentials, room(0), 4), {"conversation": "r", "seq": 6})
    assert (mark, request.method, request.url, request.body) == (6, "PUT", f"{where}/read", b'{"seq":4}')
    marks, _ = drive(sharing.marks(credentials), {"conversations": [{"key": "a", "read": 2}, {"key": "b", "read": 0}]})
    assert marks == {"a": 2, "b": 0}
    answer = {"conversation": "r", "n": 3, "seq": 7, "version": 2, "text": "new", "at": "…"}
    for version, said in ((None, {"text": "new"}), (1, {"text": "new", "version": 1})):
        edit, (request,) = drive(sharing.edit(credentials, room(0), 7, "new", version), answer)
        assert edit == Edit(3, 7, 2, "new")
        assert (request.method, request.url, json.loads(request.body)) == ("PATCH", f"{where}/messages/7", said)
    refused = HttpResponse(409, {}, b'{"error":"edited_meanwhile"}')
    assert drive(sharing.edit(credentials, room(0), 7, "new", 1), refused)[0] is None
    assert json.loads(sharing.watch("r")) == {"type": "watch", "conversation": "r"}


def test_a_new_name_may_have_any_characters(target: ReferenceTarget, credentials: Credentials) -> None:
    """The request's body stays valid JSON."""
    accounts, name = target.parts.accounts, 'Ann "the first" \\ Müller'
    assert accounts is not None
    profile = {"id": "u", "email": "ann@people.example", "name": name}
    _, (request,) = drive(accounts.rename(credentials, name), profile)
    assert json.loads(request.body) == {"name": name}


def test_edits_come_in_pages(target: ReferenceTarget, credentials: Credentials, room: Callable[..., Room]) -> None:
    """Up to the last one that there is; an answer that leads nowhere is told."""
    rows = [{"n": n, "seq": 1, "version": n + 1, "text": f"text {n}"} for n in range(3, 7)]
    pages = [{"edits": rows[:2], "last": 6}, {"edits": rows[2:], "last": 6}]
    sharing = target.parts.sharing
    assert sharing is not None
    edits, requests = drive(sharing.edits_after(credentials, room(0), 2), *pages)
    assert [edit.number for edit in edits] == [3, 4, 5, 6]
    assert [parse_qs(urlsplit(request.url).query)["after"] for request in requests] == [["2"], ["4"]]
    assert drive(sharing.edits_after(credentials, room(0), 6), {"edits": [], "last": 6})[0] == []
    for answer in ({"edits": rows[:1], "last": 9}, {"edits": [{"n": "x"}], "last": 9}, {"last": 9}):
        with pytest.raises(FlowError, match="reading edits"):
            drive(sharing.edits_after(credentials, room(0), 3), answer)
