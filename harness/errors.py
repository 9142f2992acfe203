"""Errors that a user can mend. Each states what happened, where, and what to do; exit code 2, no traceback."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

WORD_CHARS: Final = 400
"""Number of characters from which on a word is shortened: no word or path of the tester is so long."""
SENTENCE_CHARS: Final = 2000
_LONG_WORD: Final = re.compile(rf"\S{{{WORD_CHARS},}}")


class Exit(IntEnum):
    """Exit codes of every command.

    FAIL is used only if a promise was broken.
    """

    PASS = 0
    FAIL = 1
    CANNOT_RUN = 2
    UNKNOWN = 3
    THRESHOLD = 4
    INTERRUPTED = 130  # by Ctrl-C
    TERMINATED = 143  # by SIGTERM


RANKED = (Exit.PASS, Exit.THRESHOLD, Exit.UNKNOWN, Exit.TERMINATED, Exit.INTERRUPTED, Exit.FAIL, Exit.CANNOT_RUN)
"""Exit codes by rank. Where several apply, the last of them in this order is returned."""


def worse(one: int, other: int) -> int:
    """Return the higher-ranked of two exit codes.

    Any number that is not an exit code ranks highest.
    """
    return max(one, other, key=lambda code: RANKED.index(code) if code in RANKED else len(RANKED))


def brief(text: str) -> str:
    """Return `text` shortened to a readable length. Of too long words and texts only the beginning and end are kept."""
    text = _LONG_WORD.sub(lambda found: _cut(found[0], WORD_CHARS // 4), text)
    return text if len(text) <= SENTENCE_CHARS else _cut(text, SENTENCE_CHARS // 2)


def _cut(text: str, kept: int) -> str:
    return f"{text[:kept]} … {len(text) - 2 * kept:,} characters … {text[-kept:]}"


class EarwitnessError(Exception):
    """Base class of every error that is shown to the user.

    `str(error)` is one or two sentences. Subclasses set `exit_code` if it is not 2.
    """

    exit_code: int = Exit.CANNOT_RUN

    def __str__(self) -> str:
        """Return the message, with long quoted values shortened."""
        return brief(super().__str__())


class SettingsError(EarwitnessError):
    """Error of the configuration, with all mistakes at once.

    `where` names the file or the option; each of `faults` is a sentence about a mistake, without its full stop.
    """

    def __init__(self, where: str, faults: list[str]) -> None:
        """Join `faults` to one message that begins with `where`."""
        self.where, self.faults = where, faults
        # Quoted values may contain line breaks; a sentence must not.
        super().__init__(f"{where}: {'; '.join(faults)}.".replace("\n", "\\n"))


class TargetError(EarwitnessError):
    """Error for a platform under test that cannot be reached or does not follow its protocol."""


class PlatformError(EarwitnessError):
    """Error for a reference platform that cannot be started or kept running."""


class ServiceDied(PlatformError):
    """Error for a service that ended unexpectedly: its exit status, its last log lines, and where its log file is.

    `status`: the text after "ended with"; `last_words`: the end of the log; `whole_log`: a sentence that names the log.
    """

    def __init__(self, service: str, status: str, last_words: str, whole_log: str) -> None:
        """Make the message of the service's name, the status, the last log lines and the sentence about the log."""
        self.service, self.status, self.last_words = service, status, last_words
        words = last_words.strip() or "(no output)"
        super().__init__(f"{service} ended with {status}. Its last output:\n{words}\n{whole_log}")


class Exceeded(Exception):
    """Error for a server that sent more than a limit of the client allows (`harness.client.bounds`).

    `str(error)` names the limit and what exceeded it.
    """


class RecordError(EarwitnessError):
    """Error for a run directory or journal that cannot be written or read."""
