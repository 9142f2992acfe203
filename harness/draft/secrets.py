"""Secrets of a recording, and how they are kept out of a draft.

Every text of the recording passes `Secrets.clean` before it is written to a draft: names of keys and kinds, parts of
addresses, constants of frames. Values that differ from frame to frame are replaced by placeholders before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from earwitness.harness.draft.leaves import leaves, units_of
from earwitness.harness.draft.recording import Exchange, Recording, query_of
from earwitness.harness.progress import one_line

REMOVED: Final = "REMOVED"
"""Word that a draft has in place of a secret of the recording."""
UNKNOWN: Final = "TODO"
"""Word that a draft has in place of a value whose meaning is unknown."""
SECRET_NAME: Final = re.compile(
    r"pass(?:word|wd|phrase|code|wort)?$|pwd|secret|token(?!_?type)|jwt|(?:^|[^a-z])auth(?!or)|authori[sz]ation|session"
    r"|(?:^|[._-])sid$|[a-z]Sid$|api[-_]?key|access[-_]?key|private[-_]?key|credential|csrf|xsrf|otp$"
    r"|(?:^|[._-])(?:pin|sig|signature|ticket)$",
    re.IGNORECASE,
)
"""Name of a field whose value is a secret. "author" and "token_type" are none."""
PASSWORD_NAME: Final = re.compile(r"pass(?:word|wd|phrase|code|wort)?$|pwd|^pin$|secret", re.IGNORECASE)
TOKEN_LIKE: Final = re.compile(r"eyJ[\w-]{8,}\.[\w.-]+|[A-Za-z0-9+/_=.~-]{20,}")
"""Text that may be a credential: a JWT, or one long word of letters and digits."""
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
CLEAR: Final = 8
WORDS: Final = re.compile(r"[A-Za-z_ -]+|.*[{}\n\"'\\].*", re.S)
"""Secrets that are not searched for in a whole draft, because its own text may contain them: words, and TOML syntax."""
LONG: Final = 5
"""Length (characters) from which a secret is searched for inside other texts; a shorter one must be the whole text."""
MOST: Final = 5_000


class Secrets:
    """Every secret of a recording: cookies, credentials, and the values of fields that are named like secrets."""

    def __init__(self, recording: Recording) -> None:
        """Collect the secrets of `recording`, at most MOST of them."""
        self.values: set[str] = set()
        for value in _values(recording):
            if value and len(self.values) < MOST:
                self.values |= {value, unquote(value)}
        self._long = sorted((value for value in self.values if len(value) >= LONG), key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return `text` on one line, with REMOVED in place of secrets and of words that look like credentials.

        A text that is a secret, or contains an e-mail address, becomes REMOVED as a whole.
        """
        if text in self.values or MAIL.search(text):
            return REMOVED
        for value in self._long:
            text = text.replace(value, REMOVED)
        return one_line(TOKEN_LIKE.sub(lambda found: REMOVED if is_random(found[0]) else found[0], text))

    def scrub(self, text: str) -> str:
        """Return the text of a whole draft with REMOVED for secrets that are still in it, such as keys in paths.

        Secrets of less than CLEAR characters, and those that are words (WORDS), stay: the draft's own text may have
        them.
        """
        for value in self._long:
            if len(value) >= CLEAR and not WORDS.fullmatch(value):
                text = text.replace(value, REMOVED)
        return text

    def path(self, url: str) -> str:
        """Return the path of an address, each part of it cleaned by itself; no query."""
        return "/".join(self.clean(part) for part in urlsplit(url).path.split("/"))

    def origin(self, url: str) -> str:
        """Return scheme, host and port of an address, without user and password. A secret host becomes REMOVED."""
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme.lower()}://{REMOVED if host in self.values else one_line(host)}{port}"

    def is_harmless(self, text: str) -> bool:
        """Return whether a text may be written to a draft unchanged, because `clean` would not change it."""
        return self.clean(text) == text


def is_random(word: str) -> bool:
    """Return whether a word may be a credential.

    It has 20 characters or more and a letter, and either four digits, or upper and lower case and a character that is
    not usual in names (other than letters and "._-").
    """
    digits, letters = sum(map(str.isdigit, word)), sum(map(str.isalpha, word))
    mixed = any(map(str.isupper, word)) and any(map(str.islower, word)) and not re.fullmatch(r"[A-Za-z._-]+", word)
    return len(word) >= 20 and letters > 0 and (digits >= 4 or mixed)


def is_credential(text: str) -> bool:
    """Return whether a whole text looks like a credential. A UUID does not: rooms and messages have them as ids."""
    return bool(TOKEN_LIKE.fullmatch(text)) and is_random(text) and not UUID.fullmatch(text)


def _values(recording: Recording) -> Iterator[str]:
    for exchange in recording.exchanges:
        yield from _of_exchange(exchange)
    for socket in recording.sockets:
        yield from socket.cookies.values()
        yield from _of_headers(socket.headers.items())
        yield from _named(query_of(socket.url).items())
        for frame in socket.frames:
            if frame.data is not None:
                for value in units_of(frame.data):
                    yield from _named(leaves(value))


def _of_exchange(exchange: Exchange) -> Iterator[str]:
    yield from exchange.cookies.values()
    yield from exchange.set_cookies.values()
    yield from _of_headers(exchange.headers.items())
    yield from _named(query_of(exchange.url).items())
    yield from _named(exchange.form.items())
    yield from _named(leaves(exchange.body))
    yield from _named(leaves(exchange.answer))


def _of_headers(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in pairs:
        if name == "sec-websocket-protocol":
            yield from (word for word in re.split(r"[,\s]+", value) if is_random(word))
        elif name == "authorization" or (SECRET_NAME.search(name) and not name.startswith("sec-")):
            yield value
            yield value.rpartition(" ")[2]


def _named(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield the values whose name is that of a secret, or that look like one."""
    for path, value in pairs:
        named = any(SECRET_NAME.search(step) for step in path.split(".")[-2:])
        if isinstance(value, str) and (named or is_credential(value)):
            yield value
        elif named and isinstance(value, int) and not isinstance(value, bool):
            yield str(value)
