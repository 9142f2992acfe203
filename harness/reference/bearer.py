"""Access token of an HTTP request, and its verification."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.tokens import Claims, KeysUnavailable, TokenRefused


class Verifies(Protocol):
    """Protocol of `harness.reference.tokens.Verifier`."""

    async def verify(self, token: str) -> Claims:
        """Return the claims of a valid token.

        Raises TokenRefused if the token is not valid, KeysUnavailable if the issuer's keys cannot be fetched.
        """


def unauthorized(code: str, message: str) -> ApiError:
    """Return a 401 error with the challenge header that RFC 6750 §3 requires."""
    return ApiError(
        401, code, message, headers={"WWW-Authenticate": f'Bearer error="invalid_token", error_code="{code}"'}
    )


def bearer_token(request: web.Request) -> str:
    """Return the token in the only `Authorization: Bearer` header of a request.

    Raises ApiError 401 without such a header, or with several.
    """
    values = request.headers.getall("Authorization", [])
    if not values:
        raise unauthorized("no_token", "An access token is needed: Authorization: Bearer TOKEN.")
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("malformed", "There must be exactly one header Authorization: Bearer TOKEN.")
    return token.strip()


async def verified(verifier: Verifies, token: str) -> Claims:
    """Return the claims of a token that is valid now.

    Raises ApiError 401 with the reason if the token is not valid, 503 if the issuer's keys are not available.
    """
    try:
        return await verifier.verify(token)
    except TokenRefused as error:
        raise unauthorized(error.code, error.message) from None
    except KeysUnavailable as error:
        raise ApiError(503, "keys_unavailable", str(error), retry_after_s=1) from None
