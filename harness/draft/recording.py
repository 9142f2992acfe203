"""Reading of a browser's recording: HAR 1.2, with the frames of sockets as Chromium writes them.

The file comes from outside: a value of a wrong type counts as absent, and every count and length has a bound.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import orjson

from earwitness.harness.described import from_json
from earwitness.harness.errors import TargetError

MOST_BYTES: Final = 64 << 20
"""Longest recording that is read; its values take several times as much memory."""
MOST_ENTRIES: Final = 5_000
MOST_FRAMES: Final = 2_000
"""Most frames of one socket that are read; the first ones show login, joining and messages."""
MOST_CHARS: Final = 64 << 10
"""Longest frame whose content is examined."""
ANSWER_CHARS: Final = 1 << 20
"""Longest body of a request or an answer whose content is examined."""
NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""Form of the name of a header or a cookie (RFC 9110 §5.1)."""
TEXT: Final = 1
"""Opcode of a text frame (RFC 6455 §5.2)."""
MILLISECONDS: Final = 1e11
"""Bound for times of frames: larger ones are milliseconds, as some recorders write; Chromium writes seconds."""
RECORD: Final = (
    "Record it in Chromium: open the developer tools (Network) before the page, log in, send three messages, "
    "export with sensitive data"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Request and its answer.

    url          "" if it is no http address
    headers      of the request, with names in lower case
    form         fields of a form, {} if the body is none
    body         body of the request as JSON, None if it is none
    answer       body of the answer as JSON, None if it is none
    status       of the answer; 0 if the recording has none
    set_cookies  cookies that the answer set
    start, end   seconds since the epoch; 0.0 if the recording does not state them
    """

    method: str
    url: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    form: Mapping[str, str]
    body: object
    status: int
    set_cookies: Mapping[str, str]
    answer: object
    start: float
    end: float

    @property
    def name(self) -> str:
        """Return method and path without query, such as "GET /me". Clean the text before it is written to a draft."""
        return f"{self.method} {urlsplit(self.url).path or '/'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Frame of a socket.

    time  seconds since the epoch, 0.0 if the recording does not state it
    data  its text, None for a binary frame and one that is too long to be examined
    """

    sent: bool
    time: float
    data: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Connection of a WebSocket with its frames, in the order of the recording.

    url      of the handshake, with the scheme ws or wss
    headers  of the handshake, with names in lower case; `cookies`: those it sent
    start    seconds since the epoch, 0.0 if the recording does not state it
    cut      number of further frames that were not read
    """

    url: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    frames: tuple[Frame, ...]
    start: float
    cut: int

    @property
    def address(self) -> str:
        """Return the request's URL without query and fragment."""
        return self.url.partition("#")[0].partition("?")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Requests and sockets of a recording, each in order of time."""

    exchanges: tuple[Exchange, ...]
    sockets: tuple[Socket, ...]

    @property
    def sanitized(self) -> bool:
        """Return whether the browser seems to have removed cookies and credentials from the recording.

        No cookie (of requests, answers or sockets) and no Authorization header of a request is shown.
        """
        shown = any(one.cookies or one.set_cookies or "authorization" in one.headers for one in self.exchanges)
        return not shown and not any(one.cookies for one in self.sockets)


def read_recording(path: Path) -> Recording:
    """Return the content of a HAR file.

    Raises TargetError if the file cannot be read, is too long, is no HAR, or has no socket with frames.
    """
    data = _bytes(path)
    try:
        document = from_json(data)
    except ValueError as error:
        raise TargetError(f"{path} is no HAR file: {str(error).rstrip('.')}. {RECORD}.") from None
    log = _table(_table(document).get("log"))
    if not isinstance(log.get("entries"), list):
        raise TargetError(f"{path} is no HAR file: it has no list log.entries. {RECORD}.")
    entries = [_table(entry) for entry in log["entries"][:MOST_ENTRIES]]
    sockets = [socket for entry in entries if (socket := _socket(entry)) is not None]
    if not sockets:
        known = _by_requests([_text(_table(entry.get("request")).get("url")) for entry in entries])
        raise TargetError(f"{path} has no WebSocket among its {len(entries):,} entries. {known or RECORD}.")
    if not any(socket.frames for socket in sockets):
        raise TargetError(f"{path} has a WebSocket, but no frames of it (_webSocketMessages). {RECORD}.")
    exchanges = [_exchange(entry) for entry in entries if not _is_socket(entry)]
    return Recording(
        exchanges=tuple(sorted(exchanges, key=lambda one: one.start)),
        sockets=tuple(sorted(sockets, key=lambda one: one.start)),
    )


def _by_requests(urls: list[str]) -> str:
    """Return a sentence that names the dialect for the protocol of these requests, "" if none is recognised."""
    if any("/_matrix/client/" in url for url in urls):
        return 'Its requests are those of Matrix: write dialect = "matrix", as docs/dialects/matrix.md describes'
    if any(_splits(url) and urlsplit(url).path.endswith("/chat/completions") for url in urls):
        return 'It asks for streamed answers: write dialect = "sse_chat", as docs/dialects/sse_chat.md describes'
    return ""


def _bytes(path: Path) -> bytes:
    """Return the content of the file; at most MOST_BYTES are read, whatever kind of file it is."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TargetError(f"{path} cannot be read: {reason}.") from None
    if len(data) > MOST_BYTES:
        raise TargetError(
            f"{path} has more than {MOST_BYTES >> 20} MiB: record only login and a few messages, "
            "or filter by Fetch/XHR and WS before the export."
        )
    return data


# -- entries --------------------------------------------------------------------------------------------------------


def _is_socket(entry: Mapping[str, Any]) -> bool:
    url = _text(_table(entry.get("request")).get("url"))
    return url.lower().startswith(("ws://", "wss://")) or isinstance(entry.get("_webSocketMessages"), list)


def _socket(entry: Mapping[str, Any]) -> Socket | None:
    request = _table(entry.get("request"))
    url = _text(request.get("url"))
    if not _is_socket(entry) or not _splits(url):
        return None
    if url.lower().startswith("http"):  # some recorders keep the scheme of the handshake
        url = f"ws{url[4:]}"
    raw = _list(entry.get("_webSocketMessages"))
    frames = [frame for one in raw[:MOST_FRAMES] if (frame := _frame(_table(one))) is not None]
    headers = _headers(request)
    return Socket(
        url=url,
        headers=headers,
        cookies=_cookies(request, headers),
        frames=tuple(frames),
        start=_time(entry.get("startedDateTime")),
        cut=max(0, len(raw) - MOST_FRAMES),
    )


def _frame(one: Mapping[str, Any]) -> Frame | None:
    kind, data = one.get("type"), one.get("data")
    if kind not in ("send", "receive") or not isinstance(data, str):
        return None
    whole = one.get("opcode", TEXT) == TEXT and len(data) <= MOST_CHARS
    at = _number(one.get("time"))
    at = at / 1000 if at > MILLISECONDS else at
    return Frame(sent=kind == "send", time=at, data=_text(data) if whole else None)


def _exchange(entry: Mapping[str, Any]) -> Exchange:
    request, response = _table(entry.get("request")), _table(entry.get("response"))
    url = _text(request.get("url"))
    headers, start = _headers(request), _time(entry.get("startedDateTime"))
    status = int(_number(response.get("status")))
    form, body = _sent_body(_table(request.get("postData")))
    return Exchange(
        method=_text(request.get("method")).upper() or "GET",
        url=url if _splits(url) and url.lower().startswith(("http://", "https://")) else "",
        headers=headers,
        cookies=_cookies(request, headers),
        form=form,
        body=body,
        status=status if 100 <= status <= 599 else 0,
        set_cookies=_set_cookies(response),
        answer=_json(_content(_table(response.get("content")))),
        start=start,
        end=start + max(0.0, _number(entry.get("time"))) / 1000,
    )


def _sent_body(posted: Mapping[str, Any]) -> tuple[Mapping[str, str], object]:
    """Return (fields of a form, JSON) of a request's body."""
    text = _text(posted.get("text"))
    if "urlencoded" in _text(posted.get("mimeType")).lower():
        pairs = (
            [(_text(_table(one).get("name")), _text(_table(one).get("value"))) for one in _list(posted["params"])]
            if _list(posted.get("params"))
            else _pairs(text)
        )
        return {name: value for name, value in pairs if name}, None
    return {}, _json(text)


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text[:ANSWER_CHARS], keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return []


def query_of(url: str) -> dict[str, str]:
    """Return the query of an address as name -> value; {} if it has too many fields."""
    return dict(_pairs(urlsplit(url).query))


def _content(content: Mapping[str, Any]) -> str:
    text = _text(content.get("text"))
    if content.get("encoding") != "base64" or len(text) > 2 * ANSWER_CHARS:
        return text
    try:
        return base64.b64decode(text, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _headers(message: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in _named(message.get("headers"))}


def _cookies(request: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
    return {name: value for name, _, value in pairs if NAME.fullmatch(name)} | dict(_named(request.get("cookies")))


def _set_cookies(response: Mapping[str, Any]) -> dict[str, str]:
    lines = [
        line
        for name, value in _named(response.get("headers"))
        if name.lower() == "set-cookie"
        for line in value.splitlines()
    ]
    pairs = [line.partition(";")[0].partition("=") for line in lines]
    return {name.strip(): value for name, _, value in pairs if NAME.fullmatch(name.strip())} | dict(
        _named(response.get("cookies"))
    )


def _named(value: object) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of a HAR list of headers or cookies."""
    for one in _list(value)[:200]:
        name = _text(_table(one).get("name"))
        if NAME.fullmatch(name):
            yield name, _text(_table(one).get("value"))


# -- values of any type ---------------------------------------------------------------------------------------------


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """Return a text with "?" for lone surrogates, which UTF-8 cannot encode; "" for a value that is no text."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: object) -> float:
    """Return a finite number, 0.0 for anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15
    return float(value) if good else 0.0  # type: ignore[arg-type]  # good: a number


def _time(value: object) -> float:
    try:
        return datetime.fromisoformat(_text(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _json(text: str) -> object:
    """Return the object or list that a text holds, None for any other text."""
    if len(text) > ANSWER_CHARS or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value: object = orjson.loads(text)
    except ValueError:
        return None
    return value


def _splits(url: str) -> bool:
    """Return whether a URL can be parsed and has a host, and no port 0."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
