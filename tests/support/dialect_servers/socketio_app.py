"""Chat on python-socketio (PyPI) and aiohttp, as examples/dialects/socketio.toml describes it.

    python tests/support/dialect_servers/socketio_app.py --port 3000 [--namespace /chat] [--ping-s 25] [--silent-join]

`--silent-join`: the server does not answer `join`, as in many tutorials.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import Any

import socketio
from aiohttp import web


def application(namespace: str, ping_s: float, silent_join: bool) -> web.Application:
    """Return the chat as an aiohttp application. `ping_s`: interval and timeout of pings, in s."""
    server = socketio.AsyncServer(
        async_mode="aiohttp", ping_interval=ping_s, ping_timeout=ping_s, namespaces=[namespace]
    )
    rooms: dict[str, list[dict[str, Any]]] = defaultdict(list)

    async def connect(sid: str, environ: object, auth: Any) -> None:
        if not isinstance(auth, dict) or not auth.get("name"):
            raise socketio.exceptions.ConnectionRefusedError("no name")
        await server.save_session(sid, {"name": auth["name"]}, namespace)

    async def join(sid: str, room: str) -> dict[str, int] | None:
        await server.enter_room(sid, room, namespace)
        return None if silent_join else {"head": len(rooms[room])}

    async def say(sid: str, said: dict[str, Any]) -> dict[str, Any]:
        if said["room"] not in server.rooms(sid, namespace):
            return {"error": 403}
        name = (await server.get_session(sid, namespace))["name"]
        row = {"room": said["room"], "from": name, "id": said["id"], "text": said["text"]}
        rooms[said["room"]].append(row)
        row["seq"] = len(rooms[said["room"]])
        await server.emit("said", row, room=said["room"], namespace=namespace)
        return {"seq": row["seq"]}

    async def history(sid: str, room: str) -> list[dict[str, Any]]:
        return rooms[room]

    for handler in (connect, join, say, history):
        server.on(handler.__name__, handler, namespace)
    app = web.Application()
    server.attach(app)
    return app


def main() -> None:
    """Parse the command line and serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--namespace", default="/")
    parser.add_argument("--ping-s", type=float, default=25.0)
    parser.add_argument("--silent-join", action="store_true")
    given = parser.parse_args()
    app = application(given.namespace, given.ping_s, given.silent_join)
    web.run_app(app, host="127.0.0.1", port=given.port, print=lambda *_: print("ready", flush=True))


if __name__ == "__main__":
    main()
