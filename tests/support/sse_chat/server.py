"""Small chat API in the form of OpenAI's, with switches for planted errors; prints {"port": …} when it listens.

    python tests/support/sse_chat/server.py --port 8790 [--cut 50] [--swap 50] …

An answer repeats its question, word by word. Frames are those of the public documentation:
https://platform.openai.com/docs/api-reference/chat-streaming and …/docs/guides/streaming-responses.

Each switch takes N: one answer in N, counted over all users, has the error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

STALL_S = 60.0


class Chat:
    """State of the server: number of questions so far, streams in progress, conversations."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.asked = options, 0
        self.running: dict[str, list[str]] = {}
        self.stored: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.last: dict[str, str] = {}

    def has(self, fault: str) -> bool:
        every = getattr(self.options, fault)
        return bool(every) and self.asked % every == 0

    async def completions(self, request: web.Request) -> web.StreamResponse:
        key, body = request.headers.get("authorization", ""), await request.json()
        if self.options.key and key != f"Bearer {self.options.key}":
            wrong = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
            return web.json_response({"error": wrong}, status=401)
        self.asked += 1
        if self.has("busy"):
            wrong = {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}
            return web.json_response({"error": wrong}, status=429, headers={"retry-after": "1"})
        answer_id, question, user = f"chatcmpl-{self.asked}", body["messages"][-1]["content"], str(body.get("user"))
        text = self._text(question, user)
        self.last[user] = question
        conversation = self.stored[str(body.get("conversation"))]
        conversation.append({"role": "user", "content": question})
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        faults = {
            name for name in ("cut", "end", "error", "stall", "swap", "lose", "double", "forget") if self.has(name)
        }
        self.running[answer_id] = words(text)
        try:
            async for frame in self._frames(answer_id, faults):
                if frame == "CUT":
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                await response.write(f"data: {frame}\n\n".encode())
                await asyncio.sleep(self.options.gap_s)
            await response.write_eof()
        except ConnectionError:
            pass
        finally:
            del self.running[answer_id]
        conversation.append({"role": "assistant", "content": "…" if "forget" in faults else text})
        return response

    def _text(self, question: str, user: str) -> str:
        others = [asked for other, asked in self.last.items() if other != user]
        return f"You said: {others[-1] if self.has('leak') and others else question}"

    async def _frames(self, answer_id: str, faults: set[str]) -> AsyncIterator[str]:
        """Yield the data of each event of an answer; "CUT" means to drop the connection."""
        yield chunk(answer_id, {"role": "assistant", "content": ""})
        pieces = self.running[answer_id]
        for k, piece in enumerate(pieces):
            if k == len(pieces) // 2 and faults & {"cut", "end", "error", "stall"}:
                if "cut" in faults:
                    yield "CUT"
                if "stall" in faults:
                    await asyncio.sleep(STALL_S)
                if "error" in faults:
                    yield json.dumps({"error": {"message": "The server had an error.", "type": "server_error"}})
                return
            if "lose" in faults and k == len(pieces) // 2:
                continue
            if "double" in faults and k == len(pieces) // 2:
                yield chunk(answer_id, {"content": piece})
            others = [other for other in self.running if other != answer_id]
            if "swap" in faults and k == 1 and others:
                yield chunk(others[0], {"content": self.running[others[0]][k]})
            else:
                yield chunk(answer_id, {"content": piece})
        yield chunk(answer_id, {}, "stop")
        yield "[DONE]"

    async def conversation(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.stored[request.query["of"]]})


def words(text: str) -> list[str]:
    """Return a text in pieces, one for each word; joined, the pieces are the text."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def chunk(answer_id: str, delta: dict[str, str], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head: dict[str, Any] = {"id": answer_id, "object": "chat.completion.chunk", "created": 1694268190}
    return json.dumps({**head, "model": "echo", "system_fingerprint": "fp_44709d6fcb", "choices": [choice]})


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--key", default="", help="the only API key that is accepted")
    parser.add_argument("--gap-s", type=float, default=0.002, dest="gap_s", help="pause after each event")
    for name, what in {
        "cut": "drop the connection in the middle", "end": "end in order, without [DONE]", "error": "an error inside",
        "stall": "say nothing more", "swap": "a chunk of another answer", "leak": "the answer to another user",
        "lose": "leave out a chunk", "double": "a chunk twice", "forget": "store another text",
        "busy": "refuse with 429",
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help=what)
    chat, app = Chat(parser.parse_args()), web.Application()
    app.router.add_post("/v1/chat/completions", chat.completions)
    app.router.add_get("/v1/conversation", chat.conversation)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", chat.options.port)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
