"""Firings inside a request, which show when the request is answered with success."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from aiohttp import web

from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.service import Service

REFUSED_FROM = 400


class Answered:
    """Each request has a context of its own, so that a part deep inside need not know in which one it is."""

    def __init__(self, service: Service, chance: Chance) -> None:
        self._chance = chance
        self._firings: ContextVar[tuple[int, ...]] = ContextVar(f"firings of {chance.defect}", default=())
        service.app.on_response_prepare.append(self._prepared)

    def say(self, **what: Any) -> int:
        """The ground truth of one firing; manifest as soon as the answer begins, if it is no refusal."""
        firing = self._chance.say(**what)
        self._firings.set((*self._firings.get(), firing))
        return firing

    async def _prepared(self, _: web.Request, response: web.StreamResponse) -> None:
        if response.status < REFUSED_FROM:
            for firing in self._firings.get():
                self._chance.manifest(firing)
