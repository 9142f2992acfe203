"""Login in a recording: where the token comes from, and how it is presented to the socket and to requests."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import jwt

from earwitness.harness.draft.leaves import leaves, units_of
from earwitness.harness.draft.recording import Exchange, Recording, Socket, query_of
from earwitness.harness.draft.secrets import MAIL, PASSWORD_NAME, SECRET_NAME, TOKEN_LIKE

USER_NAME: Final = re.compile(r"user|login|name|nick|handle|account|identifier|mail|who|(?:^|_)id$", re.I)
LEAST_TOKEN: Final = 6
"""Shortest text (characters) that can be a token."""
MOST_USES: Final = 500
MOST_ORIGINS: Final = 20
"""Most answers that are examined of those that contain one value."""
FIRST_FRAMES: Final = 3
"""Number of frames at the start of a socket in which a token is searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Way in which a token is presented.

    place  query, headers, cookies, subprotocols, or first (one of the first frames)
    name   of the parameter, header or cookie, or the path in the frame; "" for a subprotocol
    value  text that may be the token; in `LoginGuess.http` the text of the header or cookie with {token} in it
    """

    place: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginGuess:
    """Guess of the login.

    exchange  request whose answer holds the token, or that sends a password; None if the recording shows none
    cookie    name of the cookie that is the token; `token`: path in the answer; both "" if unknown
    before    requests that come before it with the same password, such as a sign-up
    value     the token itself, "" if unknown; never written
    uses      how it is shown to the socket; `http`: headers and cookies by which requests show it
    asked     the request for the token shows a token itself, which a target file cannot describe
    """

    exchange: Exchange | None
    token: str
    cookie: str
    before: tuple[Exchange, ...]
    value: str
    uses: tuple[Use, ...]
    http: tuple[Use, ...]
    asked: bool

    @property
    def claims(self) -> Mapping[str, object]:
        """Return the claims of the token if it is a JWT, {} otherwise. Its signature is not checked."""
        try:
            return jwt.decode(self.value, options={"verify_signature": False}) if self.value else {}
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return {}

    @property
    def algorithm(self) -> str:
        """Return the algorithm that signed the token, "" if it is no JWT."""
        try:
            return str(jwt.get_unverified_header(self.value).get("alg", "")) if self.value else ""
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return ""

    @property
    def names(self) -> dict[str, str]:
        """Return value -> path for values that may be this user's id: in the answer, or in claims of the token."""
        found: dict[str, str] = {}
        answer = self.exchange.answer if self.exchange else None
        for path, value in [*leaves(answer), *((f"claims.{key}", one) for key, one in self.claims.items())]:
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != self.value:
                found.setdefault(str(value), path)
        return found


def login_of(recording: Recording, sockets: Sequence[Socket]) -> LoginGuess:
    """Return the guess of the login, for the sockets that are drafted.

    It is the request whose answer holds a token that one of `sockets` shows, else one that sends a password.
    """
    shown = [use for socket in sockets for use in uses_of(socket)][:MOST_USES]
    origins = _origins(recording.exchanges, {use.value for use in shown})
    best: tuple[float, Use, Exchange, str, str] | None = None
    for use in shown:
        for exchange, token, cookie in origins.get(use.value, ()):
            worth = _worth(use, exchange, token or cookie)
            if best is None or worth > best[0]:
                best = (worth, use, exchange, token, cookie)
    if best is None:
        return _without_origin(recording, shown)
    _, use, exchange, token, cookie = best
    return _guess(recording, exchange, token, cookie, use.value, shown)


def _guess(
    recording: Recording, exchange: Exchange | None, token: str, cookie: str, value: str, shown: Sequence[Use]
) -> LoginGuess:
    words = passwords(exchange) if exchange else set()
    logins = [one for one in recording.exchanges if one is not exchange and passwords(one)]
    earlier = [one for one in logins if exchange and one.start <= exchange.start]
    asked = exchange is not None and not words and ("authorization" in exchange.headers)
    before = tuple(one for one in earlier if one.method != "GET" and (not words or passwords(one) & words))
    return LoginGuess(
        exchange=exchange,
        token=token,
        cookie=cookie,
        before=before[-3:],
        value=value,
        uses=_distinct(use for use in shown if use.value == value),
        http=_distinct(use for one in recording.exchanges if one is not exchange for use in _http_uses(one, value)),
        asked=asked,
    )


