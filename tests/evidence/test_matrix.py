"""The matrix of defects: what is run, what is remembered, what is written about it. No platform is started here."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from earwitness.harness.cli import main
from earwitness.harness.errors import PlatformError, RecordError, SettingsError
from earwitness.harness.evidence.catalogue import all_defects, chosen, listing_text
from earwitness.harness.evidence.cells import HEALTHY, Cell, Result, Results, cells_of, reserved
from earwitness.harness.evidence.defect import Defect
from earwitness.harness.evidence.ground_truth import GroundTruth
from earwitness.harness.evidence.intervals import none_seen_95, wilson_95
from earwitness.harness.evidence.matrix import run_matrix, silent_checks
from earwitness.harness.evidence.page import evidence_text
from earwitness.harness.evidence.published import lost, shown
from earwitness.harness.evidence.stages import STAGES, file_of, staged

LOSS = Defect(
    id="Z5", name="drop-push", breaks="One is missing.", opportunity="a push", caught_by=("I4", "I5b"),
    high=0.5, one=0.01, service="backend", needs="",
)  # fmt: skip
SWAP = replace(LOSS, id="Z1", name="swap-pushes", breaks="Two are swapped.", caught_by=("I4",))


@pytest.fixture
def result() -> Callable[..., Result]:
    """A detected run of Z5, but for the fields that are given."""

    def make(**changes: Any) -> Result:
        usual = Result(
            defect="Z5", power="high", seed=1, probability=0.5, exit_code=1, failed=("I4",), fired=3, manifest=2,
            messages=100, seconds=9.0, at=1_800_000_000.0, commit="abc", run="a-run",
        )  # fmt: skip
        return replace(usual, **changes)

    return make


@pytest.fixture
def benches(result: Callable[..., Result]) -> Any:
    """Benches that make results without a platform; `.made` are the cells in order, `.started` the benches."""

    class Benches:
        def __init__(self) -> None:
            self.made: list[Cell] = []
            self.started: list[Cell] = []
            self.broken: set[str] = set()
            self.code = 1

        def __call__(self, cell: Cell) -> Any:
            self.started.append(cell)
            return self

        def __enter__(self) -> Any:
            if self.started[-1].defect in self.broken:
                raise PlatformError("It does not start.")
            return self

        def __exit__(self, *_: object) -> None: ...

        def interrupt(self) -> None: ...

        def run(self, cell: Cell) -> Result:
            self.made.append(cell)
            return result(defect=cell.defect, power=cell.power, seed=cell.seed, exit_code=self.code)

    return Benches()


def test_cells_share_platforms() -> None:
    """Healthy runs first, then all seeds of a defect in a row."""
    cells = cells_of([LOSS, SWAP], ["high", "one"], seeds=2, healthy=1)
    assert cells[0] == Cell(HEALTHY, "", 1)
    assert [(c.defect, c.power, c.seed) for c in cells[1:5]] == [
        ("Z5", "high", 1), ("Z5", "high", 2), ("Z1", "high", 1), ("Z1", "high", 2),
    ]  # fmt: skip
    assert len(cells) == 9


def test_each_story_has_healthy_runs() -> None:
    """As many as each of its defects has; a story whose defects are not asked for has none."""
    theft = replace(LOSS, id="Z40", story="jwt_lifecycle")
    cells = cells_of([LOSS, theft], ["high"], seeds=2, healthy=1)
    assert [c.defect for c in cells if c.healthy] == ["healthy", *2 * ["healthy jwt_lifecycle"]]


def test_a_defect_that_two_stories_must_show_is_run_in_both() -> None:
    """Under two names, in the order of the stories; the platform is started with the defect's own."""
    retry = replace(LOSS, also=("ws_reconnect",))
    own, other = staged([retry])
    assert (own.id, own.story, own.order) == ("Z5", "rough", "Z5")
    assert (other.id, other.story, other.order) == ("Z5@ws_reconnect", "ws_reconnect", "Z5")
    cells = cells_of([own, other], ["high"], seeds=1, healthy=1)
    assert [cell.defect for cell in cells] == ["healthy", "healthy ws_reconnect", "Z5", "Z5@ws_reconnect"]


