"""Dialect `sse_chat`: documented frames, options, refusals, history, garbage, and a server of our own."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from mutated_frames import COUNT
from sse_server import sse_chat

from earwitness.dialects import (
    ACK,
    AGENT,
    JOINED,
    MESSAGE,
    NACK,
    OTHER,
    Credentials,
    FlowError,
    Heard,
    HttpResponse,
    Person,
    Room,
    StreamedRequest,
)
from earwitness.harness.cli import main
from earwitness.harness.client.body import encode
from earwitness.harness.client.flow import run_flow_async
from earwitness.harness.dialects.guarded import event_fault
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import SettingsError

__all__ = ["sse_chat"]  # fixture

ANN = Person(number=0, name="ann-0", email="ann@people.example", secret="a-secret-of-ann")
ROOM = Room(number=0, label="r0", members=(ANN,))
QUESTION = encode("run1", 0, 0, 1, 1, 1, 'say "\U0001f9f5" — e\u0301 \\n {text}')[0]

# https://platform.openai.com/docs/api-reference/chat-streaming, "The chat completion chunk object".
HEAD = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-mini",
        "system_fingerprint": "fp_44709d6fcb"}  # fmt: skip


def documented(delta: dict[str, str], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return f"data: {json.dumps({**HEAD, 'choices': [choice]})}"


DOCUMENTED = (
    documented({"role": "assistant", "content": ""}),
    documented({"content": "Hello"}),
    documented({"content": "!"}),
    documented({}, "stop"),
    # With stream_options {"include_usage": true}: a chunk with the usage, and without choices.
    f"data: {json.dumps({**HEAD, 'choices': [], 'usage': {'prompt_tokens': 9, 'completion_tokens': 2}})}",
    "data: [DONE]",
)


@pytest.fixture
def dialect(tmp_path: Path) -> Callable[..., Any]:
    """Open the dialect from a file with these lines in [options], and more below."""

    def make(*options: str, more: str = "") -> Any:
        file = tmp_path / "chat.toml"
        text = 'dialect = "sse_chat"\n[urls]\nhttp = "http://127.0.0.1:1/api"\n[options]\nmodel = "gpt-4o-mini"\n'
        file.write_text(text + "\n".join(options) + "\n" + more)
        return load_target(file)

    return make


def login(target: Any) -> Credentials:
    with pytest.raises(StopIteration) as end:
        next(target.login(ANN))
    credentials: Credentials = end.value.value
    return credentials


class Asked:
    """A question under way: its request, and the events that were reported."""

    def __init__(self, target: Any) -> None:
        self.told: list[Heard] = []
        self._flow = target.parts.streams_answers.ask(login(target), "r0", "run1-0-1", QUESTION, self.happened)
        self.request = next(self._flow)
        assert isinstance(self.request, StreamedRequest)

    def happened(self, events: Sequence[Heard]) -> None:
        assert not [fault for fault in map(event_fault, events) if fault]
        self.told += events

    def streamed(self, *events: str) -> Asked:
        self.request.on_open()
        for event in events:
            self.request.on_event(event)
        return self

    def answered(self, status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"") -> Any:
        with pytest.raises(StopIteration) as end:
            self._flow.send(HttpResponse(status, headers or {}, body))
        return end.value.value

    def broken(self, error: FlowError) -> None:
        with pytest.raises(FlowError):
            self._flow.throw(error)

    @property
    def agent(self) -> list[tuple[str, str | None]]:
        return [(heard[6][1], heard[2]) for heard in self.told if heard[0] == AGENT]


def test_the_request(dialect: Callable[..., Any]) -> None:
    """The documented one: POST with model, stream and messages; the text arrives unchanged, whatever is in it."""
    request = Asked(dialect()).request
    assert (request.method, request.url) == ("POST", "http://127.0.0.1:1/api/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer a-secret-of-ann"
    messages = [{"role": "user", "content": QUESTION}]
    assert json.loads(request.body) == {"model": "gpt-4o-mini", "stream": True, "messages": messages}


def test_the_options(dialect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Path, one token for all in a header of its own, further keys of the body, also instead of ours."""
    monkeypatch.setenv("CHAT_KEY", "sk-of-the-test")
    request = Asked(
        dialect(
            'path = "/chat"',
            'token = "env:CHAT_KEY"',
            'headers = { X-Api-Key = "{token}" }',
            'body.temperature = 0\nbody.user = "{user}@{label}"',
            'body.messages = [{ role = "user", content = "Say: {text}" }]',
        )
    ).request
    assert request.url == "http://127.0.0.1:1/api/chat"
    assert request.headers["x-api-key"] == "sk-of-the-test"
    assert "authorization" not in request.headers
    body = json.loads(request.body)
    assert (body["temperature"], body["user"], body["stream"]) == (0, "ann-0@r0", True)
    assert body["messages"] == [{"role": "user", "content": f"Say: {QUESTION}"}]


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        (("modle = 1",), "", "options.modle"),
        (('token = "sk-1"',), "", "options.token is written out"),
        (('body = { user = "{name}" }',), "", "unknown placeholder {name}"),
        (('text = "a..b"',), "", "options.text"),
        (('history = "/h"',), "", "options.history and history = true in [contract] belong together"),
        ((), "[contract]\nhistory = true\n", "options.history and history = true"),
        ((), "[contract]\nordered = true\n", "contract.ordered and total_order mean nothing here"),
    ],
)
def test_mistakes_are_sentences(dialect: Callable[..., Any], options: Any, more: str, words: str) -> None:
    """Each names its key."""
    with pytest.raises(SettingsError) as caught:
        dialect(*options, more=more)
    assert words in str(caught.value)


