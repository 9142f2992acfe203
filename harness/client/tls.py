"""TLS as bytes in, bytes out, so that both plain and encrypted sockets are read in one place."""

from __future__ import annotations

import ssl

from earwitness.harness.client.network import Network


class Tls:
    """One TLS session. `handshake` until it returns True; what `take_output` returns must be written each time."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ended")

    def __init__(self, server_name: str, network: Network) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = network.tls().wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
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
