"""The documentation has short sentences, today's words, links that lead somewhere and commands that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.prose import ROOT, faults_of, pages

NOT_YET = ("README.md",)
"""Pages whose wording is not finished. Their links and commands are checked all the same."""
WORDING = ("a sentence of ", "'", "name the subject")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path) -> None:
    """A page has no fault."""
    found = [str(fault) for fault in faults_of(page) if page.name not in NOT_YET or not fault.text.startswith(WORDING)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["word"] * 41) + ".",
        "| cell |\n|---|\n| " + "word " * 41 + "|",
        "The judge reads all testimonies together.",
        "A worker is told its port.",
        "Rare kinds are left quite alone.",
        "The run goes on.",
        "It looks at the table.",
        "Who is late acts at once.",
        "See [the page](docs/none.md).",
        "See [below](#no-such-heading).\n\n# A heading",
        "```\nearwitness judge runs/latest\n```",
        "```\nlocust -f locustfiles/none.py --headless\n```",
        "```bash\nmake loads\n```",
        "Run `earwitness clean --unfinnished`.",
        "Run `earwitness run none --headless`.",
        "Run `pytest pytest_suite --real-service`.",
        "Run `python -m benchmarks.none`.",
        "Run `locust -f locustfiles/ws_ordering.py --arrival 3/s`.",
    ],
)
def test_what_is_found(text: str) -> None:
    """Each of these has one fault."""
    assert len(faults_of(ROOT / "README.md", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["word"] * 40) + ". Next sentence.",
        "See [the heading](#a-heading-of-code) and [the site](https://example.org).\n\n# A heading of `code`",
        '```\nmake load ARGS="-u 200"\nearwitness run STORY --seed 3 | tee log   # what is told\n```',
        "```python\nearwitness = judge()\n```",
        "The kind `told` is a name. Devices are told apart by their numbers. Who may read what?",
        "Set `EARWITNESS_SEED`; `make campaign NAME` and `earwitness VERB` take options.",
        "- a list\n- `earwitness check --only I1,I4 RUN`",
    ],
)
def test_what_is_not_found(text: str) -> None:
    """None of these has a fault."""
    assert faults_of(ROOT / "README.md", text) == []
