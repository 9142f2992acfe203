"""Errors of the story itself (H7): exceptions that the user's own code raised, and its own requests that failed.

Locust swallows most of them: it logs an exception of a task and continues, and `EventHook.fire` logs what a listener
raised. A run whose tasks fail has not sent the load that its verdict is about. So each process counts such errors, by
place in the code and first line of the message, and writes the counts into its journal's footer.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import gevent
import locust
from gevent import GreenletExit
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopUser

from earwitness.harness.shipped import STORIES

OURS: Final[dict[str, object]] = {"earwitness": True}
"""`context` of a request event that Earwitness itself fires; compared by identity."""
KINDS_KEPT = 50
"""Number of different errors that are listed in the footer; the others are only counted together."""
LINE_CHARACTERS = 200
EXPECTED = (GreenletExit, StopUser, InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, SystemExit)
"""Exceptions by which Locust and gevent end a task or a greenlet; they are no errors of the story."""
HARNESS = Path(__file__).resolve().parents[1]
SHIPPED = STORIES.resolve()
LOCUST = Path(locust.__file__).resolve().parent
LOGGED = ("Uncaught exception in event handler", "Uncaught exception in on_stop")
"""Beginnings of Locust's log lines about exceptions for which Locust fires no event."""


class Soundness:
    """Counter of the story's own errors in one process.

    Call `attach` once, and `begin` at the start of each run.
    """

    def __init__(self) -> None:
        """Start with all counts at zero."""
        self._errors: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._requests = 0
        self._last: BaseException | None = None
        self._lock = threading.Lock()  # log records may come from any thread

    def attach(self, environment: Any) -> None:
        """Register with Locust's events, its log and gevent's hub for errors of the story.

        Call it once in a process.
        """
        environment.events.user_error.add_listener(self._on_user_error)
        environment.events.request.add_listener(self._on_request)
        logging.getLogger().addHandler(_Logged(self))
        hub: Any = gevent.get_hub()
        original = hub.handle_error

        def handle_error(context: object, kind: object, value: object, tb: TracebackType | None) -> None:
            if isinstance(value, BaseException):
                self.raised(value, value.__traceback__ or tb)  # gevent passes only its own frame on
            original(context, kind, value, tb)

        hub.handle_error = handle_error

    def begin(self) -> None:
        """Set all counts to zero. Call it at the start of each run."""
        with self._lock:
            self._errors.clear()
            self._failed.clear()
            self._requests, self._last = 0, None

    def summary(self) -> dict[str, object]:
        """Return the counts of this run for the footer: errors, the story's own requests, and those that failed."""
        with self._lock:
            return {
                "errors": _rows(self._errors),
                "requests": self._requests,
                "failed_requests": _rows(self._failed),
            }

    def raised(self, error: BaseException, tb: TracebackType | None) -> None:
        """Count an exception with its traceback `tb`. An exception that is reported twice in a row counts once.

        Exceptions of EXPECTED, which end a task or a user on purpose, do not count.
        """
        if isinstance(error, EXPECTED) or error is self._last:
            return
        self._last = error
        self.count(place_of(tb), first_line(error))

    def count(self, where: str, line: str) -> None:
        """Count one error with the first line `line` of its message, raised at the place `where`."""
        with self._lock:
            self._errors[(where, line)] += 1

    def _on_user_error(self, exception: BaseException, tb: TracebackType | None, **_: object) -> None:
        self.raised(exception, tb)

    def _on_request(
        self, request_type: str, name: str, exception: BaseException | None = None, context: object = None, **_: object
    ) -> None:
        if context is OURS:
            return
        with self._lock:
            self._requests += 1
            if exception is not None:
                self._failed[(f"{request_type} {name}", first_line(exception))] += 1


class _Logged(logging.Handler):
    """Log handler that counts errors which Locust only logs."""

    def __init__(self, soundness: Soundness) -> None:
        super().__init__(logging.ERROR)
        self._soundness = soundness

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, str) and record.msg.startswith(LOGGED):
            where = record.msg.removeprefix("Uncaught exception in ").partition(":")[0]
            lines = record.getMessage().strip().splitlines()
            self._soundness.count(where, lines[-1][:LINE_CHARACTERS] if lines else "")


def first_line(error: BaseException) -> str:
    """Return the class of an exception and the first line of its message, at most LINE_CHARACTERS long."""
    text = str(error).strip()
    line = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    return line[:LINE_CHARACTERS]


def place_of(tb: TracebackType | None) -> str:
    """Return `name (file:line)` of the first function of the user's own code in a traceback, else of the last one."""
    frames = traceback.extract_tb(tb)
    own = [frame for frame in frames if not _library(frame.filename)]
    if not frames:
        return "an unknown place"
    frame = own[0] if own else frames[-1]
    return f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"


def _library(filename: str) -> bool:
    if not Path(filename).is_absolute():  # compiled code, or text that was executed
        return True
    path = Path(filename).resolve()
    if path.is_relative_to(SHIPPED):  # an installed story lies in site-packages, but it is the user's code
        return False
    return path.is_relative_to(HARNESS) or path.is_relative_to(LOCUST) or "site-packages" in path.parts


def _rows(counts: Counter[tuple[str, str]]) -> list[dict[str, object]]:
    kept = counts.most_common(KINDS_KEPT)
    rows = [{"where": where, "error": line, "count": n} for (where, line), n in kept]
    rest = counts.total() - sum(n for _, n in kept)
    return rows + ([{"where": "other places", "error": "other errors", "count": rest}] if rest else [])
