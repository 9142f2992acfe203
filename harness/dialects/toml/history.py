"""Final reads by the rules of a target file: pages after a cursor, by offset, or all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from earwitness.harness.client.bounds import bounds
from earwitness.harness.client.flow import Flow, FlowError, HttpRequest, HttpResponse, Unbounded
from earwitness.harness.described import Table
from earwitness.harness.dialects.protocol import StoredRow
from earwitness.harness.dialects.toml.paths import Getter, compile_path, seq_or_none, text_or_none
from earwitness.harness.dialects.toml.requests import LOGGED_IN, ROOM, RequestTemplate, read_path, read_request

PAGINGS = ("none", "after", "offset")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRules:
    """Rules of the table [history], by which final reads are made.

    paging        "none": one request reads all; "after": a cursor asks for the next page; "offset": the number of rows
                  read so far does
    newest_first  the platform lists the newest message first
    first         cursor of the first page
    items         path to the list of messages in an answer
    cursor        path in an item to its cursor; that of the last item of a page asks for the next page
    at            paths in an item to text, seq, sender, id and room, as far as the file gives them
    """

    request: RequestTemplate
    paging: str
    newest_first: bool
    first: str
    items: Getter
    cursor: Getter
    at: Mapping[str, Getter]

    def rows(self, page: object) -> list[tuple[StoredRow, object]] | None:
        """Return (row, cursor) for each item of a page, in the page's order; None if the answer is not a page."""
        items = self.items(page)
        if not isinstance(items, list):
            return None
        rows = []
        for item in items:
            text = self.at["text"](item)
            if not isinstance(text, str):
                return None
            seq = seq_or_none(self._of(item, "seq"))
            row = StoredRow(
                text=text,
                seq=-1 if seq is None else seq,
                sender=text_or_none(self._of(item, "sender")),
                message_id=text_or_none(self._of(item, "id")),
                conversation=text_or_none(self._of(item, "room")),
            )
            rows.append((row, self.cursor(item)))
        return rows

    def _of(self, item: object, key: str) -> object:
        getter = self.at.get(key)
        return None if getter is None else getter(item)

    @property
    def limits(self) -> frozenset[int]:
        """Return the numbers in the request, each perhaps a limit of its rows; empty where pages are read."""
        if self.paging != "none":
            return frozenset()
        return self.request.url.numbers | (self.request.body.numbers if self.request.body else frozenset())

    def read(self, ask: Callable[[Mapping[str, object]], HttpRequest]) -> Flow[list[StoredRow]]:
        """Read all pages and return their rows, oldest first.

        `ask` returns the request for a mapping with the placeholders `after` and `offset`. Raises FlowError for an
        answer that is no page, or a page without a new cursor; Unbounded for a page that comes twice, and for more
        pages or rows than `harness.client.bounds` allows.
        """
        rows: list[StoredRow] = []
        after: object = self.first
        most, known = bounds(), set[bytes]()
        for _ in range(most.history_pages):
            response: HttpResponse = yield ask({"after": after, "offset": len(rows)})
            page = self._page(response)
            rows += [row for row, _ in page]
            if len(rows) > most.history_rows:
                raise Unbounded("history", f"at most {most.history_rows:,} rows", detail="more")
            digest = sha256(response.body).digest()
            if page and digest in known:
                raise Unbounded("history", "other rows on each page", detail="the same page a second time")
            known.add(digest)
            if self.paging == "none" or not page:
                break
            if self.paging == "after":
                last = page[-1][1]
                if last is None or last == after:
                    raise FlowError("history", "a new cursor in each page (history.cursor)", response)
                after = last
        else:
            raise Unbounded("history", f"at most {most.history_pages:,} pages", detail="one more")
        return rows[::-1] if self.newest_first else rows

    def _page(self, response: HttpResponse) -> list[tuple[StoredRow, object]]:
        if response.status not in self.request.accept:
            raise FlowError("history", " or ".join(map(str, self.request.accept)), response)
        try:
            page = self.rows(response.json())
        except ValueError as error:
            raise FlowError("history", "JSON", response) from error
        if page is None:
            raise FlowError("history", "a list of messages (history.items, history.text)", response)
        return page


def read_history(table: Table) -> HistoryRules:
    """Return the rules of the table [history]. Mistakes are collected in `table` and raised together later."""
    paging = table.choice("paging", PAGINGS, "none")
    known = LOGGED_IN | ROOM | {"after", "offset"}
    request = read_request(table, "history", known, url="/rooms/{room}/messages?after={after}")
    if paging != "none" and not {paging} <= request.url.names | (request.body.names if request.body else set()):
        table.fault("url", f"does not contain {{{paging}}}", f'url = "/rooms/{{room}}/messages?{paging}={{{paging}}}"')
    paths = {key: read_path(table, key, key, required=key == "text") for key in ("text", "seq", "sender", "id", "room")}
    at = {key: getter for key, getter in paths.items() if getter is not None}
    rules = HistoryRules(
        request=request,
        paging=paging,
        newest_first=table.choice("order", ("oldest first", "newest first"), "oldest first") == "newest first",
        first=table.text("first", "0", example="0"),
        items=read_path(table, "items", "messages") or compile_path("."),
        cursor=read_path(table, "cursor", "id") or at.get("seq") or compile_path("id"),
        at=at,
    )
    table.finish()
    return rules
