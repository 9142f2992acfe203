"""Errors a user can mend: each says what, where and what to do, and exits 2 without a traceback."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

WORD_CHARS: Final = 400
"""Longer than any word of ours, paths included: a value that somebody wrote, whose beginning is enough."""
SENTENCE_CHARS: Final = 2000
_LONG_WORD: Final = re.compile(rf"\S{{{WORD_CHARS},}}")


class Exit(IntEnum):
    """Exit codes of every command. FAIL means that a promise was broken, and nothing else."""

    PASS = 0
    FAIL = 1
    CANNOT_RUN = 2
    UNKNOWN = 3
    THRESHOLD = 4
    INTERRUPTED = 130  # by Ctrl-C
    TERMINATED = 143  # by SIGTERM


RANKED = (Exit.PASS, Exit.THRESHOLD, Exit.UNKNOWN, Exit.TERMINATED, Exit.INTERRUPTED, Exit.FAIL, Exit.CANNOT_RUN)
"""The one that tells most comes last: it stands where several hold."""


def worse(one: int, other: int) -> int:
    """Return which of two exit codes stands where both hold. A number that is none of ours could not run."""
    return max(one, other, key=lambda code: RANKED.index(code) if code in RANKED else len(RANKED))


def brief(text: str) -> str:
    """Return `text` as somebody can read it: of overlong words, and of all, the beginning and the end."""
    text = _LONG_WORD.sub(lambda found: _cut(found[0], WORD_CHARS // 4), text)
    return text if len(text) <= SENTENCE_CHARS else _cut(text, SENTENCE_CHARS // 2)


def _cut(text: str, kept: int) -> str:
    return f"{text[:kept]} … {len(text) - 2 * kept:,} characters … {text[-kept:]}"


class EarwitnessError(Exception):
    """Base of every error meant for the user. `str(error)` is one or two whole sentences, however long the values are
    that they quote."""

    exit_code: int = Exit.CANNOT_RUN

    def __str__(self) -> str:
        return brief(super().__str__())


class SettingsError(EarwitnessError):
    """The configuration has faults; all of them are listed at once."""

    def __init__(self, where: str, faults: list[str]) -> None:
        self.where, self.faults = where, faults
        # What somebody wrote may have line breaks in it, a sentence has none.
        super().__init__(f"{where}: {'; '.join(faults)}.".replace("\n", "\\n"))


class TargetError(EarwitnessError):
    """The platform under test cannot be reached or spoken to."""


class PlatformError(EarwitnessError):
    """The reference platform could not be started or kept up."""


class ServiceDied(PlatformError):
    """A service ended by itself: its exit status, its last words, and a sentence about where its whole log is."""

    def __init__(self, service: str, status: str, last_words: str, whole_log: str) -> None:
        self.service, self.status, self.last_words = service, status, last_words
        words = last_words.strip() or "(no output)"
        super().__init__(f"{service} ended with {status}. Its last output:\n{words}\n{whole_log}")


class Exceeded(Exception):
    """A server sent more than we take in (`harness.client.bounds`). `str(error)` says more than what of what."""


class RecordError(EarwitnessError):
    """A run directory or journal cannot be written or read."""
