"""H7: the story itself worked.

A story whose tasks crash, or whose own requests fail, has not put the load on the platform that its verdict would be
about. Such a run never passes: UNKNOWN, with the place and the first line of the most frequent errors.

Counted are exceptions of tasks, `on_start`, `on_stop`, greenlets and listeners, and requests that the story itself
fired as failed. Not counted are refusals that a behaviour of ours provokes on purpose (401, 429, 503), and requests
that the story marked as a success (`catch_response`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.checks.engine.fold import Described, End
from earwitness.checks.tester.health import Health
from earwitness.checks.verdict import Verdict

NAMED = 3
"""Number of different errors that the sentence names."""


class StorySound(Health):
    """State of H7: no load process counted errors of the story (`story` in the footer).

    Fact `story_errors`: the same counts (`errors`, `failed_requests`, `requests`) of a process without a journal. A
    history that no story made has no errors and passes.
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
