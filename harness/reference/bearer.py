"""The access token of an HTTP request, and whether it holds."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from earwitness.harness.reference.answers import ApiError
from earwitness.harness.reference.tokens import Claims, KeysUnavailable, TokenRefused


class Verifies(Protocol):
    """`harness.reference.tokens.Verifier`."""

    async def verify(self, token: str) -> Claims: ...


def unauthorized(code: str, message: str) -> ApiError:
    """401 with the challenge that RFC 6750 asks for."""
    return ApiError(
        401, code, message, headers={"WWW-Authenticate": f'Bearer error="invalid_token", error_code="{code}"'}
    )


def bearer_token(request: web.Request) -> str:
    """The token of the one `Authorization: Bearer` header; ApiError 401 if there is none, or more than one."""
    values = request.headers.getall("Authorization", [])
    if not values:
        raise unauthorized("no_token", "An access token is needed: Authorization: Bearer TOKEN.")
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("malformed", "There must be exactly one header Authorization: Bearer TOKEN.")
    return token.strip()


async def verified(verifier: Verifies, token: str) -> Claims:
    """The claims of a token that holds now; ApiError 401 says why it does not, 503 that nobody can say right now."""
    try:
        return await verifier.verify(token)
    except TokenRefused as error:
        raise unauthorized(error.code, error.message) from None
    except KeysUnavailable as error:
        raise ApiError(503, "keys_unavailable", str(error), retry_after_s=1) from None
