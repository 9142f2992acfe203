"""The access token of an HTTP request."""

from __future__ import annotations

from aiohttp import web

from harness.reference.answers import ApiError


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
