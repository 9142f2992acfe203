"""PKCE (RFC 7636), method S256."""

from __future__ import annotations

import base64
import hashlib


def s256(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier."""
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
