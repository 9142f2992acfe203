"""Settings and limits of the auth service: lifetimes of tokens, rate limits, addresses of the others."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the auth service.

    `public_url` is the issuer of all tokens. A rate of None means no limit. Times are in seconds.

    access_ttl_s, refresh_ttl_s  lifetimes of access and refresh tokens
    rate_per_s, rate_burst       requests of one user: per second, and most at once
    admin_secret  permits /auth/admin for `Authorization: Bearer SECRET`; in test_mode every request is permitted.
    test_mode     also lets a login ask for a shorter token: /auth/google?ttl=SECONDS.
    clock_offset  seconds by which this process's clock is wrong.
    login_rate_per_s, login_burst  unauthenticated logins of one client address; not limited unless given.
    """

    name: str
    fd: int
    public_url: str
    dsn: str
    redis_url: str
    provider_issuer: str
    client_id: str
    client_secret: str
    frontend_url: str
    audience: str
    access_ttl_s: float = 900.0
    refresh_ttl_s: float = 14 * 86400.0
    rate_per_s: float | None = None
    rate_burst: float | None = None
    login_rate_per_s: float | None = None
    login_burst: float | None = None
    admin_secret: str | None = None
    test_mode: bool = False
    clock_offset: float = 0.0

    @property
    def callback_url(self) -> str:
        """Return the address to which the identity provider redirects the browser."""
        return f"{self.public_url}/auth/google/callback"

    def may_return_to(self, url: str) -> bool:
        """Return whether a URL is a page of the frontend: same scheme, host and port, and no user name.

        Characters that browsers interpret in their own way are refused.
        """
        if any(character in url for character in "\\\r\n\t") or not url.isprintable():
            return False
        there, here = urlsplit(url), urlsplit(self.frontend_url)
        return (there.scheme, there.netloc) == (here.scheme, here.netloc)