def test_runs_of_one_story_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A story that shows none of the defects is named, with those that do."""
    code = main(["defects", "--matrix", "--only", "Z9", "--story", "soak", "--work", str(tmp_path)])
    assert code == 2
    assert "'soak' shows none of them (there are rough, ws_reconnect)" in capsys.readouterr().err


def test_goes_on_where_it_was_interrupted(tmp_path: Path, benches: Any, result: Callable[..., Result]) -> None:
    """A cell with a judged result is not run again, one that could not be judged is."""
    cells = cells_of([LOSS], ["high"], seeds=3, healthy=0)
    before = Results(tmp_path)
    before.add(result(seed=1))
    before.add(result(seed=2, exit_code=2))
    said: list[str] = []
    assert run_matrix(cells, Results(tmp_path), benches, say=said.append)
    assert benches.made == [Cell("Z5", "high", 2), Cell("Z5", "high", 3)]
    assert len(benches.started) == 1
    assert "1 of 3 runs were made before" in said[0]
    again = Results(tmp_path)
    assert again.missing(cells) == []
    assert again.by_cell[Cell("Z5", "high", 1)] == result(seed=1)


def test_the_budget_ends_it(tmp_path: Path, benches: Any) -> None:
    """No run begins after it; what is left is said, and the outcome is incomplete."""
    times = iter(range(100))
    said: list[str] = []
    cells = cells_of([LOSS, SWAP], ["high"], seeds=2, healthy=0)
    assert not run_matrix(
        cells, Results(tmp_path), benches, budget_s=3.0, say=said.append, clock=lambda: float(next(times))
    )
    assert benches.made == [Cell("Z5", "high", 1)]
    assert "3 of 4 runs were not made" in said[-1]


class Meeting:
    """A bench whose runs wait for each other, or for their interruption; `bench_of` of a matrix gives itself."""

    def __init__(self, result: Callable[..., Result], parties: int, break_down: str = "") -> None:
        self.barrier, self.interrupted = threading.Barrier(parties), threading.Event()
        self._result, self._break_down = result, break_down

    def __call__(self, cell: Cell) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def interrupt(self) -> None:
        self.interrupted.set()

    def run(self, cell: Cell) -> Result:
        self.barrier.wait(30)
        if cell.defect == self._break_down:
            raise KeyboardInterrupt
        if self._break_down:
            assert self.interrupted.wait(30)
        return self._result(defect=cell.defect, power=cell.power, seed=cell.seed)


def test_two_jobs_make_two_runs_at_once(tmp_path: Path, result: Callable[..., Result]) -> None:
    """Each run begins only when the other one has, so one job alone could not end."""
    cells = cells_of([LOSS, SWAP], ["high"], seeds=2, healthy=0)
    results = Results(tmp_path)
    assert run_matrix(cells, results, Meeting(result, 2), jobs=2, say=lambda _: None)
    assert Results(tmp_path).missing(cells) == []


def test_interrupted_it_ends_the_runs_of_all_jobs(tmp_path: Path, result: Callable[..., Result]) -> None:
    """And what was cut off is no result."""
    cells = cells_of([LOSS, SWAP], ["high"], seeds=2, healthy=0)
    meeting = Meeting(result, 2, break_down="Z1")
    with pytest.raises(KeyboardInterrupt):
        run_matrix(cells, Results(tmp_path), meeting, jobs=2, say=lambda _: None)
    assert meeting.interrupted.is_set()
    assert Results(tmp_path).missing(cells) == cells


def test_a_platform_that_does_not_start(tmp_path: Path, benches: Any) -> None:
    """The other defects are run all the same."""
    benches.broken = {"Z5"}
    said: list[str] = []
    cells = cells_of([LOSS, SWAP], ["high"], seeds=1, healthy=0)
    assert not run_matrix(cells, Results(tmp_path), benches, say=said.append)
    assert benches.made == [Cell("Z1", "high", 1)]
    assert any("It does not start." in text for text in said)


def test_a_damaged_line_is_named(tmp_path: Path, result: Callable[..., Result]) -> None:
    """Which file, which line."""
    (tmp_path / "results.jsonl").write_text(json.dumps(asdict(result())) + "\n{]\n")
    with pytest.raises(RecordError, match=r"results\.jsonl, line 2 is no result"):
        Results(tmp_path)


def test_cells_that_were_not_run_have_no_figures(tmp_path: Path, result: Callable[..., Result]) -> None:
    """Every field says so; a run that could not be judged counts nowhere."""
    results = Results(tmp_path)
    text = evidence_text([LOSS, SWAP], results)
    rows = [line for line in text.splitlines() if line.startswith("| Z")]
    assert len(rows) == 4
    assert all(row.count("not run") == 7 for row in rows)
    results.add(result(exit_code=2))
    rows = [line for line in evidence_text([LOSS], results).splitlines() if line.startswith("| Z")]
    assert all(row.count("not run") == 7 for row in rows)


def test_what_is_written(tmp_path: Path, result: Callable[..., Result]) -> None:
    """Counts of runs and of lines apart; detection is of manifest runs; misses are listed with what failed instead."""
    results = Results(tmp_path)
    results.add(result(seed=1, failed=("I4", "I5b")))
    results.add(result(seed=2, failed=("I2",), silent=("I5b examined nothing",), run="look-here"))
    results.add(result(seed=3, exit_code=0, failed=(), manifest=0))
    results.add(result(seed=4, exit_code=0, failed=(), fired=0, manifest=0))
    text = evidence_text([LOSS], results)
    row = next(line for line in text.splitlines() if line.startswith("| Z5"))
    assert "| 4 | 3 (9) | 2 (4) | 2 of 2 (34% to 100%) | 2 of 4 (15% to 85%) | 1 by I4 or I5b |" in row
    assert row.endswith("| I2 1, I4 1, I5b 1 |")
    misses = text.partition("## Misses")[2]
    assert "| Z5 | high | 2 | 3 | 2 | I2 | I5b examined nothing | look-here |" in misses
    assert misses.count("| Z5 |") == 1


def test_why_a_check_was_silent() -> None:
    """It does not exist, or it had nothing to look at; one that looked is not named."""
    checks = [{"id": "I4", "examined": 9}, {"id": "I5b", "examined": 0}]
    assert silent_checks(("I4", "I5b", "I99"), checks) == ("there is no I99 yet", "I5b examined nothing")


def test_false_alarms(tmp_path: Path, result: Callable[..., Result]) -> None:
    """None in n runs bounds the rate; one is told with its seed and its run."""
    results = Results(tmp_path)
    for seed in range(1, 61):
        results.add(result(defect=HEALTHY, power="", seed=seed, exit_code=0, failed=(), fired=0, manifest=0))
    assert "| 60 | 6,000 | 0 | below 4.9% a run (95 %) | 0 |" in evidence_text([], results)
    results.add(result(defect=HEALTHY, power="", seed=61, failed=("I4",), run="cried-wolf"))
    text = evidence_text([], results)
    assert "| 61 | 6,100 | 1 | 1 of 61 (0% to 9%) | 0 |" in text
    assert "- healthy, seed 61: I4 (cried-wolf)" in text
    results.add(result(seed=9, exit_code=0, failed=(), fired=0, manifest=0))
    assert "| with a defect that did not fire | 1 | 100 | 0 | below 95.0% a run (95 %) | 0 |" in evidence_text(
        [], results
    )


def test_intervals() -> None:
    """Published values."""
    assert wilson_95(0, 0) == (0.0, 1.0)
    low, high = wilson_95(59, 59)
    assert (round(low, 3), high) == (0.939, 1.0)
    low, high = wilson_95(5, 10)
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)
    assert none_seen_95(0) == 1.0
    assert round(none_seen_95(299), 4) == 0.01


def test_ground_truth_of_one_run(tmp_path: Path) -> None:
    """Only what came after the mark, of this defect and this run; after a restart numbers begin again."""

    def line(kind: str, firing: int, conversation: str | None = "tag-r0", defect: str = "Z5") -> str:
        more = {} if conversation is None or kind == "manifest" else {"conversation": conversation}
        return json.dumps({kind: defect, "firing": firing, "at": 1.0, **more}) + "\n"

    log = tmp_path / "backend-1.log"
    log.write_text(line("defect", 1))
    truth = GroundTruth(tmp_path)
    truth.mark()
    with open(log, "a") as file:
        file.write(line("defect", 2) + line("manifest", 2) + line("manifest", 1))
        file.write(line("defect", 3, "other-r0") + line("manifest", 3) + line("defect", 4, defect="Z1"))
        file.write("12:00:00.000 INFO backend-1 started, pid 7\n")
        file.write(line("defect", 2) + line("defect", 3, None))
    (tmp_path / "backend-2.log").write_text(line("defect", 2) + line("manifest", 2))
    assert truth.count("Z5", "tag") == (4, 2)


def test_the_catalogue_comes_from_the_platform() -> None:
    """Each defect is whole; names and ids are unique; probabilities are such; the story is there."""
    defects = all_defects()
    keys = [key for one in defects for key in (one.id, one.name)]
    assert len(set(keys)) == len(keys) > 60
    for one in defects:
        assert 0 < one.one < one.high <= 1, one.id
        assert bool(one.caught_by) == (one.story != "pytest_suite"), one.id
        assert one.breaks.endswith("."), one.id
        assert one.service in ("backend", "backend-2", "auth", "frontend", "provider"), one.id
    assert all(file_of(story) is not None for story in STAGES)
    assert {one.id for one in staged(defects)} >= {"Z1", "Z16", "Z37", "Z40", "Z52", "Z61"}
    assert all(one.caught_by for one in staged(defects))


def test_choosing() -> None:
    """By id or by name; what does not exist is named."""
    assert chosen([LOSS, SWAP], ["swap-pushes"]) == [SWAP]
    assert chosen([LOSS, SWAP], [""]) == [LOSS, SWAP]
    with pytest.raises(SettingsError, match="there is no defect 'Z99'"):
        chosen([LOSS, SWAP], ["Z99", "Z5"])
    assert "drop-push: “One is missing.”" in listing_text([LOSS])
    assert "--defect backend=drop-push:0.5" in listing_text([LOSS])


def test_what_to_try_next() -> None:
    """Ordinary talk shows only what needs nothing else; what no load story shows is not offered to the matrix."""
    needy = replace(SWAP, needs="members who are removed")
    assert "backend=drop-push:0.5" in listing_text([needy, LOSS])
    assert "ws_ordering" not in listing_text([needy])
    assert "--matrix --seeds 1 --only Z1" in listing_text([needy])
    assert "--matrix" not in listing_text([replace(LOSS, caught_by=(), story="pytest_suite")])


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The list as text and as JSON; a matrix whose time is up is UNKNOWN and writes what it has: nothing."""
    assert main(["defects", "--only", "Z5", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["drop-push"]
    evidence = tmp_path / "docs" / "evidence.md"
    arguments = ["--work", str(tmp_path / "work"), "--evidence", str(evidence)]
    assert main(["defects", "--matrix", "--only", "Z5", "--budget", "0", *arguments]) == 3
    assert "No run was made." in evidence.read_text()
    assert main(["defects", "--matrix", "--seeds", "-1", *arguments]) == 2
    assert "--seeds must not be negative" in capsys.readouterr().err


def test_two_at_once_do_not_mix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The second one is told so, and writes nothing; when the first has ended it can go on."""
    arguments = ["defects", "--matrix", "--only", "Z5", "--budget", "0", "--work", str(tmp_path / "work")]
    arguments += ["--evidence", str(tmp_path / "evidence.md")]
    with reserved(tmp_path / "work"):
        assert main(arguments) == 2
        assert "Another matrix works in" in capsys.readouterr().err
        assert not (tmp_path / "evidence.md").exists()
    assert main(arguments) == 3


KILLED = """
import sys, threading
from pathlib import Path
from types import SimpleNamespace
from earwitness.harness.evidence.cells import Cell
from earwitness.harness.evidence.matrix import RealBench

work, sys.executable = Path(sys.argv[1]), sys.argv[2]
bench = RealBench(work, "rough", None, 0.0, "none")
bench._platform = SimpleNamespace(control=SimpleNamespace(address="nowhere"))
thread = threading.Thread(target=bench._locust, args=(Cell("healthy", "", 1),))
thread.start()
thread.join()  # since Python 3.12 no process can be started once the main thread has ended
"""


def test_a_matrix_that_is_killed_leaves_no_run_behind(tmp_path: Path) -> None:
    """SIGKILL of the matrix ends the load process of the run that it was making in another thread."""
    (tmp_path / "logs").mkdir()
    load = tmp_path / "load"
    load.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/draft && mv {tmp_path}/draft {tmp_path}/pid\nexec sleep 60\n")
    load.chmod(0o755)
    matrix = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(load)])
    try:
        awaited((tmp_path / "pid").exists)
        running = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        matrix.kill()
        matrix.wait()
    psutil.wait_procs([running], timeout=10)
    assert not running.is_running()


def awaited(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)  # another process does it


ASKED = """
import json, runpy, sys
import earwitness.harness.load
from earwitness.harness.platform.faults import links_needed
from earwitness.harness.platform.faults import read_schedule

def told(file, *, platform=None, faults="", **_):
    print(json.dumps([platform or {}, links_needed(read_schedule(faults, named=False)) if faults else ()]))

earwitness.harness.load.story = told
runpy.run_path(sys.argv[1])
"""


@pytest.mark.parametrize("story", STAGES)
def test_a_stage_has_what_its_story_asks_of_the_platform(story: str) -> None:
    """Settings and links of the platform that its runs share are the story's own."""
    done = subprocess.run([sys.executable, "-c", ASKED, str(file_of(story))], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    settings, links = json.loads(done.stdout)
    assert (STAGES[story].settings, sorted(STAGES[story].links)) == (settings, sorted(links))


def test_without_a_run_nothing_was_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A matrix of no runs at all is complete, and yet UNKNOWN."""
    arguments = ["--work", str(tmp_path / "work"), "--evidence", str(tmp_path / "evidence.md")]
    assert main(["defects", "--matrix", "--only", "Z5", "--seeds", "0", *arguments]) == 3
    assert "0 runs, 0 false alarms, 0 misses" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3), (4, 0)])
def test_runs_that_nobody_could_judge_show_nothing(
    tmp_path: Path, result: Callable[..., Result], code: int, expected: int
) -> None:
    """A matrix whose every run was UNKNOWN is itself UNKNOWN; one whose threshold was missed was judged."""
    work = tmp_path / "work"
    Results(work).add(result(seed=1, exit_code=code, failed=(), fired=0, manifest=0))
    arguments = ["--work", str(work), "--evidence", str(tmp_path / "evidence.md")]
    assert main(["defects", "--matrix", "--only", "Z5", "--seeds", "1", "--healthy", "0", *arguments]) == expected


def test_a_published_page_is_not_replaced_by_less(
    tmp_path: Path, result: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer runs of one row, or none at all, go to the work directory; as many or more are published."""
    page, work = tmp_path / "evidence.md", tmp_path / "work"
    published = Results(tmp_path / "of-others")
    for seed in (1, 2):
        published.add(result(seed=seed))
    before = evidence_text([LOSS], published)
    page.write_text(before)
    arguments = ["defects", "--matrix", "--only", "Z5", "--budget", "0", "--work", str(work), "--evidence", str(page)]
    assert main(arguments) == 3
    assert page.read_text() == before
    assert "it shows more runs of Z5 drop-push" in capsys.readouterr().err
    assert "No run was made." in (work / "evidence.md").read_text()
    own = Results(work)
    own.add(result(seed=1))
    main(arguments)
    assert page.read_text() == before
    for seed in (2, 3):
        own.add(result(seed=seed))
    main(arguments)
    assert "| Z5 drop-push " in page.read_text()
    assert "3 runs" in page.read_text()


def test_a_file_that_is_no_evidence_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a README nor anything else that --evidence names by mistake."""
    mine = tmp_path / "README.md"
    mine.write_text("# Mine\n")
    main(
        ["defects", "--matrix", "--only", "Z5", "--budget", "0", "--work", str(tmp_path / "w"), "--evidence", str(mine)]
    )
    assert mine.read_text() == "# Mine\n"
    assert "it is no page of evidence" in capsys.readouterr().err


def test_what_the_published_page_shows_is_understood() -> None:
    """Every row that the project's own pages show is counted, so none could be lost without notice."""
    docs = Path(__file__).parents[2] / "docs"
    rows = shown((docs / "evidence.md").read_text())
    assert rows["Detection with many firings a run", "Z1 swap-pushes"] > 0
    assert rows["False alarms", "without a defect, rough"] > 0
    suite = shown((docs / "suite-evidence.md").read_text())
    assert len(suite) > 50
    assert lost(suite, {**suite, next(iter(suite)): 0}) == [" ".join(next(iter(suite))[1:])]
