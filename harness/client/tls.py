"""TLS as bytes in, bytes out, so that both plain and encrypted sockets are read in one place."""

from __future__ import annotations

import ssl
from functools import lru_cache

from harness.errors import TargetError


@lru_cache(maxsize=8)
def context(ca_file: str | None) -> ssl.SSLContext:
    """Verifying client context, with an own certificate authority if `ca_file` names one. Raises TargetError."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TargetError(f"The certificate authority file {ca_file!r} cannot be used: {error}.") from error
    made.set_alpn_protocols(["http/1.1"])
    return made


class Tls:
    """One TLS session. `handshake` until it returns True; what `take_output` returns must be written each time."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ended")

    def __init__(self, server_name: str, ca_file: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context(ca_file).wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self.ended = False

    def handshake(self, received: bytes) -> bool:
        """Go on with `received`; True once done. Raises ssl.SSLError, e.g. for a certificate that does not fit."""
        self._incoming.write(received)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take_output(self) -> bytes:
        return self._outgoing.read()

    def decrypt(self, received: bytes) -> bytes:
        """All plain bytes that are available; sets `ended` when the peer ended the session."""
        self._incoming.write(received)
        chunks = []
        try:
            while chunk := self._object.read(65536):
                chunks.append(chunk)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True  # closed by the peer, or nothing that can be decrypted: either way nothing more comes
        return b"".join(chunks)

    def encrypt(self, data: bytes) -> bytes:
        if data:
            self._object.write(data)
        return self._outgoing.read()
