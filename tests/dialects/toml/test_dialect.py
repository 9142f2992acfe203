"""The declarative dialect: logins, presentation, rooms, sending, resuming and history from a target file alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from earwitness.harness.client.bounds import DEFAULTS, use
from earwitness.harness.client.dialogue import Dialogue
from earwitness.harness.client.events import ACK, NACK
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse, Unbounded
from earwitness.harness.dialects.protocol import Credentials, Person, Room
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.dialects.toml.dialect import GenericTarget
from earwitness.harness.errors import SettingsError

BASE = """
[urls]
http = "http://127.0.0.1:1/api"
socket = "ws://127.0.0.1:1/ws?v=2"
[frames]
kind = "type"
message = { is = "message", room = "room", text = "text", sender = "from", seq = "n" }
ack = { is = "ack", id = "id" }
[contract]
history = false
"""
TOKENS = '[login]\nby = "tokens"\nfile = "tokens"\nuser_id = "{name}"\n'
SEND = '[send]\nframe = { type = "send", room = "{room}", id = "{id}", text = "{text}" }\n'


@pytest.fixture
def target(tmp_path: Path) -> Callable[..., GenericTarget]:
    """A target of the base file with other tables added."""
    (tmp_path / "tokens").write_text("tok-0\ntok-1\n")

    def make(*tables: str, base: str = BASE) -> GenericTarget:
        (tmp_path / "chat.toml").write_text(base + "\n".join(tables))
        return load_target(tmp_path / "chat.toml")

    return make


def drive(flow: Flow[Any], *answers: HttpResponse | Any) -> tuple[Any, list[HttpRequest]]:
    """Run a flow on ready answers (JSON, or whole responses); gives its result and its requests."""
    requests: list[HttpRequest] = []
    waiting = list(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            answer = waiting.pop(0)
            response = (
                answer if isinstance(answer, HttpResponse) else HttpResponse(200, {}, json.dumps(answer).encode())
            )
            request = flow.send(response)
    except StopIteration as end:
        assert not waiting, "the flow asked for less than was expected"
        return end.value, requests


def logged_in(target: GenericTarget, person: Person) -> Credentials:
    credentials: Credentials = drive(target.login(person))[0]
    return credentials


# -- logins -----------------------------------------------------------------------------------------------------------


def test_password_login(target: Callable[..., GenericTarget], person: Callable[..., Person]) -> None:
    """Steps before, then the login; token, id and lifetime by their paths; JSON bodies quoted."""
    login = """[login]
by = "password"
url = "/login"
body = { user = "{email}", secret = "{secret}", n = "{number}" }
token = "auth.token"
user_id = "auth.user.id"
expires_in = "auth.ttl"
before = [{ url = "http://127.0.0.1:2/signup", form = { "mail to" = "{email}", plan = "a b" }, accept = [201, 409] }]
"""
    answers = [HttpResponse(409, {}, b""), {"auth": {"token": "T", "user": {"id": 77}, "ttl": 60}}]
    credentials, requests = drive(target(login, SEND).login(person(0)), *answers)
    assert (credentials.token, credentials.user_id) == ("T", "77")
    assert credentials.expires_at == pytest.approx(time.time() + 60, abs=5)
    assert [(r.method, r.url) for r in requests] == [
        ("POST", "http://127.0.0.1:2/signup"), ("POST", "http://127.0.0.1:1/api/login"),
    ]  # fmt: skip
    assert requests[0].body == b"mail%20to=ann-0.t0%40people.example&plan=a%20b"
    assert json.loads(requests[1].body) == {"user": person(0).email, "secret": person(0).secret, "n": 0}


def test_cookies_go_along(target: Callable[..., GenericTarget], person: Callable[..., Person]) -> None:
    """A session cookie of an earlier step is sent with the next, and the last one's may be the token."""
    login = '[login]\nby = "password"\nurl = "/in"\nmethod = "POST"\ncookie = "sid"\nuser_id = "{email}"\n'
    login += 'before = [{ url = "/start" }]\n'
    answers = [
        HttpResponse(200, {}, b"", set_cookies=("pre=1; Path=/",)),
        HttpResponse(204, {}, b"", set_cookies=("sid=S1; Path=/; HttpOnly",)),
    ]
    credentials, requests = drive(target(login, SEND).login(person(0)), *answers)
    assert (credentials.token, credentials.user_id) == ("S1", person(0).email)
    assert requests[1].headers["cookie"] == "pre=1"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (HttpResponse(403, {}, b"no"), "login: expected 200 or 201 or 202 or 204, got 403"),
        ({"nothing": 1}, "expected a token (login.token), got an object with nothing"),
        ({"token": "SECRET-T"}, "expected a user id (login.user_id), got none in an object with token, claims"),
    ],
)
def test_logins_that_fail(
    target: Callable[..., GenericTarget], person: Callable[..., Person], answer: Any, sentence: str
) -> None:
    """The step, what was expected, what came; never the token."""
    login = '[login]\nby = "password"\nurl = "/in"\nbody = { u = "{email}" }\n'
    with pytest.raises(FlowError) as caught:
        drive(target(login, SEND).login(person(0)), answer)
    assert sentence in str(caught.value)
    assert "SECRET-T" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "tok-0\n\ntok-1\n",
        '["tok-0", "tok-1"]',
        '[{"token": "tok-0"}, {"token": "tok-1"}]',
        '{"token":"tok-0"}\n{"token":"tok-1"}',
    ],
)
def test_token_files(
    target: Callable[..., GenericTarget], person: Callable[..., Person], tmp_path: Path, content: str
) -> None:
    """One token a user by number, as lines or as JSON; one more user than tokens is said."""
    (tmp_path / "tokens").write_text(content)
    made = target(TOKENS, SEND)
    assert [logged_in(made, person(n)).token for n in (0, 1)] == ["tok-0", "tok-1"]
    assert logged_in(made, person(1)).user_id == "ann-1"
    with pytest.raises(FlowError, match="a token for user 2"):
        logged_in(made, person(2))


