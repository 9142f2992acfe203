"""Parser of XMPP streams: received bytes or frames become XML elements. It limits their size and refuses DTDs."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, cast
from xml.etree.ElementTree import Element, XMLPullParser

from earwitness.harness.errors import Exceeded

DEEPEST: Final = 100
"""Most levels of nested elements; a deeper stanza is refused. No protocol needs more."""
HEAD: Final = 4096
"""Most characters of a stream before its root element; a stream without a root within them is refused."""
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def legal(text: str) -> str:
    """Return `text` with U+FFFD for the characters that XML 1.0 cannot express."""
    return ILLEGAL.sub("\ufffd", text)


class Stanzas:
    """Parser of one stream. A WebSocket frame is one element (`framed`); a TCP stream has all elements in one root.

    A document type (DTD) is refused before it is parsed, so there are no entities except those of XML itself.
    """

    def __init__(self, *, framed: bool, most: int) -> None:
        """Start a stream whose elements have at most `most` characters."""
        self._framed, self._most = framed, most
        self.restart()

    def restart(self) -> None:
        """Start anew: after a login, the server begins another stream on the same connection."""
        self._parser: XMLPullParser[Element] = XMLPullParser(("start", "end"))
        self._decoder = getincrementaldecoder("utf-8")()
        self._root: Element | None = None
        self._head, self._depth, self._fed, self._broken = "", 0, 0, False

    def feed(self, data: str | bytes) -> Iterator[Element]:
        """Yield the elements that end in `data`.

        Raises ValueError if `data` is no XML, or is XML that XMPP forbids; after that, every call on a TCP stream
        raises ValueError. Raises Exceeded for an element of more than `most` characters.
        """
        if self._framed:
            self.restart()
        if self._broken:
            raise ValueError("the stream was broken before")
        try:
            yield from self._elements(data)
            if self._framed and self._depth:
                raise ValueError("half an element in a frame")
        except (SyntaxError, LookupError, ValueError) as error:
            self._broken = True
            raise ValueError(str(error)) from error

    def _elements(self, data: str | bytes) -> Iterator[Element]:
        text = data if isinstance(data, str) else self._decoder.decode(data)
        if self._root is None:
            self._head += text[:HEAD]
            if "<!D" in self._head or (self._framed and self._head.lstrip().startswith(("<!", "<?"))):
                raise ValueError("a document type")
        self._fed += len(text)
        parser = self._parser
        parser.feed(text)
        with suppress(AttributeError):  # older Pythons lack it, and their expat defers nothing
            parser.flush()
        top = 0 if self._framed else 1
        for event in parser.read_events():
            kind, element = cast(tuple[str, Element], event)
            self._depth += 1 if kind == "start" else -1
            if self._root is None:
                self._root = element
            elif self._depth > DEEPEST:
                raise ValueError("too deep")
            if kind == "end" and self._depth == top:
                yield element
                if self._parser is not parser:  # started anew meanwhile
                    return
                self._root.clear()
                self._fed = 0
        if self._fed > self._most:
            raise Exceeded(f"a stanza of more than {self._most:,} characters")
        if self._root is None and len(self._head) >= HEAD:
            raise ValueError("no root")
