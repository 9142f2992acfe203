"""H7: the story (the locustfile) itself worked.

If tasks of a story raise exceptions, or its own requests fail, the platform did not get the load that the story
describes. So such a run never passes. It is UNKNOWN, with the most frequent errors: where each was raised, and its
first line.

Counted are exceptions of tasks, `on_start`, `on_stop`, greenlets and listeners, and requests that the story itself
reported to Locust as failed. Not counted are refusals (401, 429, 503) that a behaviour of the tool provokes on purpose,
and requests that the story marked as a success (`catch_response`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.checks.engine.fold import Described, End
from earwitness.checks.tester.health import Health
from earwitness.checks.verdict import Verdict

NAMED = 3
"""Largest number of different errors that the reason for UNKNOWN names."""


class StorySound(Health):
    """State of H7: no load process counted errors of the story.

    It reads `story` in the footers: `requests`, a number; `errors` and `failed_requests`, lists of mappings with
    `where`, `error` and `count`. The optional fact `story_errors` of the run has the same counts of a process without a
    journal. If no footer has `story`, for example in an imported history, there are no errors and the check passes.
    """

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: sum up the errors of all processes; any error makes the verdict UNKNOWN."""
        stories = [journal.footer["story"] for journal in end.journals if journal.footer and "story" in journal.footer]
        stories += [end.facts["story_errors"]] if end.facts.get("story_errors") else []
        errors = _merged(stories, "errors")
        failed = _merged(stories, "failed_requests")
        requests = sum(int(story.get("requests", 0)) for story in stories)
        faults = []
        if errors:
            faults.append(f"{_times(sum(errors.values()), 'error')} in the story: {_named(errors)}")
        if failed:
            faults.append(f"{sum(failed.values()):,} of {requests:,} requests of the story failed: {_named(failed)}")
        facts = {"errors": sum(errors.values()), "requests": requests, "failed_requests": sum(failed.values())}
        return self.healthy(len(stories) or len(end.journals), faults, facts)


def _merged(stories: Sequence[Mapping[str, Any]], key: str) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for story in stories:
        for row in story.get(key, ()):
            name = (str(row["where"]), str(row["error"]))
            total[name] = total.get(name, 0) + int(row["count"])
    return total


def _named(counts: Mapping[tuple[str, str], int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    names = [f"{where}: {error} ({_times(count, 'time')})" for (where, error), count in ranked[:NAMED]]
    return "; ".join(names) + (f"; and {len(ranked) - NAMED} others" if len(ranked) > NAMED else "")


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


STORY_SOUND = Described(
    id="H7", name="story-sound", title="Did the story itself work?", unit="load processes", fold=StorySound
)