def _without_origin(recording: Recording, shown: Sequence[Use]) -> LoginGuess:
    """Return the guess if no answer contains a token of a socket: a password login, or a token of unknown origin."""
    likely = [use for use in shown if use.place != "cookies" and (SECRET_NAME.search(use.name) or _is_jwt(use.value))]
    exchange = next((one for one in recording.exchanges if passwords(one) and one.method != "GET"), None)
    token = next((path for path, _ in leaves(exchange.answer) if SECRET_NAME.search(path)), "") if exchange else ""
    value = likely[0].value if likely else ""
    return _guess(recording, exchange, token, "", value, likely)


def _worth(use: Use, exchange: Exchange, name: str) -> float:
    named = bool(SECRET_NAME.search(name)) + bool(SECRET_NAME.search(use.name))
    return 1.0 + 3.0 * bool(passwords(exchange)) + 1.0 * (use.place != "cookies") + 0.5 * named


def _origins(exchanges: Sequence[Exchange], values: Collection[str]) -> dict[str, list[tuple[Exchange, str, str]]]:
    """Return value -> list of (exchange, path in the answer, name of a cookie) for the answers that contain the value.

    Path or name is "", because a value stands either in the answer's body or in a cookie.
    """
    found: dict[str, list[tuple[Exchange, str, str]]] = defaultdict(list)
    for exchange in exchanges:
        places = [(path, "", value) for path, value in leaves(exchange.answer)]
        places += [("", name, value) for name, value in exchange.set_cookies.items()]
        for path, name, value in places:
            if isinstance(value, str) and value in values and len(found[value]) < MOST_ORIGINS:
                found[value].append((exchange, path, name))
    return found


def uses_of(socket: Socket) -> Iterator[Use]:
    """Yield every text that may be a token in a socket's address, headers, cookies and first frames."""
    for name, value in query_of(socket.url).items():
        if len(value) >= LEAST_TOKEN:
            yield Use(place="query", name=name, value=value)
    if header := socket.headers.get("authorization"):
        yield Use(place="headers", name="Authorization", value=header.rpartition(" ")[2])
    words = re.split(r"[,\s]+", socket.headers.get("sec-websocket-protocol", ""))
    yield from (Use(place="subprotocols", name="", value=word) for word in words if len(word) >= LEAST_TOKEN)
    sent = [frame.data for frame in socket.frames if frame.sent and frame.data is not None][:FIRST_FRAMES]
    for data in sent:
        for path, found in [leaf for value in units_of(data) for leaf in leaves(value)]:
            likely = isinstance(found, str) and len(found) >= LEAST_TOKEN
            if likely and (SECRET_NAME.search(path) or TOKEN_LIKE.fullmatch(str(found))):
                yield Use(place="first", name=path, value=str(found).removeprefix("Bearer "))
    yield from (
        Use(place="cookies", name=name, value=value)
        for name, value in socket.cookies.items()
        if len(value) >= LEAST_TOKEN
    )


def _http_uses(exchange: Exchange, value: str) -> Iterator[Use]:
    """Yield a Use for each header and cookie of a request that contains the token `value`.

    `Use.value` is the text of the header or cookie with {token} in place of the token.
    """
    if len(value) < LEAST_TOKEN:
        return
    for name, text in exchange.headers.items():
        if value in text and name != "cookie":
            shown = "-".join(part.capitalize() for part in name.split("-"))
            yield Use(place="headers", name=shown, value=text.replace(value, "{token}"))
    for name, text in exchange.cookies.items():
        if text == value:
            yield Use(place="cookies", name=name, value="{token}")


def _distinct(uses: Iterator[Use]) -> tuple[Use, ...]:
    return tuple({(use.place, use.name): use for use in uses}.values())


def _is_jwt(value: str) -> bool:
    return value.startswith("eyJ") and value.count(".") == 2


def passwords(exchange: Exchange) -> set[str]:
    """Return the texts of a request that are named like passwords."""
    fields = [*exchange.form.items(), *leaves(exchange.body)]
    return {str(value) for name, value in fields if PASSWORD_NAME.search(name.rpartition(".")[2]) and value}


def person_placeholder(path: str, value: object) -> str:
    """Return the placeholder for a field of a login's request: {name}, {email}, {secret}, or "" for any other field."""
    name = path.rpartition(".")[2]
    if PASSWORD_NAME.search(name):
        return "{secret}"
    if isinstance(value, str) and (MAIL.fullmatch(value) or "mail" in name.lower()):
        return "{email}"
    return "{name}" if USER_NAME.search(name) and not SECRET_NAME.search(name) else ""
