"""Each part of `report.html`, from the literal runs of `tests/support/reported.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journaled import Journaled
from reported import SECRET, failed_run, imported_run
from soup import soup

from earwitness.checks.catalogue import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.history.record import FOREIGN, Kind, empty
from earwitness.harness.record.history import open_history
from earwitness.harness.report.page import runbook
from earwitness.harness.report.page.cards import prose, ways
from earwitness.harness.report.page.counterexamples import leading
from earwitness.harness.report.page.html import platform_of, report_html
from earwitness.harness.report.page.repeat import run_again
from earwitness.harness.report.page.rooms import ROOMS_MOST, rooms, share_of
from earwitness.harness.report.page.style import STYLE
from earwitness.harness.report.page.svg import COLOURS, legend, plot_svg
from earwitness.harness.report.page.timeline import BINS, Band, Line, Plot, axis_of, plots_of
from earwitness.harness.report.recorded import Recorded
from earwitness.harness.report.summary import KNOWN
from earwitness.harness.shipped import judged_by


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return failed_run(tmp_path_factory.mktemp("failed") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text("utf-8")


@pytest.fixture
def again(run: Path) -> Callable[..., str]:
    """`again(**changes)`: the page of the run with changes of its verdict."""

    def make(**changes: Any) -> str:
        verdict = json.loads((run / "verdict.json").read_text("utf-8"))
        return report_html(open_history(run), {**verdict, **changes}).decode()

    return make


def part(page: str, id: str) -> str:
    """The element with this id, up to the next section."""
    found = re.search(rf'<(section|article|dl)[^>]* id="{id}"', page) or re.search(rf'<section id="{id}"', page)
    assert found, id
    return page[found.start() : page.find("</section>", found.start())]


def plain(html: str) -> str:
    """The text of HTML, blanks collapsed."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_first_screen(page: str) -> None:
    """Outcome, why, what was planned and reached, duration, the generator's health, and one picture."""
    first = plain(page[page.index("<header") : page.index('<section id="counterexamples"')])
    for words in (
        "FAIL", "broken: I4 gap-free, I5a stored, I5b delivered", "the records of this violation",
        "Connections jumped over numbers of a conversation. I4 gap-free :",
        "probably the same defect as I4: I5b delivered :",
        "I5a stored : 1 of 8 acknowledged messages is not in the final state (12.5 %), in 1 room.",
        "I5b delivered : 4 of 13 deliveries that were due never came (30.8 %), in 1 room, for 1 user.",
        "Planted defects: backend=drop-push:0.05. Planted on purpose, to see it detected; the number is",
        "a fault is an event of the run",
        "1.2 s of records: 1.0 s of load, 0.2 s of drain and final reads",
        "3 users; 1 s; 3 users started a second; arrivals 10/s; faults kill:backend-1@0.5s+0.2s",
        "3 users, 3 connections; 8 messages sent, 11 received", "H4 load-attained: 0 of 3 users connected", "seed 42",
    ):  # fmt: skip
        assert words in first, words
    assert page[: page.index('<section id="counterexamples"')].count("<svg") == 1


def test_the_platform_the_start_and_the_load(again: Callable[..., str], run: Path) -> None:
    """Version of the reference platform, date and time, the burst; a plan that was reached is not said again."""
    harness = json.loads((run / "verdict.json").read_text("utf-8"))["harness"]
    facts = {"sent": 8, "offered": 8, "actions_planned": 9, "actions_started": 7}
    changed = [{**row, "facts": facts} if row["id"] == "H4" else row for row in harness]
    burst = {"count": 1000, "client": 0, "sent_s": 1.24}
    page = again(created="2026-11-30T11:28:04.477+00:00", harness=changed, bursts=[burst])
    head = plain(part(page, "facts"))
    assert "started 2026-11-30 11:28:04 UTC" in head
    assert "8 messages sent (1,000 in a burst of 1.2 s), 11 received; 7 of 9 planned actions started" in head
    assert "8 of 8" not in head
    tested = {"versions": {"earwitness": "0.2.0", "commit": "0bac75a5126c3d0c"}, "contract": {"name": "reference"}}
    named = platform_of(tested, {"target": "reference"})
    assert named == "reference platform 0.2.0, commit 0bac75a512, contract reference"
    assert platform_of({"contract": {"name": "mine"}}, {"target": "file"}) == "file, contract mine"
    assert platform_of({"imported_from": "x"}, {"target": "imported"}) == "that of an imported history"


