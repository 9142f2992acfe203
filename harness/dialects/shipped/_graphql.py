"""GraphQL operations of a target file: documents with variables, sent as frames or requests; the query of a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from earwitness.harness.client.flow import Flow, FlowError, HttpRequest
from earwitness.harness.described import Table
from earwitness.harness.dialects.protocol import StoredRow
from earwitness.harness.dialects.shipped import _messages as messages
from earwitness.harness.dialects.toml.paths import Getter, compile_path
from earwitness.harness.dialects.toml.requests import read_path
from earwitness.harness.dialects.toml.template import Template


class Operation:
    """GraphQL operation of the options: a document and its variables."""

    def __init__(self, own: Table, name: str, known: frozenset[str], variables: Mapping[str, object]) -> None:
        """Read the document under the key `name`, and its variables under NAME_variables, by default `variables`.

        `known`: placeholders that have values. Mistakes are collected in `own`.
        """
        document = own.text(name, example="subscription ($room: ID!) { … }", required=True)
        self._head = f'{{"query":{orjson.dumps(document).decode()},"variables":'
        self._variables = messages.read_or(
            own, f"{name}_variables", known, variables, needs="text" if known is messages.SENDING else "room"
        )

    def render(self, values: Mapping[str, object], variables: Template | None = None) -> str:
        """Return the operation as JSON with `values` filled into its variables, or into `variables` if given."""
        return f"{self._head}{(variables or self._variables).render(values)}}}"

    def ask(
        self, name: str, url: str, headers: Mapping[str, str], values: Mapping[str, object]
    ) -> Flow[dict[str, Any]]:
        """Send the operation as a request, and return its result: `data`, `errors`, or both.

        `name` labels it in statistics. Raises FlowError for a status of 500 or more, or an answer with neither.
        """
        sent = {"content-type": "application/json", "accept": "application/json", **headers}
        response = yield HttpRequest("POST", url, sent, self.render(values).encode(), name)
        answer = messages.parsed(response.body)
        if response.status >= 500 or type(answer) is not dict or not {"data", "errors"} & set(answer):
            raise FlowError(name, "an answer with data or errors", response)
        return answer


@dataclass(frozen=True, slots=True)
class Stored:
    """Table [options.history]: the query of a room's messages, and the paths in its result."""

    query: Operation
    items: Getter
    paths: messages.Paths

    def rows(self, answer: Mapping[str, Any]) -> list[StoredRow]:
        """Return the messages in the result `answer`, in order. Raises FlowError if it has no list of messages."""
        items = self.items(answer.get("data"))
        found = [self.paths.row(item) for item in items] if type(items) is list else [None]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            raise FlowError("history", "a list of messages (history.items, history.text)", detail=repr(answer)[:200])
        return rows


def read_stored(own: Table) -> Stored | None:
    """Return the rules of the table [options.history], None if there is none. Mistakes are collected in `own`."""
    table = own.table("history", example='{ query = "query ($room: ID!) { … }", items = "messages", text = "text" }')
    if table is None:
        return None
    stored = Stored(
        query=Operation(table, "query", messages.IN_ROOM, {"room": "{room}"}),
        items=read_path(table, "items", "messages", required=True) or compile_path("messages"),
        paths=messages.read_paths(table, "text"),
    )
    table.finish()
    return stored
