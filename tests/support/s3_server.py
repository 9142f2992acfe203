"""Server of the part of S3 that a store of records uses: PUT, GET and paged lists of objects, with signed requests.

Signatures are not verified; a request must only have one, by the expected key.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY = "some-key"
PAGE = 2
"""Number of names in each page of a list."""


class Handler(BaseHTTPRequestHandler):
    """Request handler of one bucket; its objects are those of the server."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self._allowed():
            self.server.objects[self._name()] = data
            self._answer(200, b"", ETag=_tag(data))

    def do_GET(self) -> None:
        if not self._allowed():
            return
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if asked.get("list-type") == "2":
            self._answer(200, self._listed(asked).encode())
        elif self._name() in self.server.objects:
            data = self.server.objects[self._name()]
            self._answer(200, data, ETag=_tag(data), **{"Last-Modified": formatdate(0, usegmt=True)})
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _listed(self, asked: dict[str, str]) -> str:
        start = int(asked.get("continuation-token", "0"))
        names = sorted(name for name in self.server.objects if name.startswith(asked.get("prefix", "")))
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>1970-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{_tag(self.server.objects[name])}</ETag><Size>{len(self.server.objects[name])}</Size></Contents>"
            for name in names[start : start + PAGE]
        )
        more = start + PAGE < len(names)
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"

    def _name(self) -> str:
        """Return the object's name, without the bucket's."""
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _allowed(self) -> bool:
        if f"Credential={KEY}/" in self.headers.get("Authorization", ""):
            return True
        self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return False

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print no line for a request."""


class Server(ThreadingHTTPServer):
    """S3 server. `objects`: name of each object → its bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), Handler)


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@contextlib.contextmanager
def serving() -> Iterator[tuple[Server, dict[str, str]]]:
    """Yield (a running server, the environment variables that clients need to use it)."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server, {
                "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "AWS_ALLOW_HTTP": "true",
            }  # fmt: skip
        finally:
            server.shutdown()
            thread.join()
