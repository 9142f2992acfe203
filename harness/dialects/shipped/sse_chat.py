"""Chat APIs of the OpenAI shape: a question is a POST, its answer a stream of server-sent events.

docs/dialects/sse_chat.md describes the options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from earwitness import dialects as d
from earwitness.dialects import Credentials, Flow, FlowError, Heard, Room, StreamedAnswer
from earwitness.harness.described import from_json
from earwitness.harness.dialects.toml.dialect import WAIT
from earwitness.harness.dialects.toml.paths import PATH, compile_path, text_or_none
from earwitness.harness.dialects.toml.requests import address, checked, read_headers, read_template

PROMISES = {
    "ordered": False, "total_order": False, "sequence": "none", "durable": False, "delivers": False,
    "at_most_once": "no", "unchanged": False, "names_sender": False, "history": False,
}  # fmt: skip
AGENT_ID = "assistant"
BODY = {"model": "{model}", "stream": True, "messages": [{"role": "user", "content": "{text}"}]}
PLACES = ("model", "text", "label", "id", "user", "token")


class SseChat(d.BaseDialect):
    """Chat API whose answers are streamed. It has no socket: each user is connected as soon as the run begins."""

    def __init__(self, settings: d.Settings) -> None:
        """Read the options; mistakes are collected in `settings.own`."""
        super().__init__(settings, d.Parts(streams_answers=self, agents=(AGENT_ID,)), needs="http")
        own = settings.own
        self.model = own.text("model", example="gpt-4o-mini", required=True)
        self.url = address(settings.http, own.text("path", "/v1/chat/completions", example="/v1/chat/completions"))
        self.token = own.secret("token", example="env:OPENAI_API_KEY") if own.has("token") else ""
        self.headers = read_headers(own, "headers", ("token", "user"), example='{ x-api-key = "{token}" }')
        if not self.headers:
            self.headers = {"authorization": checked(own, "headers", "Bearer {token}", ("token",), example="")}
        extra = own.table("body", example="{ temperature = 0 }")
        body = BODY | dict(extra.data if extra else {})
        self.body = checked(own, "body", body, PLACES, example='{ user = "{user}" }')
        self.done = own.text("done", "[DONE]", example="[DONE]")
        self.text, self.error, self.answer_id = (
            compile_path(str(own.value(name, PATH, example=f'"{default}"') or default))
            for name, default in (("text", "choices.0.delta.content"), ("error", "error"), ("answer_id", "id"))
        )
        self.one_id = own.flag("one_id", True)
        self.history_url = read_template(
            own, "history", PLACES, example='"/v1/conversations/{label}/messages"', quoting="url"
        )
        self.items, self.role, self.content = (
            compile_path(str(own.value(f"history_{name}", PATH, example=f'"{default}"') or default))
            for name, default in (("items", "data"), ("role", "role"), ("content", "content"))
        )
        if self.contract.ordered or self.contract.total_order:
            own.faults.add("contract.ordered", "and total_order mean nothing here", "ordered = false")
        if self.contract.history != (self.history_url is not None):
            own.fault("history", "and history = true in [contract] belong together", 'history = "/messages?of={label}"')
        self.ids = d.AnswerIds()

    def login(self, person: d.Person) -> Flow[Credentials]:
        """Implement `Target.login`: take the option `token`, else the person's secret, as token; nothing is sent."""
        made = yield from super().login(person)
        return replace(made, token=self.token or made.token)

    def converse(self, opening: d.Opening) -> d.Dialogue:
        """Implement `BaseDialect.converse`: return a dialogue that sends nothing and joins every room at once."""
        return d.SilentDialogue(opening.labels)

    def ask(
        self, credentials: Credentials, label: str, message_id: str, text: str,
        happened: Callable[[Sequence[Heard]], None],
    ) -> Flow[Sequence[Heard]]:  # fmt: skip
        """Implement `StreamsAnswers.ask`: send the question by POST; return NACK for a status from 400 to 499."""
        values = self._values(credentials, label) | {"text": text, "id": message_id}
        answer = StreamedAnswer((label, message_id, text), happened, self.ids, lacks=f"its end without {self.done}")
        answer.secrets = credentials.secrets()
        headers = {"content-type": "application/json", "accept": "text/event-stream"} | self._headers(credentials)
        on = answer.opened, partial(self._read, answer), answer.missing
        try:
            response = yield d.StreamedRequest(
                "POST", self.url, headers, self.body.render(values).encode(), "question", *on
            )
        except FlowError as ending:
            answer.ended(ending, exactly=self.contract.unchanged)
            raise
        answer.ended(exactly=self.contract.unchanged)
        if response.status == 200 and answer.accepted:
            return ()
        if response.status < 400 or response.status >= 500:
            error = FlowError("question", "200 and text/event-stream", response)
            error.hide(credentials.secrets())
            raise error
        wait = response.headers.get("retry-after", "")
        wait_s = float(wait) if WAIT.fullmatch(wait) else None
        return ((d.NACK, label, None, -1, None, message_id, (response.status, wait_s)),)

    def history(self, credentials: Credentials, room: Room) -> Flow[list[d.StoredRow]]:
        """Implement `Target.history`: read the conversation of a room at the address of the option `history`.

        Items without a text are left out. Raises FlowError if the answer is no list of messages.
        """
        assert self.history_url is not None
        url = address(self.settings.http, self.history_url.render(self._values(credentials, room.label)))
        response = yield d.HttpRequest("GET", url, self._headers(credentials), name="history")
        rows = self.items(_json(response.body)) if response.status == 200 else None
        if not isinstance(rows, list):
            raise FlowError("history", "200 and a list of messages (options.history_items)", response)
        said = ((self.role(row), self.content(row)) for row in rows)
        return [
            d.StoredRow(text=text, sender=AGENT_ID if role == AGENT_ID else None)
            for role, text in said
            if isinstance(text, str)
        ]

    def _values(self, credentials: Credentials, label: str) -> dict[str, object]:
        named = {"model": self.model, "label": label, "token": credentials.token, "user": credentials.user_id}
        return {"text": "", "id": "", **named}

    def _headers(self, credentials: Credentials) -> dict[str, str]:
        values = {"token": credentials.token, "user": credentials.user_id}
        return {name.lower(): template.render(values) for name, template in self.headers.items()}

    def _read(self, answer: StreamedAnswer, lines: str) -> None:
        """Note in `answer` what the server-sent event `lines` says: a text, an error, or the end. Never raises."""
        event = d.parse_event(lines)
        if self.done in (event.data.strip(), event.event):
            answer.completed()
            return
        if (value := _json(event.data) if event.data else {}) is None:
            answer.unread(lines)
        error, text, answer_id = self.error(value), self.text(value), text_or_none(self.answer_id(value))
        if error is not None or event.event == "error":
            answer.failed(str(error if error is not None else event.data))
        elif isinstance(text, str):
            answer.piece(text, answer_id if self.one_id else None)


def _json(text: str | bytes) -> object:
    try:
        return from_json(text)
    except ValueError:
        return None


open_dialect = SseChat
