"""The documentation has short sentences, today's words, links that lead somewhere and commands that exist."""

from __future__ import annotations

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from earwitness.checks import ALL
from earwitness.checks.findings.lines import MANNERS
from earwitness.checks.findings.scene import NEVER
from earwitness.checks.findings.sentences import SENTENCES
from earwitness.harness.cli import EPILOG, RUN, VERBS
from earwitness.harness.report.thresholds import METRICS
from tests.support.prose import ROOT, faults_of, old_words, pages


def help_of(verb: str) -> str:
    """Return what `earwitness VERB --help` prints."""
    path, text = VERBS[verb]
    parser = ArgumentParser(description=text)
    import_module(path).add_arguments(parser)
    return parser.format_help()


SHOWN = [
    *((f"{check} {what}", text) for (check, what), text in SENTENCES.items()),
    *((kind.name, manner.phrase) for kind, manner in MANNERS.items()),
    *((f"{check} {what}", words) for (check, what), (_, words) in NEVER.items()),
    *((check.id, check.title) for check in ALL),
    *((name, text) for name, (_, text) in METRICS.items()),
    *((f"earwitness {verb} --help", help_of(verb)) for verb in VERBS if verb != RUN),
    ("earwitness --help", EPILOG),
]
"""What verdicts and the command line show, each with its place."""

NOT_YET = ("README.md", "glossary.md", "index.md")
"""Pages whose wording is not finished, or that list old words. Their links and commands are checked all the same."""
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


def test_what_is_shown() -> None:
    """Sentences of findings, titles of checks and the help of the command line have no old words."""
    found = [
        f"{place}: {why}"
        for place, text in SHOWN
        for _, why in old_words([(1, text.replace("{", "").replace("}", ""))])
    ]
    assert not found, "\n".join(found)
