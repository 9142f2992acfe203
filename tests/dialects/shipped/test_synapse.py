"""Matrix Synapse: the dialect matrix against a real homeserver, with cut polls and planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from planted_faults import planted_polls
from server_processes import free_port
from server_trials import finds, passes, planter_of
from story_runs import CUTS, example_file, probe, run_story
from synapse_server import SECRET, SynapseServer, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SynapseServer]:
    """Start one server for all tests: each run makes its own users and rooms."""
    server = SynapseServer(tmp_path_factory.mktemp("synapse"), free_port())
    server.start()
    yield server
    server.end()


def target(folder: Path, address: str, *options: str) -> Path:
    """Write the example's target file with another address, and with short polls."""
    file = example_file(folder, "matrix", http=f'"{address}"', poll_s="2.0")
    file.write_text("\n".join([file.read_text(), *options]))
    return file


def test_a_right_server_passes(synapse: SynapseServer, tmp_path: Path) -> None:
    """It is probed, then judged for longer than two polls, with polls that are cut and continued."""
    file = target(tmp_path, synapse.url)
    judged = passes(file, CUTS, unknown=True)
    assert {"I1", "I2", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15", "I43", "I47"} <= judged.held


def test_gaps_are_filled(synapse: SynapseServer, tmp_path: Path) -> None:
    """One message of a room in an answer: the others are read page by page, also after a cut in between."""
    judged = run_story(CUTS, target(tmp_path, synapse.url, "page = 1"), 6)
    assert judged.code == 0, judged.out
    assert {"I1", "I2", "I5b", "I6", "I47"} <= judged.held


def test_users_made_with_the_shared_secret(
    synapse: SynapseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where registration is closed, the administrator's secret makes the users."""
    monkeypatch.setenv("SHARED_SECRET_OF_SYNAPSE", SECRET)
    more = ('register = "shared_secret"', 'shared_secret = "env:SHARED_SECRET_OF_SYNAPSE"')
    code, said = probe(target(tmp_path, synapse.url, *more))
    assert code == 0, said


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        pytest.param("lose", {"I5b"}, marks=pytest.mark.campaign),
        pytest.param("leak", {"I12"}, marks=pytest.mark.campaign),
        ("duplicate", {"I6"}),
        pytest.param("swap", {"I1", "I2"}, marks=pytest.mark.campaign),
        pytest.param("", set(), marks=pytest.mark.campaign),
    ],
)
def test_a_planted_fault_is_found(synapse: SynapseServer, fault: str, checks: set[str], tmp_path: Path) -> None:
    """A proxy spoils some deliveries; without a fault it passes."""
    planter = planter_of(fault, 30)
    with planted_polls(synapse.url, planter) as address:
        finds(planter, checks, target(tmp_path, address), seconds=20)  # users take long to log in and join
