"""Firings of a defect inside an HTTP request: they become manifest when the request is answered with success."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from aiohttp import web

from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.service import Service

REFUSED_FROM = 400


class Answered:
    """Collector of the firings of each request.

    The numbers of the firings are in a context variable, which has a separate value in each request. So the code that
    fires needs no reference to the request.
    """

    def __init__(self, service: Service, chance: Chance) -> None:
        """Register a function for the beginning of each response of `service`.

        At a successful response, it makes the firings of the request manifest.
        """
        self._chance = chance
        self._firings: ContextVar[tuple[int, ...]] = ContextVar(f"firings of {chance.defect}", default=())
        service.app.on_response_prepare.append(self._prepared)

    def say(self, **what: Any) -> int:
        """Write the line of a firing and return its number.

        The firing is manifest as soon as the answer begins, if its status is below REFUSED_FROM.
        """
        firing = self._chance.say(**what)
        self._firings.set((*self._firings.get(), firing))
        return firing

    async def _prepared(self, _: web.Request, response: web.StreamResponse) -> None:
        if response.status < REFUSED_FROM:
            for firing in self._firings.get():
                self._chance.manifest(firing)