def test_no_fault_does_not_hide_planted_defects(again: Callable[..., str], tmp_path: Path) -> None:
    """Where the plots say that no fault was injected, the planted defects stand too."""
    run = imported_run(tmp_path / "run")
    verdict = json.loads((run / "verdict.json").read_text("utf-8"))
    page = report_html(open_history(run), {**verdict, "defect": "backend=leak:0.1"}).decode()
    words = "No fault was injected in this run. But defects were planted for all of it: backend=leak:0.1."
    assert words in plain(part(page, "plots"))
    assert "Planted defects" not in again(defect="")


def test_raw_frames_are_shown_and_secrets_are_not(page: str) -> None:
    """The frame stands below its record, as text; what was blotted out while recording is nowhere."""
    frames = re.findall(r'<pre class="frame"[^>]*>(.*?)</pre>', page)
    assert frames
    assert all("[secret]" in frame and "&lt;script&gt;alert(1)" in frame for frame in frames)
    assert SECRET.decode() not in page


def test_a_long_frame_is_cut(again: Callable[..., str], run: Path) -> None:
    """After FRAME_MOST characters, with how many are left out."""
    checks = json.loads((run / "verdict.json").read_text("utf-8"))["checks"]
    for check in checks:
        for witness in check["witnesses"]:
            for record in witness["records"]:
                record["frame"] = "x" * 50_000
    frame = re.search(
        r'<pre class="frame"[^>]*>(x+) … 46,000 more characters: verdict.json</pre>', again(checks=checks)
    )
    assert frame
    assert len(frame[1]) == 4_000


def test_the_first_violation_is_the_earliest(page: str) -> None:
    """The link leads to the counterexample that happened first; the plots mark its moment.

    Ann's #1 was sent at 0.10 s and never came to Cleo; the jump that shows the same came at 0.22 s, and the final read
    that shows the loss of her #2 at 1.2 s.
    """
    article = page[page.rindex("<article", 0, page.index('id="first-error"')) :]
    assert article.startswith('<article id="witness-I5b-1"')
    assert page.count('id="first-error"') == 1
    assert "first violation: I5b: at 0.10 s" in page


def test_lanes_can_be_hidden_without_a_script(page: str) -> None:
    """Each lane of a picture has a box; the style hides a lane whose box is not checked, with its steps."""
    article = page[page.index('id="witness-I4-1"') :]
    article = article[: article.index("</article>")]
    boxes = re.findall(r'<label><input type="checkbox" checked class="(h\d)">([^<]+)</label>', article)
    assert [name for _, name in boxes] == re.findall(r'class="name"[^>]*>([^<]+)', article)
    for kind, _ in boxes:
        assert f".lanes:has(.{kind}:not(:checked)) .l{kind[1]}{{display:none}}" in STYLE
        assert re.search(rf'<g class="(l\d )?l{kind[1]}', article)


def test_where_losses_lie(page: str) -> None:
    """Cleo misses Ann's first, fourth and last message and Bob's only one. Ann's second is not stored, which has no
    place among deliveries."""
    losses = plain(part(page, "losses"))
    assert "4 in all" in losses
    assert "all (2 senders) 4 1 1 1 1" in losses
    assert "ann 3 1 1 1 0" in losses
    assert "bob 1 0 0 0 1" in losses
    stored = losses[losses.index("Acknowledged messages that the final state lacks") :]
    assert "1 in all. Storage lost them, not delivery" in stored
    assert "sender lost ann 1" in stored
    assert "prefix" not in stored[: stored.index("sender lost")]