def test_a_file_without_address_or_model(tmp_path: Path) -> None:
    """Both are asked for at once."""
    file = tmp_path / "chat.toml"
    file.write_text('dialect = "sse_chat"\n[urls]\nsocket = "ws://127.0.0.1:1/ws"\n')
    with pytest.raises(SettingsError, match=r"(?s)urls\.http is missing.*options\.model is missing"):
        load_target(file)


def test_everybody_is_there_at_once(dialect: Callable[..., Any]) -> None:
    """No socket; opening joins each room; garbage on it is no exception."""
    target = dialect()
    dialogue = target.dialogue(login(target), [ROOM])
    assert [heard[:2] for heard in dialogue.opened()] == [(JOINED, "r0")]
    assert dialogue.received(b"\xff")[0][0] == OTHER
    assert dialogue.send("r0", "m", QUESTION) == QUESTION


def test_the_documented_stream(dialect: Callable[..., Any]) -> None:
    """Accepted as soon as the head is there; two pieces with content; completed by [DONE] and nothing else."""
    asked = Asked(dialect()).streamed(*DOCUMENTED[:-1])
    assert asked.told[0] == (ACK, "r0", None, -1, None, "run1-0-1", None)
    assert asked.agent == [("started", None), ("chunk", "Hello"), ("chunk", "!")]
    assert asked.request.missing() == "its end without [DONE]"
    asked.streamed()
    asked.request.on_event(DOCUMENTED[-1])
    assert asked.agent[-1] == ("completed", None)
    assert asked.request.missing() == ""
    assert asked.answered() == ()


def test_errors_inside_the_stream(dialect: Callable[..., Any]) -> None:
    """An object with `error`, or an event of that name; [DONE] after it completes nothing."""
    # https://platform.openai.com/docs/guides/error-codes: message, type, param and code.
    error = {"message": "The server had an error", "type": "server_error", "param": None, "code": None}
    for event in (f"data: {json.dumps({'error': error})}", "event: error\ndata: overloaded"):
        asked = Asked(dialect()).streamed(*DOCUMENTED[:2], event, "data: [DONE]")
        assert [name for name, _ in asked.agent] == ["started", "chunk", "error"]
        assert asked.request.missing().startswith("an error inside the stream: ")
    asked = Asked(dialect()).streamed('data: {"error": "Incorrect API key provided: a-secret-of-ann"}')
    assert asked.request.missing() == "an error inside the stream: Incorrect API key provided: (hidden)"


def test_another_shape(dialect: Callable[..., Any]) -> None:
    """Paths and the terminator are options: an API of one's own needs no Python."""
    asked = Asked(dialect('text = "t"', 'done = "end"', 'answer_id = "run"')).streamed(
        'data: {"t": "Hel"}', 'event: token\ndata: {"t": "lo"}', ": keep-alive", "event: end\ndata: {}"
    )
    assert asked.agent == [("started", None), ("chunk", "Hel"), ("chunk", "lo"), ("completed", None)]


def test_what_the_answer_repeats(dialect: Callable[..., Any]) -> None:
    """The question of another user in the answer is a message of theirs, also where the stream was cut."""
    other = encode("run1", 1, 1, 4, 1, 1, "a secret")[0]
    asked = Asked(dialect()).streamed(documented({"content": QUESTION}), documented({"content": f" {other}"}))
    asked.broken(FlowError("question", "an answer"))
    assert [heard[2] for heard in asked.told if heard[0] == MESSAGE] == [QUESTION, other]
    assert asked.agent[-1] == ("broken", None)


