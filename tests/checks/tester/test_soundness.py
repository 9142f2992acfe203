"""H7: errors of the story itself are counted and named, and such a run never passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks import Batch, Judge, Outcome, Verdict

CRASH = {"where": "chat (story.py:8)", "error": "AttributeError: 'U' object has no attribute 'sya'", "count": 6}
FAILED = {"where": "GET /me", "error": "HTTPError: 500", "count": 2}
SOUND: dict[str, Any] = {"errors": [], "requests": 7, "failed_requests": []}


@pytest.fixture
def sound(healthy_history: Callable[..., Any]) -> Callable[..., Verdict]:
    """`sound(story, …, story_errors=…)`: H7 about load processes with these counts in their footers."""

    def judged(*stories: dict[str, Any] | None, **facts: Any) -> Verdict:
        history = healthy_history()
        (info,) = history.infos()
        infos = [replace(info, footer={} if story is None else {"story": story}) for story in stories]
        judge = Judge(history.roster, history.contract)
        judge.step(Batch(0, history.arrays()[0]))
        return next(verdict for verdict in judge.finish(infos, facts) if verdict.id == "H7")

    return judged


def test_a_sound_story(sound: Callable[..., Verdict]) -> None:
    """No error and no failed request: PASS, also for a history that no story made."""
    assert sound(SOUND).outcome is sound(None).outcome is Outcome.PASS
    assert sound(SOUND).facts == {"errors": 0, "requests": 7, "failed_requests": 0}


def test_crashing_tasks(sound: Callable[..., Verdict]) -> None:
    """They are added up over all load processes and named with their place."""
    verdict = sound({**SOUND, "errors": [CRASH]}, {**SOUND, "errors": [CRASH]})
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why == (
        "12 errors in the story: chat (story.py:8): AttributeError: 'U' object has no attribute 'sya' (12 times)"
    )


def test_failed_requests_of_the_story(sound: Callable[..., Verdict]) -> None:
    """Failed requests that the story fired itself are no load that went well."""
    verdict = sound({**SOUND, "failed_requests": [FAILED]})
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.why == "2 of 7 requests of the story failed: GET /me: HTTPError: 500 (2 times)"


def test_errors_of_a_process_without_a_journal(sound: Callable[..., Verdict]) -> None:
    """A master has no journal; what its listeners raised counts too."""
    verdict = sound(SOUND, story_errors={"errors": [{**CRASH, "count": 1}], "requests": 0, "failed_requests": []})
    assert verdict.outcome is Outcome.UNKNOWN
    assert "1 error in the story" in verdict.why


def test_the_most_frequent_are_named_first(sound: Callable[..., Verdict]) -> None:
    """Three kinds are named, the number of the others is told."""
    rows = [{"where": f"task {n}", "error": "KeyError", "count": n} for n in range(1, 6)]
    why = sound({**SOUND, "errors": rows}).why
    assert why.startswith("15 errors in the story: task 5: KeyError (5 times); task 4")
    assert why.endswith("; and 2 others")
    assert sound({**SOUND, "errors": rows[:3]}).why.endswith("; task 1: KeyError (1 time)")
