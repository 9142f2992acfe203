"""Answers of the reference services: JSON by orjson, errors always `{"error": code, "message": sentence}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web


def json_response(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with the data as JSON; datetimes and UUIDs become text."""
    return web.Response(body=orjson.dumps(data), status=status, headers=headers, content_type="application/json")


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> web.Response:
    """Return an error response.

    `code`, `message` and `extra` form the body. `Retry-After` is `retry_after_s` in whole seconds, rounded up and at
    least 1, so that no client retries too early; None: the header is absent.
    """
    sent = dict(headers or {})
    if retry_after_s is not None:
        sent["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return json_response({"error": code, "message": message, **(extra or {})}, status, sent)


class ApiError(Exception):
    """Error that any code raises to refuse a request. The service's middleware answers with `response()`.

    `status` is the HTTP status. The body is a JSON object: `code` as "error" for programs, `message` for users, and the
    fields of `extra`. `retry_after_s` is rounded up for Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Refuse with `status`; `retry_after_s` is the wait in seconds for Retry-After, None without one."""
        self.status, self.code, self.message = status, code, message
        self.retry_after_s, self.headers, self.extra = retry_after_s, headers, extra
        super().__init__(f"{status} {code}: {message}")

    def response(self) -> web.Response:
        """Return the error as a response."""
        return error_response(
            self.status,
            self.code,
            self.message,
            retry_after_s=self.retry_after_s,
            headers=self.headers,
            extra=self.extra,
        )


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the body of a request as a JSON object; {} for an empty body.

    Raises ApiError 400 for anything else.
    """
    body = await request.read()
    if not body:
        return {}
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ApiError(400, "invalid_json", "The body is not JSON.") from None
    if not isinstance(data, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    return data


def text_field(data: Mapping[str, object], name: str) -> str:
    """Return the field `name` of a request's body. It must be a non-empty string.

    Raises ApiError 400 that names the field.
    """
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, "invalid_request", f"{name} must be a non-empty string.")
    return value