def test_a_piece_of_another_answer(dialect: Callable[..., Any]) -> None:
    """Pieces with another id than the first, unless the file says that ids may differ."""
    strange = documented({"content": "?"}).replace("chatcmpl-123", "chatcmpl-9")
    asked = Asked(dialect()).streamed(*DOCUMENTED[:2], strange)
    assert len({heard[6][0] for heard in asked.told if heard[0] == AGENT}) == 2
    asked = Asked(dialect("one_id = false")).streamed(*DOCUMENTED[:2], strange)
    assert len({heard[6][0] for heard in asked.told if heard[0] == AGENT}) == 1


def test_refusals(dialect: Callable[..., Any]) -> None:
    """4xx: refused, with the time to wait. Anything else without a stream: unknown, and no secret in the error."""
    (heard,) = Asked(dialect()).answered(429, {"retry-after": "2"})
    assert (heard[0], heard[5], heard[6]) == (NACK, "run1-0-1", (429, 2.0))
    for status in (200, 302, 500):
        with pytest.raises(FlowError, match="expected 200 and text/event-stream") as caught:
            Asked(dialect()).answered(status, body=b"{} a-secret-of-ann")
        assert "a-secret-of-ann" not in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_garbage(dialect: Callable[..., Any], seed: int) -> None:
    """2,000 mutated events: never an exception, only events that a record can hold."""
    rng, target = random.Random(seed), dialect()
    pool = [*DOCUMENTED, 'data: {"error": [1, {"a": null}]}', "event: error", "data: 1e999", "data: [[[[", "\ud800"]
    for _ in range(COUNT // 40):
        asked = Asked(target).streamed()
        for _ in range(10):
            text = list(rng.choice(pool))
            for _ in range(rng.randint(0, 6)):
                at = rng.randrange(len(text) + 1)
                text[at : at + rng.randint(0, 3)] = rng.choice(
                    ['"', "\\", "{", "]", "\u0000", "\ud800", "9" * 30, "\n"]
                )
            asked.request.on_event("".join(text))
        asked.request.missing()
        asked.answered()


def test_the_history(dialect: Callable[..., Any]) -> None:
    """Messages of the user and of the agent; anything else is no history."""
    target = dialect('history = "/v1/of/{label}"', more="[contract]\nhistory = true\n")
    flow = target.history(login(target), ROOM)
    request = next(flow)
    assert (request.method, request.url) == ("GET", "http://127.0.0.1:1/api/v1/of/r0")
    rows = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Hello"}, {"role": "x"}, 7]
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(200, {}, json.dumps({"data": rows}).encode()))
    assert [(row.text, row.sender) for row in end.value.value] == [(QUESTION, None), ("Hello", "assistant")]
    for response in (
        HttpResponse(404, {}, b""),
        HttpResponse(200, {}, b"no JSON"),
        HttpResponse(200, {}, b'{"data": 1}'),
    ):
        flow = target.history(login(target), ROOM)
        next(flow)
        with pytest.raises(FlowError, match=r"options\.history_items"):
            flow.send(response)


def test_a_server(sse_chat: Callable[..., Path]) -> None:
    """One question over the wire, on httpx."""
    target, told = load_target(sse_chat()), list[Heard]()

    async def ask() -> Any:
        async with httpx.AsyncClient(timeout=5) as client:
            streams = target.parts.streams_answers
            assert streams is not None
            return await run_flow_async(streams.ask(login(target), "r0", "run1-0-1", QUESTION, told.extend), client)

    assert asyncio.run(ask()) == ()
    kinds = [heard[6][1] if heard[0] == AGENT else heard[0] for heard in told]
    assert kinds[:2] + kinds[-2:] == [ACK, "started", "completed", MESSAGE]
    assert told[-1][2] == QUESTION


def test_probe(sse_chat: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Says what can be judged; a stream without its end is named, and so is a wrong path."""
    file = sse_chat()
    assert main(["probe", str(file), "--timeout", "5"]) == 0
    said = capsys.readouterr().out
    assert "I24          each streamed answer comes whole               can be judged" in said
    assert "I8 I12       no invented messages, none to strangers        can be judged" in said
    file.write_text(file.read_text().replace('model = "echo"', 'model = "echo"\ntext = "choices.0.txt"'))
    assert main(["probe", str(file), "--timeout", "5"]) == 3
    assert "UNKNOWN: no answer has a text (options.text)" in capsys.readouterr().out
