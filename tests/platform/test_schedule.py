"""What a schedule of faults says, and what is said about one that is not understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.checks.history.record import FaultKind
from earwitness.harness.errors import SettingsError
from earwitness.harness.platform.faults import (
    EXAMPLES,
    Cut,
    Disturb,
    Kill,
    Replace,
    Restart,
    Skew,
    Wipe,
    faults_of,
    links_needed,
    read_schedule,
)

ENDPOINTS = {"backends": {"backend-1": "http://127.0.0.1:1"}, "auth": "http://127.0.0.1:2", "links": ["users/edge"]}
SERVICES = ["postgres", "auth", "backend-1", "edge", "valkey", "links"]


def test_the_example_of_the_guide() -> None:
    """Entries are sorted by their start; times, durations and values are understood."""
    text = "kill:auth@20s,restart:backend-1@30s,delay:edge@500ms+10s=200ms~50ms,cut:backend-2@1m, skew:auth@2s=-1.5s"
    read = [(p.kind, p.where, p.start_s, p.duration_s, p.amount, p.jitter_s) for p in read_schedule(text)]
    assert read == [
        ("delay", "edge", 0.5, 10.0, 0.2, 0.05),
        ("skew", "auth", 2.0, None, -1.5, 0.0),
        ("kill", "auth", 20.0, None, 0.0, 0.0),
        ("restart", "backend-1", 30.0, None, 0.0, 0.0),
        ("cut", "backend-2", 60.0, None, 0.0, 0.0),
    ]


def test_a_file(tmp_path: Path) -> None:
    """One entry a line, with comments and empty lines; "database" and "redis" are names for what is there."""
    path = tmp_path / "evening.faults"
    path.write_text("# an evening\n\nkill:database@5s+2s   # away\npause:redis@9s\nbandwidth:edge@1s=64kB\n")
    found = [(p.name, p.amount) for p in read_schedule(str(path))]
    assert found == [("bandwidth edge", 64000.0), ("kill postgres", 0.0), ("pause valkey", 0.0)]


def test_every_kind_has_its_number_in_records() -> None:
    assert {kind.upper().replace("-", "_") for kind in EXAMPLES} == set(FaultKind.__members__)


def test_every_example_is_understood() -> None:
    """What a mistake is answered with is no mistake."""
    assert len(read_schedule(",".join(EXAMPLES.values()))) == len(EXAMPLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kill:auth", "neither a fault like kill:auth@20s"),
        ("kill@5s", "does not say where: kill:auth@20s"),
        ("murder:auth@5s", "is of no known kind (known: "),
        ("kil:auth@5s", "is of no known kind (did you mean kill?); write it like kill:auth@20s+10s"),
        ("kill:auth@5", "has '5' where a time is needed"),
        ("kill:auth@5s=3", "has a value, but this kind takes none"),
        ("delay:edge@5s", "needs a value: delay:edge@20s+10s=200ms~50ms"),
        ("delay:edge@5s=fast", "has 'fast' where a time is needed"),
        ("bandwidth:edge@5s=0kB", "has '0kB' where a number of bytes is needed"),
        ("restart:auth@5s+2s", "has a duration, but is over when the service is back"),
        ("kill:auth@5s@6s", "is not KIND:WHERE@START"),
        ("nowhere.faults", "nor a readable file (No such file or directory)"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(text: str, words: str) -> None:
    """What is wrong, where, and what would do."""
    with pytest.raises(SettingsError) as caught:
        read_schedule(text)
    assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """One sentence each."""
    with pytest.raises(SettingsError) as caught:
        read_schedule("kill:auth@x,pause@3s,cut:edge@1s")
    assert len(caught.value.faults) == 2


def test_faults_of_a_platform() -> None:
    """Each entry becomes its object; a cut that lasts refuses; links are named by where they lead."""
    plan = read_schedule(
        "kill:auth@1s,crash:backend-1@2s,replace:backend-1@3s,cut:edge@4s,cut:edge@5s+1s,skew:backend-1@6s=2s,"
        "restart:edge@7s,wipe:redis@8s"
    )
    assert links_needed(plan) == ("edge",)
    assert faults_of(plan, SERVICES, ENDPOINTS) == [
        Kill("auth"),
        Restart("backend-1", graceful=False),
        Replace("backend-1"),
        Cut(("users/edge",)),
        Disturb(("users/edge",), {"refusing": True}, cutting=True),
        Skew("backend-1", "http://127.0.0.1:1", 2.0),
        Restart("edge"),
        Wipe("valkey"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kill:moon@1s", "there is no service moon; there are auth, backend-1, edge, postgres, valkey"),
        ("kill:links@1s", "there is no service links"),
        ("delay:auth@1s=1s", "this platform has no link auth; start it with `earwitness up --link auth`"),
        ("wipe:postgres@1s", "only redis can lose its file"),
        ("skew:edge@1s=1s", "only auth and backends have a clock of their own"),
    ],
)
def test_what_this_platform_does_not_have(text: str, words: str) -> None:
    """It is said before anything is begun."""
    with pytest.raises(SettingsError) as caught:
        faults_of(read_schedule(text), SERVICES, ENDPOINTS)
    assert words in str(caught.value)