def test_bars_stand_in_the_column_of_their_place(page: str) -> None:
    """Each count has its own bar, as long as its share of the row."""
    row = next(row for row in part(page, "losses").split("<tr>") if row.startswith("<td>ann<"))
    cells = row.split("<td>")[3:]
    assert [plain(cell).strip() for cell in cells[:4]] == ["1", "1", "1", "0"]
    assert [re.findall(r'class="f(\d)" width="([\d.]+)"', cell) for cell in cells[:4]] == [
        [("0", "23.3")], [("1", "23.3")], [("2", "23.3")], [],
    ]  # fmt: skip


def test_losses_of_storage_alone_have_no_places(again: Callable[..., str], run: Path) -> None:
    """The meanings of places are about deliveries; they would lead to the wrong part of a platform."""
    reach = json.loads((run / "verdict.json").read_text("utf-8"))["reach"]
    nothing = {**reach["deliveries"], "lost": 0, "placed": 0, "of": 0, "senders": []}
    losses = plain(part(again(reach={**reach, "deliveries": nothing}), "losses"))
    assert "Storage lost them" in losses
    assert "subscription that begins too late" not in losses


def test_counterexamples_of_one_message_stand_together(again: Callable[..., str], run: Path) -> None:
    """One card, with who saw it; all anchors stay; in the order of time; and how many of all are shown."""
    checks = json.loads((run / "verdict.json").read_text("utf-8"))["checks"]
    bad = next(check for check in checks if check["id"] == "I5b")
    one = bad["witnesses"][0]
    seen = [{**one, "number": n, "user": user} for n, user in enumerate(("ann", "bob", "bob"), start=1)]
    late = {**one, "number": 4, "sentence": "another", "records": [
        {**record, "time_ns": record["time_ns"] - 50_000_000} for record in one["records"]
    ]}  # fmt: skip
    changed = {**bad, "violations": 37, "witnesses": [*seen, late]}
    found = part(again(checks=[changed]), "counterexamples")
    words = plain(found)
    assert "Shown 4 of 37 with their records." in words
    assert "4 violations stand in 2 cards" in words
    assert "at 0.100 s of the run; seen 3 times, by ann, bob; one is shown" in words
    assert "the same record violates" not in words
    unnamed = part(
        again(checks=[{**changed, "witnesses": [{**one, "message": None} for one in seen]}]), "counterexamples"
    )
    assert unnamed.count("<article") == 3  # a sentence that names no message may be of several
    assert found.index('id="witness-I5b-4"') < found.index('id="witness-I5b-1"')
    assert {"witness-I5b-2", "witness-I5b-3"} <= set(re.findall(r' id="([^"]+)"', found))


def test_one_record_may_break_several_promises(again: Callable[..., str], run: Path) -> None:
    """Then each card names the other checks, since the cause is one."""
    checks = json.loads((run / "verdict.json").read_text("utf-8"))["checks"]
    bad = next(check for check in checks if check["id"] == "I4")
    other = {**bad, "id": "I1", "name": "per-sender-fifo"}
    found = plain(part(again(checks=[bad, other]), "counterexamples"))
    assert "the same record violates I1 too" in found
    assert "the same record violates I4 too" in found


def test_the_first_picture_is_open_once(page: str) -> None:
    """It stands at the top; its card has it folded, with the boxes that hide lanes."""
    article = page[page.rindex("<article", 0, page.index('id="leading"')) :]
    assert article.startswith('<article id="witness-I4-')
    article = article[: article.index("</article>")]
    assert article.index("<details>") < article.index('class="lanes"') < article.index("</details>")
    assert page.count("<details>") == 1


def test_the_first_picture_is_typical(run: Path) -> None:
    """Of the commonest kind, then with the fewest steps; a verdict of before kinds were stated has its first one."""
    checks = json.loads((run / "verdict.json").read_text("utf-8"))["checks"]
    bad = next(check for check in checks if check["id"] == "I4")
    one = bad["witnesses"][0]
    rare = {**one, "number": 1, "kind": "rare", "steps": one["steps"][:1]}
    long, short = ({**one, "number": 2 + n, "kind": "usual", "steps": one["steps"][: 3 - n]} for n in range(2))
    found = {**bad, "witnesses": [rare, long, short], "extent": {"kinds": {"usual": 2, "rare": 1}}}
    first = leading([found])
    assert first is not None
    assert first["number"] == 3
    old = [{name: value for name, value in each.items() if name != "kind"} for each in (long, rare)]
    first = leading([{**bad, "witnesses": old, "extent": None}])
    assert first is not None
    assert first["number"] == 1
    assert leading([]) is None


