"""What users ask beside talking: it is written down, and the end of a run waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from earwitness.harness.client.http_gevent import run_flow_gevent

if TYPE_CHECKING:
    from earwitness.harness.load.worker import Part


class Recording:
    """Part of `ChatUser`, by `Connected`."""

    _under_way = 0
    part: Part

    def _requested(self, name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
        raise NotImplementedError

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """What is under way will be recorded: the end of the run waits for it."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _quietly(self, flow: Any) -> Any:
        """A refusal that was asked for is no failure in Locust's statistics."""

        def requested(name: str, method: str, ms: float, status: int, length: int, error: Exception | None) -> None:
            self._requested(name, method, ms, min(status, 399), length, error)

        return run_flow_gevent(flow, pool=self.part.http, on_request=requested)
