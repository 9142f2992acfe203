"""TLS between byte strings, without a socket, so that plain and encrypted sockets are read in one place."""

from __future__ import annotations

import ssl

from earwitness.harness.client.network import Network


class Tls:
    """One TLS session.

    Call `handshake` until it returns True, and write to the socket what `take_output` returns after each call.

    ended  the peer ended the session, or its bytes cannot be decrypted: nothing more comes
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended")

    def __init__(self, server_name: str, network: Network) -> None:
        """Begin a session as client, with the trust and certificates of `network`; nothing is sent yet."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = network.tls().wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self.ended = False

    def handshake(self, received: bytes) -> bool:
        """Continue the handshake with `received`; return True once it is complete.

        Raises ssl.SSLError, e.g. for a certificate that does not fit.
        """
        self._incoming.write(received)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take_output(self) -> bytes:
        """Return the encrypted bytes that must be written now; b"" if there are none."""
        return self._outgoing.read()

    def decrypt(self, received: bytes) -> bytes:
        """Return the decrypted bytes of `received`, as far as complete; set `ended` if the peer ended the session."""
        self._incoming.write(received)
        chunks = []
        try:
            while chunk := self._object.read(65536):
                chunks.append(chunk)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.ended = True  # closed by the peer, or bytes that cannot be decrypted: either way nothing more comes
        return b"".join(chunks)

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` as encrypted bytes to write."""
        if data:
            self._object.write(data)
        return self._outgoing.read()
