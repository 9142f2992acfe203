"""How much of a draft is right: sessions with real servers, compared with target files that were written by hand.

The servers are the example, somebody else's chat (by socket, and by HTTP) and one of python-socketio. Drafts are
used as they are, too: two users of `earwitness probe` talk by them.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from targets import OTHER_CHAT, other_chat

from earwitness.harness.cli import main
from pytest_suite.browser import ARGUMENTS, missing, program
from tests.support.recorder import Recorder
from tests.support.shares import Share, compare

__all__ = ["other_chat"]  # fixture

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny_chat"
START_S, BROWSER_S = 20.0, 60.0
SAID = ("good morning", "how are you?", "fine, thanks")
ANN, BOB = "ann@people.example", "bob@people.example"


@pytest.fixture(scope="module")
def tiny_chat() -> Iterator[int]:
    """The port of the example's server."""
    command = [sys.executable, str(EXAMPLE / "server.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "the example did not state its port"
        yield json.loads(process.stdout.readline())["port"]
        process.terminate()


def key_of_example() -> str:
    return (EXAMPLE / "key.txt").read_text().strip()


def hello(name: str) -> dict[str, str]:
    return {"type": "hello", "token": jwt.encode({"sub": name}, key_of_example(), "HS256")}


async def talk_in_example(port: int, file: Path) -> Path:
    """Ann records three messages of hers and one of Bob's."""
    ann, bob, url = Recorder(), Recorder(), f"ws://127.0.0.1:{port}/"
    async with ann.socket(url) as hers, bob.socket(url) as his:
        for name, socket in (("ann", hers), ("bob", his)):
            await socket.send(hello(name))
            await socket.until(1)
            await socket.send({"type": "join", "room": "lobby"})
            await socket.until(2)
        for text in SAID:
            await hers.send({"type": "say", "room": "lobby", "id": str(uuid.uuid4()), "text": text})
            await hers.until_text(text)
        await his.send({"type": "say", "room": "lobby", "id": str(uuid.uuid4()), "text": "good night"})
        await hers.until_text("good night")
    return ann.write(file)


def written_by_hand(file: Path, port: int) -> str:
    return file.read_text().replace("8765", str(port))


def shown(name: str, share: Share) -> Share:
    print(f"\n{name}: {share}")
    return share


def probe(text: str, folder: Path) -> int:
    (folder / "draft.toml").write_text(text)
    return main(["probe", str(folder / "draft.toml")])


async def test_the_example(
    tiny_chat: int, tmp_path: Path, drafted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that frames show is right. What is not: where the key is, the room, and promises that frames do not show."""
    found = drafted(await talk_in_example(tiny_chat, tmp_path / "session.har"))
    share = shown("tiny chat", compare(found.text, written_by_hand(EXAMPLE / "chat.toml", tiny_chat)))
    assert share.different == ["login.key"]
    assert share.missing == ["contract.delivery_bound_s"]
    assert share.further == ["rooms.existing"]
    assert share.share >= 0.9
    monkeypatch.setenv("CHAT_TEST_KEY", key_of_example())
    assert await asyncio.to_thread(probe, found.text, tmp_path) == 0


@pytest.mark.skipif(bool(missing()), reason=missing() or "there is a browser")
async def test_the_example_recorded_by_a_browser(tiny_chat: int, tmp_path: Path, drafted: Callable[..., Any]) -> None:
    """The same session in Chromium, whose own recording gives the same draft."""
    file = tmp_path / "chromium.har"
    await record_in_chromium(tiny_chat, file)
    share = shown(
        "tiny chat in Chromium", compare(drafted(file).text, written_by_hand(EXAMPLE / "chat.toml", tiny_chat))
    )
    assert (share.different, share.missing) == (["login.key"], ["contract.delivery_bound_s"])


PAGE = """async ([url, hello, said]) => {
    const socket = new WebSocket(url)
    const frames = []
    let arrived = () => {}
    socket.onmessage = event => { frames.push(event.data); arrived() }
    const until = text => new Promise(done => {
        arrived = () => frames.some(frame => frame.includes(text)) && done()
        arrived()
    })
    const send = value => socket.send(JSON.stringify(value))
    await new Promise((done, fail) => { socket.onopen = done; socket.onerror = () => fail(new Error("no socket")) })
    send(hello)
    await until("welcome")
    send({ type: "join", room: "den" })
    await until("joined")
    for (const text of said) {
        send({ type: "say", room: "den", id: crypto.randomUUID(), text })
        await until(text)
    }
    socket.close()
}"""


async def record_in_chromium(port: int, file: Path) -> None:
    from playwright.async_api import async_playwright

    # The page is made here and counts as one from elsewhere, which may not open sockets to this machine.
    flags = ["--disable-features=LocalNetworkAccessChecks", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with asyncio.timeout(BROWSER_S), async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program(), args=[*ARGUMENTS, *flags])
        context = await browser.new_context(record_har_path=file, record_har_content="embed")
        page = await context.new_page()
        await page.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
        await page.goto(f"http://127.0.0.1:{port}/")
        await page.evaluate(PAGE, [f"ws://127.0.0.1:{port}/", hello("ann"), SAID])
        await context.close()
        await browser.close()


async def talk_in_other_chat(port: int, file: Path, circle: str, *, by_http: bool) -> Path:
    """Log in by a form, found a circle, speak by socket or by HTTP, and read the log."""
    base, url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/live"
    ann, bob = Recorder(), Recorder()
    for person, nick in ((ann, ANN), (bob, BOB)):
        await person.request("POST", f"{base}/session", form={"nick": nick, "pass": f"Tr0ub4dor&3 {nick}"})
    await ann.request("GET", f"{base}/me")
    if not by_http:
        await ann.request("PUT", f"{base}/circles/{circle}", body={"insiders": [ANN, BOB]})
    async with ann.socket(url) as hers, bob.socket(url) as his:
        for person, socket in ((ann, hers), (bob, his)):
            await socket.send({"op": "hello", "session": person.cookies["oc_session"]})
            await socket.until(1)
            await socket.send({"op": "enter", "circle": circle})
            await socket.until_text("entered")
        for text in SAID:
            said = {"ref": uuid.uuid4().hex, "body": text}
            if by_http:
                await ann.request("POST", f"{base}/circles/{circle}/say", body=said)
            else:
                await hers.send({"op": "say", "circle": circle, **said})
            await hers.until_text(text)
        await his.send({"op": "say", "circle": circle, "ref": uuid.uuid4().hex, "body": "good night"})
        await hers.until_text("good night")
    await ann.request("GET", f"{base}/circles/{circle}/log?skip=0")
    return ann.write(file)


async def test_another_chat(other_chat: Any, tmp_path: Path, drafted: Callable[..., Any]) -> None:
    """Form, cookie, lists of events, numbers that the file by hand does not use, and a log by offset."""
    file = await talk_in_other_chat(other_chat.port, tmp_path / "session.har", "kitchen", by_http=False)
    found = drafted(file)
    share = shown("other chat", compare(found.text, other_chat.target_file.read_text()))
    assert share.share >= 0.8
    assert await asyncio.to_thread(probe, found.text, tmp_path) == 0


async def test_another_chat_by_http(other_chat: Any, tmp_path: Path, drafted: Callable[..., Any]) -> None:
    """The same server in an existing room, in which an old hand talks all the time."""
    file = await talk_in_other_chat(other_chat.port, tmp_path / "session.har", "lobby", by_http=True)
    found = drafted(file)
    share = shown(
        "other chat by HTTP", compare(found.text, written_by_hand(OTHER_CHAT / "by_http.toml", other_chat.port))
    )
    assert share.share >= 0.8


SOCKETIO = """
name = "a chat of python-socketio"
[urls]
http = "http://127.0.0.1:8765"
socket = "ws://127.0.0.1:8765/socket.io/?EIO=4&transport=websocket"
[login]
by = "password"
url = "/login"
body = { username = "{name}", password = "{secret}" }
token = "token"
user_id = "user.name"
[socket]
first = ['40{"token":{token:json}}']
[rooms]
join = ['42["enter",{"room":{room:json}}]']
[send]
frame = '42["chat",{"room":{room:json},"ref":{id:json},"text":{text:json}}]'
[frames]
prefix = "42"
kind = "0"
message = { is = "chat", room = "1.room", text = "1.text", seq = "1.n", sender = "1.author" }
ack = { is = "took", id = "1.ref", seq = "1.n" }
joined = { is = "entered", room = "1.room" }
[history]
url = "/rooms/{room}?since={after}"
paging = "after"
text = "text"
seq = "n"
sender = "author"
items = "messages"
cursor = "n"
[http]
headers = { Authorization = "Bearer {token}" }
[contract]
sequence = "contiguous"
history = true
durable = true
acknowledges = true
"""
"""Written from the server's code, before a draft of it was seen."""


@asynccontextmanager
async def socketio_chat() -> AsyncIterator[int]:
    """A chat of python-socketio under aiohttp; its port."""
    import socketio
    from aiohttp import web

    server = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*")
    tokens: dict[str, str] = {}
    logs: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, str] = {}

    async def log_in(request: web.Request) -> web.Response:
        token = uuid.uuid4().hex
        tokens[token] = (await request.json())["username"]
        return web.json_response({"token": token, "user": {"name": tokens[token]}})

    async def log(request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in tokens:
            raise web.HTTPUnauthorized
        after = int(request.query.get("since", "0"))
        return web.json_response(
            {"messages": [m for m in logs.get(request.match_info["room"], []) if m["n"] > after][:20]}
        )

    async def connect(sid: str, environ: Any, auth: Any) -> None:
        names[sid] = tokens[auth["token"]]

    async def enter(sid: str, data: Any) -> None:
        await server.enter_room(sid, data["room"])
        await server.emit("entered", {"room": data["room"]}, to=sid)

    async def chat(sid: str, data: Any) -> None:
        log = logs.setdefault(data["room"], [])
        message = {"room": data["room"], "n": len(log) + 1, "author": names[sid], "text": data["text"]}
        log.append(message)
        await server.emit("took", {"ref": data["ref"], "n": message["n"]}, to=sid)
        await server.emit("chat", message, room=data["room"])

    for handler in (connect, enter, chat):
        server.on(handler.__name__, handler)
    app = web.Application()
    app.router.add_post("/login", log_in)
    app.router.add_get("/rooms/{room}", log)
    server.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await server.shutdown()
    await runner.cleanup()


async def test_a_chat_of_socket_io(tmp_path: Path, drafted: Callable[..., Any]) -> None:
    """Prefixes, events in lists, a token in the opening frame; a history by cursor with a bearer token."""
    async with socketio_chat() as port:
        base, ann = f"http://127.0.0.1:{port}", Recorder()
        token = (await ann.request("POST", f"{base}/login", body={"username": "ann", "password": "Tr0ub4dor&3"}))[
            "token"
        ]
        async with ann.socket(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket") as hers:
            await hers.until(1)
            await hers.send(f"40{json.dumps({'token': token})}")
            await hers.until(2)
            await hers.send(f"42{json.dumps(['enter', {'room': 'den'}])}")
            await hers.until_text("entered")
            for number, text in enumerate(SAID):
                await hers.send(f"42{json.dumps(['chat', {'room': 'den', 'ref': f'r-{number}', 'text': text}])}")
                await hers.until(3 + 2 * (number + 1))
        await ann.request("GET", f"{base}/rooms/den?since=0", headers={"Authorization": f"Bearer {token}"})
        found = drafted(ann.write(tmp_path / "session.har"))
        share = shown("python-socketio", compare(found.text, SOCKETIO.replace("8765", str(port))))
        assert share.share >= 0.8
        assert await asyncio.to_thread(probe, found.text, tmp_path) == 0
