"""Trial of an accepted target file: every flow gets answers, every frame is decoded, nothing is sent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

import mutations

from earwitness.harness.client.flow import Flow, FlowError, HttpResponse
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.dialects.toml.dialect import GenericTarget
from earwitness.harness.errors import EarwitnessError
from earwitness.harness.planning.plan import Plan, existing

ANSWER: Final = {
    "session": {"token": "T", "ttl": 60},
    "user": {"id": "u1"},
    "room": {"id": "r1"},
    "message": {"seq": 3},
    "messages": [{"text": "x", "seq": 1, "from": {"id": "u1"}, "client_id": "c", "room": {"id": "r1"}}],
    "log": [{"body": "x", "by": "u1"}],
    "you": {"handle": "u1"},
    "handle": "u1",
}
FRAMES: Final = (
    {"type": "message", "room": {"id": "r1"}, "text": "x", "client_id": "c", "seq": 1, "from": {"id": "u1"}},
    {"type": "ack", "client_id": "c", "seq": 2, "room": {"id": "r1"}},
    {"type": "error", "client_id": "c", "status": 429, "wait_s": 1.5},
    {"type": "hello", "me": {"id": "u1"}, "node": "n", "session": "s", "rooms": {"r1": 4}},
    {"type": "joined", "room": {"id": "r1"}, "head": 4, "complete": True},
    {"type": "backlog", "messages": [{"text": "x", "seq": 1, "room": {"id": "r1"}, "from": {"id": "u1"}}]},
    [{"ev": "said", "circle": "c", "what": {"body": "x", "by": "u1"}}],
)
MOST_REQUESTS = 40


def speak(target: GenericTarget, rng: random.Random) -> None:
    """Use a target as a run does. Any exception is a defect of the dialect: refusals are caught here."""
    try:
        plan = existing(Plan(seed=1, tag="t", users=2, sizes=(2,)), target)
    except EarwitnessError:
        return
    for person in plan.people[:2]:
        _one(target, person, plan, rng)
    for frame in FRAMES:
        whole = mutations.as_json(mutations.tree(rng, json.loads(json.dumps(frame))))
        dialogue = target.dialogue(Credentials(person=plan.people[0], user_id="u", token="T"), plan.rooms)
        dialogue.opened()
        dialogue.received(whole)
        dialogue.received(whole.encode(errors="surrogatepass"))
        dialogue.received(mutations.data(rng, whole.encode(errors="surrogatepass")))
        dialogue.tick()
        dialogue.closing()


def _one(target: GenericTarget, person: Person, plan: Plan, rng: random.Random) -> None:
    room = plan.rooms[0]
    drive(target.reachable(), rng)
    credentials = drive(target.login(person), rng) or Credentials(person=person, user_id="u", token="T")
    drive(target.identity(credentials), rng)
    drive(target.open_room(credentials, room), rng)
    drive(target.probe(credentials), rng)
    drive(target.history(credentials, room), rng)
    if (http := target.parts.sends_by_http) is not None:
        drive(http.post(credentials, room.label, "id", "text"), rng)
    else:
        target.dialogue(credentials, [room]).send(room.label, "id", 'a "text"')
    target.dialogue(credentials, [room], {room.label: 3}).opened()


def drive(flow: Flow[Any], rng: random.Random) -> Any:
    """Answer each request of a flow at random.

    Return its result, None if it rejected the answers or made too many requests.
    """
    try:
        next(flow)
        for _ in range(MOST_REQUESTS):
            flow.send(_answer(rng))
    except StopIteration as end:
        return end.value
    except (FlowError, EarwitnessError):
        return None
    flow.close()
    return None


def _answer(rng: random.Random) -> HttpResponse:
    good = json.loads(json.dumps(ANSWER))
    bodies: tuple[Callable[[], str], ...] = (
        lambda: json.dumps(good),
        lambda: json.dumps(good),
        lambda: mutations.as_json(mutations.tree(rng, good)),
        lambda: mutations.as_json(mutations.odd(rng)),
        lambda: "<html>",
        lambda: "",
    )
    headers = {"retry-after": rng.choice(("1", "²", "9" * 5000, "-1", "1.5.5", "soon", "."))}
    cookies = (rng.choice(("sid=abc; Path=/", "oc_session=abc", "sid=", "=x", "a,b=c; é=1", "sid=\x00", ";;;")),)
    body = rng.choice(bodies)().encode(errors="surrogatepass")
    status = rng.choice((200, 200, 200, 201, 204, 301, 400, 403, 409, 429, 500, 503))
    return HttpResponse(status, headers, body, "http://127.0.0.1:8000/x", cookies)