def test_a_runbook_is_a_link_into_the_page(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Causes and next steps are in the page, and each counterexample section leads there; without them the path."""
    assert '<a href="#runbook-I5b">docs/runbooks/I5b.md</a>' in part(page, "counterexamples")
    assert "What to examine next" in part(page, "runbook-I5b")
    assert "<table>" in part(page, "runbook-I5b")
    monkeypatch.setattr(runbook, "ROOT", tmp_path)
    assert runbook.runbook_link("I5b") == "docs/runbooks/I5b.md"
    assert runbook.runbooks([{"id": "I5b", "name": "delivered", "outcome": "FAIL"}]) == ""


@pytest.mark.parametrize("id", [check.id for check in ALL if not check.id.startswith("H")])
def test_every_runbook_becomes_html(id: str) -> None:
    """No Markdown is left over, and each has its two parts."""
    html = runbook.html_of(runbook.written(id), id)
    assert html.count("<h4>") >= 2
    shown = re.sub(r"<(pre|code)>.*?</\1>", "", html, flags=re.DOTALL)
    assert not re.search(r"\*\*|`|\]\(|^#|<p>\||<!--", shown, re.MULTILINE)


def test_the_mark_of_the_first_violation_has_its_name() -> None:
    """Also at the right edge, and where another name stands above the plot."""
    plot = Plot("x", "", (Line("a", (0.0, 1.0), (0.0, 1.0)),))
    bands = [Band("drain", 0.9, 1.0, "drain"), Band("first violation: I12", 0.95, 0.95, "error")]
    drawn = plot_svg(plot, 1.0, bands)
    assert re.search(r'errorname" x="8\d\d\.\d+" y="\d+" text-anchor="end">first violation: I12<', drawn)
    early = plot_svg(plot, 1.0, [Band("first violation: I12", 0.1, 0.1, "error")])
    assert re.search(r'errorname" x="14\d\.\d+" y="\d+">first violation: I12<', early)


def test_reach_by_room_size(page: str) -> None:
    """Members, deliveries, latencies, owed, received, not known, reach."""
    found = plain(part(page, "rooms"))
    assert "2 1 20 20 20 1 1 0 100.00 %" in found
    assert "3 10 20 20 20 12 8 0 66.67 %" in found


@pytest.mark.parametrize(
    ("received", "missed", "shown"),
    [(0, 0, "nothing owed"), (5, 0, "100.00 %"), (1_000_000, 1, "99.99 %"), (1, 3, "25.00 %")],
)
def test_a_loss_is_never_rounded_away(received: int, missed: int, shown: str) -> None:
    assert share_of({"received": received, "missed": missed, "not_known": 9}) == shown


def test_many_room_sizes_show_the_worst(run: Path) -> None:
    """The table stays short, and the sizes with the lowest reach are in it."""
    rows = [
        {"size": n, "rooms": 1, "owed": 10, "received": 10 - (n > 190), "missed": int(n > 190), "not_known": 0}
        for n in range(2, 200)
    ]
    reach = {"rooms": rows, "deliveries": {"lost": 0}, "stored": {"lost": 0}}
    section = rooms({"latency_ms": {}, "reach": reach})
    assert section.count("<tr>") == ROOMS_MOST + 1
    assert "<td>199</td>" in section
    assert f"{198 - ROOMS_MOST} more room sizes" in section


def test_a_verdict_of_an_earlier_version(again: Callable[..., str]) -> None:
    """Without `reach` the page states that it is not known."""
    page = again(reach=None, opportunities={})
    assert "Reach is not known" in page
    assert "the verdict has no reach" in page


def test_cards_have_all_that_a_check_states(page: str) -> None:
    """Question, examined, violations, upper bound, contract line, and a link to the page of the check."""
    failed, held = part(page, "check-I5b"), part(page, "check-I1")
    for card, words in (
        (failed, "Did every member who was subscribed throughout receive every message?"),
        (failed, "13 deliveries that were due · 4 violations · rate 30.8 %"),
        (failed, "contract: delivers = true (promised)"),
        (failed, '<a href="#witness-I5b-1">'),
        (failed, '<a href="#page-I5b">'),
        (held, "12 pairs of consecutive messages · 0 violations · violation rate below 25 % (at 95 % confidence)"),
    ):
        assert words in card[: card.index("</article>")], words
    assert "contract: misses_nothing = false (never promised: an observation)" in page
    cards = re.findall(r'id="check-(\w+)"', part(page, "checks"))
    assert cards[:3] == ["I4", "I5a", "I5b"]


def test_every_link_leads_somewhere(page: str) -> None:
    """All links are inside the page; so the page of a check is part of it."""
    aims = set(re.findall(r'href="#([^"]+)"', page))
    assert aims
    assert aims <= set(re.findall(r' id="([^"]+)"', page))
    words = " ".join(part(page, "page-I4").split())
    assert "numbers from before the joining; a gap across LEAVE or another connection" in words


def test_what_would_exercise_a_check(page: str) -> None:
    """The stories that are judged by it, and the situations that did not occur."""
    idle = plain(part(page, "not-exercised"))
    assert "I36 rate-never-more Was no user granted more than the budget? earwitness run rate_limits" in idle
    assert "the contract does not promise it (" in idle
    assert "size-limit A message as long as the platform allows was acknowledged. say_long()" in idle


@pytest.mark.parametrize("id", [check.id for check in ALL if not check.id.startswith("H")])
def test_each_check_can_be_exercised(id: str) -> None:
    """The page names a story, an action, or what the platform has to promise, for every check."""
    row = {"id": id, "name": KNOWN[id].name, "promised": True, "witnesses": []}
    found = list(ways(row, Contract()))
    assert found
    assert "docs/reference" not in found[0]


def test_stories_are_read_without_importing_them() -> None:
    """`judged_by` of each story that comes with the tool."""
    found = judged_by()
    assert found["ws_reconnect"] == tuple("I1 I2 I4 I5a I5b I6 I7 I8 I12 I15 I19 I20 I21 I43".split())
    assert all(set(ids) <= set(KNOWN) and ids for ids in found.values())


def test_the_command_to_repeat(page: str) -> None:
    """Seed, users, rate, time, load processes, defects, arrivals, faults, thresholds and frames."""
    command = (
        "earwitness run ws_ordering --headless --seed 42 -u 3 -r 3 -t 1s --defect backend=drop-push:0.05 "
        "--arrivals 10/s --faults kill:backend-1@0.5s+0.2s --threshold &#x27;fan-out p99 &lt; 1 ms&#x27; --keep-frames"
    )
    assert command in part(page, "again")


def test_the_command_of_another_run() -> None:
    """A target, a story of the user's own, several load processes, no faults, an own check."""
    options = {
        "target": "chat.toml",
        "story_file": "stories/x.py",
        "faults": "none",
        "check": ["c.py"],
        "drain_s": 60.0,
    }
    run = {"planned": {"users": 9, "shape": "spike:0.5"}, "options": options, "journals": ["load-0", "load-1", "calls"]}
    assert (
        list(run_again(run, {"story": "x", "seed": 7}))
        == (
            "earwitness run stories/x.py --headless --seed 7 -u 9 --drain-s 60 --processes 2 --target chat.toml "
            "--shape spike:0.5 --faults none --check c.py"
        ).split()
    )


def test_the_command_of_an_import(tmp_path: Path) -> None:
    """There is no load to run again: the import and the judging are repeated."""
    again = part((imported_run(tmp_path / "run") / "report.html").read_text("utf-8"), "again")
    assert "earwitness import " in again
    assert "earwitness run" not in again
    assert "no load to run again" in again


def test_all_plots_of_a_run(run: Path, page: str) -> None:
    """One axis: rates, latencies from planned and real start, connections, errors, processor and memory; faults."""
    history = open_history(run)
    recorded = Recorded.of(history)
    axis = axis_of(recorded)
    assert axis is not None
    plots = {plot.title: plot for plot in plots_of(history, recorded, axis)}
    planned = plots["Acknowledgement, by the time of sending"].lines[-1]
    assert planned.name == "p99 from the planned start"
    assert planned.values == (40.0, 40.0, 40.0)
    cpu, memory = plots["Processor time, per cent of one core"], plots["Memory"]
    assert [(line.name, line.values) for line in cpu.lines] == [("backend-1", (50.0, 50.0)), ("load-0", (50.0, 50.0))]
    assert memory.lines[0].values == (61.0, 66.0, 71.0)
    section = part(page, "plots")
    assert section.count('<svg class="plot"') == 6  # there was no error to draw
    assert "No request failed and no connection was lost, so nothing is drawn." in section
    assert section.count("kill backend-1: 0.6 s to 0.8 s") == 6
    assert section.count("drain: 1.0 s to 1.2 s") == 6
    assert len(set(re.findall(r'<rect class="fault" x="([\d.]+)"', section))) == 1


def test_an_import_states_what_was_not_recorded(tmp_path: Path) -> None:
    """Processor and memory have their place in it, with the reason."""
    section = part((imported_run(tmp_path / "run") / "report.html").read_text("utf-8"), "plots")
    assert section.count("Not recorded: an imported history") == 2


def test_a_torn_run_has_all_parts(tmp_path: Path) -> None:
    """It was judged as far as it was recorded; the page states what is missing."""
    page = (failed_run(tmp_path / "run", torn=True) / "report.html").read_text("utf-8")
    assert "H1 record-complete: journal load-0 was never closed" in plain(page[: page.index('<section id="counter')])
    assert "no delivery counts as owed" in part(page, "losses")
    for id in ("counterexamples", "plots", "rooms", "losses", "figures", "checks", "health", "not-exercised", "again"):
        assert len(plain(part(page, id))) > 60, id


def test_more_lines_than_colours_are_dashed() -> None:
    """So that each line of a plot can be told from the others."""
    lines = tuple(Line(f"service {n}", (0.0, 1.0), (1.0, 2.0)) for n in range(COLOURS + 1))
    plot = Plot("Memory", "MB", lines)
    assert plot_svg(plot, 1.0, []).count('class="c0 dash"') == 1
    assert legend(plot).count('class="key k0 dash"') == 1


def test_a_long_run_has_few_points_of_each_service(run: Path) -> None:
    """Samples of a day are averaged by bin."""
    from earwitness.harness.report.page.timeline import Axis, _by_bin

    axis = Axis(0, 86_400_000_000_000)
    times, values = _by_bin(axis, [(second * 1e9, 5.0) for second in range(86_400)])
    assert len(times) == len(values) <= BINS
    assert set(values) == {5.0}


def test_the_page_of_many_counterexamples_is_small(again: Callable[..., str], run: Path) -> None:
    """A hundred failed checks with long names: later counterexamples are listed by sentence and command alone."""
    checks = json.loads((run / "verdict.json").read_text("utf-8"))["checks"]
    bad = next(check for check in checks if check["id"] == "I4")
    witness = {**bad["witnesses"][0], "sentence": "long " * 20_000}
    many = [
        {**bad, "id": f"U{n}", "witnesses": [
            {**witness, "check": f"U{n}", "number": k, "sentence": f"{k} {witness['sentence']}"} for k in range(10)
        ]}
        for n in range(100)
    ]  # fmt: skip
    page = again(checks=many)
    assert len(page.encode()) <= 3_000_000
    assert "this page is full" in page
    assert page.count('<article id="witness-U') == 1000


def test_words_of_others_are_text_everywhere(run: Path, again: Callable[..., str]) -> None:
    """A user's name, a story, a target and a reason are no markup."""
    evil = "<img src=x onerror=alert(1)>"
    page = again(story=evil, target=evil, why=evil, warnings=[evil], headline=evil)
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 5
    assert "cleo&lt;b&gt;" in page
    assert "cleo<b>" not in page


def test_docstrings_as_html() -> None:
    """Paragraphs, lists, code and emphasis."""
    assert prose("One `a<b`\nline.\n\n- first *x*\n- second") == (
        "<p>One <code>a&lt;b</code> line.</p><ul><li>first <em>x</em></li><li>second</li></ul>"
    )


def test_the_same_bytes_twice(run: Path) -> None:
    """The page does not depend on the moment or on the order of sets."""
    verdict = json.loads((run / "verdict.json").read_text("utf-8"))
    assert report_html(open_history(run), verdict) == (run / "report.html").read_bytes()


def test_phone_print_dark_and_keyboard(page: str) -> None:
    """The style has all four; what scrolls can be reached with the keyboard; paper is never dark."""
    assert "@media (max-width:600px)" in STYLE
    assert "@media print" in STYLE
    schemes = [found.strip() for found in re.findall(r"@media[^{]*prefers-color-scheme[^{]*", STYLE)]
    assert schemes == ["@media screen and (prefers-color-scheme:dark)"] * 2
    assert ":focus-visible" in STYLE
    boxes = re.findall(r'<(?:div|figure) class="scroll"[^>]*>', page)
    assert boxes
    assert all('tabindex="0"' in box and 'role="region"' in box and "aria-label=" in box for box in boxes)
    assert '<a class="skip" href="#counterexamples">' in page


def test_plots_share_their_lines() -> None:
    """A plot without a finite value is not drawn."""
    plot = Plot("x", "", (Line("a", (), ()),))
    assert not plot.drawn
    assert replace(plot, lines=(Line("a", (1.0,), (0.0,)),)).drawn


def test_the_card_of_streamed_answers(again: Callable[..., str]) -> None:
    """Counts with their shares, what was not judged, and the speed. Without answers there is no card."""
    row = {
        "streams": 30, "judged": 24, "finished": 20, "failed": 3, "broken": 1, "stalled": 2, "cut": 1, "of_several": 12,
        "differing": 0, "compared": 0, "cut_short": 4, "closed": 0, "during_faults": 2, "tokens": 99, "unanswered": 1,
        "tokens_per_s": {"p1": 9.8, "p50": 98.4},
    }  # fmt: skip
    limit = {"name": "token rate p1", "limit": 20.0, "unit": "/s", "measured": 9.8, "met": False, "at_least": True}
    card = plain(part(again(streams=row, thresholds=[limit]), "figures"))
    for words in (
        "broken off 1 4.17 % of 24", "cut for one of several listeners 1 8.33 % of 12", "none to judge",
        "not judged: cut short by the tester 4", "questions whose answer never showed a token 1",
        "at least 98.4 tokens a second", "token rate p1 9.8 /s at least 20 /s NO",
    ):  # fmt: skip
        assert words in card, words
    assert "Streamed answers" not in part(again(streams={}), "figures")


def test_plots_of_streamed_answers(tmp_path: Path, run: Path) -> None:
    """Gaps between tokens and how answers ended; the first token only where questions are named. Else no such plot."""
    events, made_of = empty(4), soup(3, steps=50)
    events["kind"], events["client"], events["conn"], events["conv"], events["author"] = Kind.RUN, 0, 1, 0, FOREIGN
    events["attempt"], events["size"] = (1, 5, 5, 6), (0, 4, 4, 0)
    events["t"] = made_of.journals[0]["t"].max() + np.arange(4) * 1_000_000
    made_of.journals[0] = np.concatenate([made_of.journals[0], events])
    made = Journaled(tmp_path / "run", made_of)
    for number in made.left:
        made.write(number, 10_000)
    made.close()
    history = open_history(made.directory.path)
    recorded = Recorded.of(history)
    axis = axis_of(recorded)
    assert axis is not None
    plots = {plot.title.split(",")[0]: plot for plot in plots_of(history, recorded, axis)}
    assert plots["Gap between two tokens of a streamed answer"].drawn
    assert plots["Streamed answers a second"].drawn
    first = plots["First token of a streamed answer"]
    assert (first.drawn, first.note) == (False, "The platform does not state which question an answer belongs to.")
    failed = open_history(run)
    recorded = Recorded.of(failed)
    titles = [plot.title for plot in plots_of(failed, recorded, axis_of(recorded))]  # type: ignore[arg-type]
    assert not any("streamed" in title for title in titles)