def test_minted_tokens(
    target: Callable[..., GenericTarget], person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed with the platform's test key, with the claims of the file and a lifetime; the id is a claim."""
    key = "0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("CHAT_TEST_KEY", key)
    login = '[login]\nby = "mint"\nalgorithm = "HS256"\nkey = "env:CHAT_TEST_KEY"\nkey_id = "k1"\nttl_s = 90\n'
    login += 'claims = { sub = "u-{number}", email = "{email}", level = 3 }\n'
    credentials = logged_in(target(login, SEND), person(5))
    claims = jwt.decode(credentials.token, key, algorithms=["HS256"])
    assert (claims["sub"], claims["email"], claims["level"]) == ("u-5", person(5).email, 3)
    assert claims["exp"] - claims["iat"] == 90
    assert jwt.get_unverified_header(credentials.token)["kid"] == "k1"
    assert (credentials.user_id, credentials.expires_at) == ("u-5", claims["exp"])


def test_login_by_function(target: Callable[..., GenericTarget], person: Callable[..., Person], tmp_path: Path) -> None:
    """A function beside the file: plain, or a flow that makes requests."""
    (tmp_path / "my_login.py").write_text(
        "from earwitness.harness.client.flow import HttpRequest\n"
        "def plain(person):\n    return {'token': 'P' + person.name, 'user_id': person.email}\n"
        "def flow(person):\n"
        "    answer = yield HttpRequest('GET', 'http://127.0.0.1:9/x')\n"
        "    return {'token': answer.json()['t'], 'user_id': 'u'}\n"
    )
    login = '[login]\nby = "function"\nfunction = "my_login:{}"\n'
    assert logged_in(target(login.format("plain"), SEND), person(0)).token == "Pann-0"
    credentials, requests = drive(target(login.format("flow"), SEND).login(person(0)), {"t": "T2"})
    assert (credentials.token, requests[0].url) == ("T2", "http://127.0.0.1:9/x")


# -- sockets ----------------------------------------------------------------------------------------------------------


def test_every_presentation(target: Callable[..., GenericTarget], person: Callable[..., Person]) -> None:
    """Header, cookie, query, subprotocol and first frame, also together; HTTP shows the same unless told otherwise."""
    socket = """[socket]
headers = { Authorization = "Bearer {token}" }
cookies = { sid = "{token}", who = "{user_id}" }
query = { access = "{token}" }
subprotocols = ["chat.v1", "{token}"]
first = [{ op = "auth", token = "{token}" }, "AUTH {token}"]
[probe]
url = "/me"
"""
    made = target(TOKENS, SEND, socket)
    credentials = logged_in(made, person(1))
    dialogue = made.dialogue(credentials, ())
    dialogue.opened()
    handshake = dialogue.handshake
    assert handshake.url == "ws://127.0.0.1:1/ws?v=2&access=tok-1"
    assert handshake.headers == {"Authorization": "Bearer tok-1", "cookie": "sid=tok-1; who=ann-1"}
    assert handshake.subprotocols == ("chat.v1", "tok-1")
    assert dialogue.out == ['{"op":"auth","token":"tok-1"}', "AUTH tok-1"]
    assert not handshake.welcome
    status, requests = drive(made.probe(credentials), HttpResponse(401, {}, b""))
    assert status == 401
    assert (requests[0].url, requests[0].headers["Authorization"]) == ("http://127.0.0.1:1/api/me", "Bearer tok-1")


@pytest.mark.parametrize(("status", "counts_as"), [(200, 200), (404, 200), (302, 200), (503, 503)])
def test_a_probe_of_the_bare_address(
    target: Callable[..., GenericTarget], person: Callable[..., Person], status: int, counts_as: int
) -> None:
    """Without [probe] no page is known that must answer 200: any answer but a server error is a sign of life."""
    made = target(TOKENS, SEND)
    seen, requests = drive(made.probe(logged_in(made, person(1))), HttpResponse(status, {}, b""))
    assert (seen, requests[0].url) == (counts_as, "http://127.0.0.1:1/api")


def first_frames(dialogue: Dialogue) -> list[str | bytes]:
    """The frames that a socket sends when it opens."""
    dialogue.opened()
    return dialogue.out


def test_resume(target: Callable[..., GenericTarget], person: Callable[..., Person]) -> None:
    """One frame a room, or one with all numbers; only when there is something to resume from."""
    promise = BASE.replace("history = false", 'history = false\nresume = true\nsequence = "contiguous"')
    each = '[resume]\nquery = { again = "1" }\nframes = [{ op = "since", room = "{room}", n = "{seq}" }]\n'
    made = target(TOKENS, SEND, each, base=promise)
    credentials = logged_in(made, person(0))
    assert first_frames(made.dialogue(credentials, ())) == []
    dialogue = made.dialogue(credentials, (), {"a": 3, "b": 0})
    assert dialogue.handshake.url.endswith("again=1")
    assert [json.loads(frame) for frame in first_frames(dialogue)] == [
        {"op": "since", "room": "a", "n": 3}, {"op": "since", "room": "b", "n": 0},
    ]  # fmt: skip
    made = target(TOKENS, SEND, '[resume]\nframes = [{ op = "since", from = "{seqs}" }]\n', base=promise)
    frames = first_frames(made.dialogue(credentials, (), {"a": 3, "b": 0}))
    assert [json.loads(frame) for frame in frames] == [{"op": "since", "from": {"a": 3, "b": 0}}]


# -- rooms, sending, history ----------------------------------------------------------------------------------------


def test_rooms_that_the_platform_names(
    target: Callable[..., GenericTarget], person: Callable[..., Person], room: Callable[..., Room]
) -> None:
    """The platform's own id of a room is used from then on, and heard as the planned label."""
    rooms = """[rooms]
room_id = "room.id"
join = [{ op = "join", room = "{room}" }]
requests = [
    { url = "/rooms", body = { name = "{label}", who = "{members.email}" } },
    { url = "/rooms/{room}/invite", body = { mail = "{member.email}" }, each_member = true },
]
"""
    made = target(TOKENS, SEND, rooms)
    credentials, planned = logged_in(made, person(0)), room(0)
    _, requests = drive(made.open_room(credentials, planned), {"room": {"id": 812}}, {}, {})
    assert [r.url for r in requests] == [
        "http://127.0.0.1:1/api/rooms", *["http://127.0.0.1:1/api/rooms/812/invite"] * 2,
    ]  # fmt: skip
    assert json.loads(requests[0].body) == {"name": "t0-r0", "who": [m.email for m in planned.members]}
    assert [json.loads(r.body)["mail"] for r in requests[1:]] == [m.email for m in planned.members]
    dialogue = made.dialogue(credentials, [planned])
    assert first_frames(dialogue) == ['{"op":"join","room":"812"}']
    assert json.loads(dialogue.send("t0-r0", "m1", 'say "x"')) == {
        "type": "send", "room": "812", "id": "m1", "text": 'say "x"',
    }  # fmt: skip
    assert dialogue.received('{"type":"message","room":812,"text":"x","from":"a","n":1}')[0][1] == "t0-r0"
    with pytest.raises(FlowError, match=r"rooms\.room_id"):
        drive(made.open_room(credentials, room(1)), {"room": {}})


def test_existing_rooms_and_accounts(target: Callable[..., GenericTarget], tmp_path: Path) -> None:
    """Accounts give the people by number; rooms name members by number or have everybody."""
    (tmp_path / "accounts.json").write_text('[{"name": "ann", "secret": "s"}, {"name": "bob"}, {"name": "eve"}]')
    rooms = '[rooms]\nexisting = [{ label = "general", members = "all" }, { label = "two", members = [0, 2, 9] }]\n'
    made = target(TOKENS, SEND, rooms, base='accounts = "accounts.json"\n' + BASE)
    people = made.parts.people
    assert [(p.number, p.name, p.secret) for p in people] == [(0, "ann", "s"), (1, "bob", ""), (2, "eve", "")]
    general, two = made.existing_rooms(people)
    assert [m.number for m in general.members] == [0, 1, 2]
    assert [m.number for m in two.members] == [0, 2]
    assert drive(made.open_room(logged_in(made, people[0]), general)) == (None, [])


def test_gaps_among_strangers_are_nobodys_fault(target: Callable[..., GenericTarget]) -> None:
    """In rooms that were there before, numbers that others' messages take are missing from the record."""
    base = BASE + 'sequence = "contiguous"\n'
    assert target(TOKENS, SEND, base=base).contract.sequence == "contiguous"
    rooms = '[rooms]\nexisting = [{ label = "general" }]\n'
    assert target(TOKENS, SEND, rooms, base=base).contract.sequence == "increasing"


def test_accounts_are_used_by_number(
    target: Callable[..., GenericTarget], person: Callable[..., Person], room: Callable[..., Room], tmp_path: Path
) -> None:
    """Where there are accounts, a planned person logs in with the account of the same number."""
    (tmp_path / "accounts.json").write_text('[{"name": "real-0", "secret": "s0"}, {"name": "real-1", "email": "r@x"}]')
    login = '[login]\nby = "password"\nurl = "/in"\nbody = { u = "{name}", p = "{secret}" }\nuser_id = "{name}"\n'
    rooms = '[rooms]\nrequests = [{ url = "/rooms", body = { who = "{members.email}" } }]\n'
    made = target(login, SEND, rooms, base='accounts = "accounts.json"\n' + BASE)
    credentials, requests = drive(made.login(person(0)), {"token": "T"})
    assert json.loads(requests[0].body) == {"u": "real-0", "p": "s0"}
    assert credentials.user_id == "real-0"
    assert credentials.person.secret == "s0", "a plan that was written down has no secrets"
    _, requests = drive(made.open_room(credentials, room(0)), {})
    assert json.loads(requests[0].body) == {"who": ["real-0", "r@x"]}
    with pytest.raises(FlowError, match="an account for user 2, got the file of accounts has 2"):
        drive(made.login(person(2)))


def test_sending_by_http(target: Callable[..., GenericTarget], person: Callable[..., Person]) -> None:
    """The answer acknowledges or refuses; a server error says nothing about the message's fate."""
    send = '[send]\nseq = "stored.n"\n[send.request]\nurl = "/rooms/{room}/messages"\n'
    send += 'body = { id = "{id}", text = "{text}" }\n'
    made = target(TOKENS, send)
    credentials = logged_in(made, person(0))
    assert made.parts.sends_by_http is made

    def post(answer: Any) -> Any:
        return drive(made.post(credentials, "a b", "m1", "hi"), answer)

    heard, requests = post({"stored": {"n": 9}})
    assert heard == ((ACK, "a b", None, 9, None, "m1", None),)
    assert requests[0].url == "http://127.0.0.1:1/api/rooms/a%20b/messages"
    assert json.loads(requests[0].body) == {"id": "m1", "text": "hi"}
    refused = HttpResponse(429, {"retry-after": "1.5"}, b"")
    assert post(refused)[0] == ((NACK, "a b", None, -1, None, "m1", (429, 1.5)),)
    with pytest.raises(FlowError):
        post(HttpResponse(503, {}, b""))


@pytest.mark.parametrize(
    ("rules", "urls"),
    [
        ('paging = "after"\nurl = "/h?after={after}"\ncursor = "n"', ["after=0", "after=2", "after=3"]),
        ('paging = "offset"\nurl = "/h?skip={offset}"', ["skip=0", "skip=2", "skip=3"]),
    ],
)
def test_history_by_pages(
    target: Callable[..., GenericTarget],
    person: Callable[..., Person],
    room: Callable[..., Room],
    rules: str,
    urls: list[str],
) -> None:
    """Pages are asked for until an empty one comes."""
    history = f'[history]\n{rules}\nitems = "data"\ntext = "t"\nseq = "n"\nsender = "by"\nid = "c"\n'
    made = target(TOKENS, SEND, history)
    rows = [{"t": f"x{n}", "n": n, "by": "u", "c": f"m{n}"} for n in (1, 2, 3)]
    pages = [{"data": rows[:2]}, {"data": rows[2:]}, {"data": []}]
    stored, requests = drive(made.history(logged_in(made, person(0)), room(0)), *pages)
    assert [(r.text, r.seq, r.sender, r.message_id) for r in stored] == [(f"x{n}", n, "u", f"m{n}") for n in (1, 2, 3)]
    assert [r.url.partition("?")[2] for r in requests] == urls


def test_history_at_once_newest_first(
    target: Callable[..., GenericTarget], person: Callable[..., Person], room: Callable[..., Room]
) -> None:
    """One answer, turned to oldest first."""
    made = target(TOKENS, SEND, '[history]\nurl = "/h/{label}"\ntext = "t"\norder = "newest first"\n')
    stored, _ = drive(made.history(logged_in(made, person(0)), room(0)), [{"t": "b"}, {"t": "a"}])
    assert [row.text for row in stored] == ["a", "b"]


@pytest.mark.parametrize(
    "pages",
    [[HttpResponse(500, {}, b"")], [HttpResponse(200, {}, b"<html>")], [{"data": 3}], [{"data": [{"t": 5}]}],
     [{"data": [{"t": "x"}]}], [{"data": [{"t": "x", "n": 2}]}, {"data": [{"t": "x", "n": 2}]}]],
)  # fmt: skip
def test_history_that_cannot_be_trusted(
    target: Callable[..., GenericTarget], person: Callable[..., Person], room: Callable[..., Room], pages: list[Any]
) -> None:
    """No page, no cursor or one that does not move: an error, never an incomplete history taken for complete."""
    history = '[history]\npaging = "after"\nurl = "/h?after={after}"\nitems = "data"\ntext = "t"\nseq = "n"\n'
    made = target(TOKENS, SEND, history)
    with pytest.raises(FlowError):
        drive(made.history(logged_in(made, person(0)), room(0)), *pages)


def test_history_without_an_end(
    target: Callable[..., GenericTarget], person: Callable[..., Person], room: Callable[..., Room]
) -> None:
    """Pages in circles, too many pages, too many rows: an error that nobody else needs to ask for again."""
    history = '[history]\npaging = "offset"\nurl = "/h?skip={offset}"\nitems = "data"\ntext = "t"\n'
    made = target(TOKENS, SEND, history, "[bounds]\nhistory_pages = 3\nhistory_rows = 5\n")
    assert (made.bounds.history_pages, made.bounds.body_mb) == (3, 64)

    def read(*pages: int) -> None:
        use(made.bounds)
        answers = [{"data": [{"t": f"{n} of {page}"} for n in range(2)]} for page in pages]
        try:
            drive(made.history(logged_in(made, person(0)), room(0)), *answers)
        finally:
            use(DEFAULTS)

    with pytest.raises(Unbounded, match="the same page a second time"):
        read(1, 1)
    with pytest.raises(Unbounded, match="at most 5 rows"):
        read(1, 2, 3)
    with pytest.raises(SettingsError, match=r"bounds\.names"):
        target(TOKENS, SEND, "[bounds]\nnames = 0\n")


def test_reachable(target: Callable[..., GenericTarget]) -> None:
    """A server error is no sign of life."""
    made = target(TOKENS, SEND)
    assert drive(made.reachable(), HttpResponse(404, {}, b""))[0] is None
    with pytest.raises(FlowError):
        drive(made.reachable(), HttpResponse(502, {}, b""))
