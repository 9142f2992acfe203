"""A finding told whole: from a run directory with a planted swap and a planted loss to words, files and pictures."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from earwitness.checks.catalogue import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.history.record import NOBODY, NONE, Kind, Phase, empty
from earwitness.harness.cli import main
from earwitness.harness.planning.plan import Plan
from earwitness.harness.record.evidence import conclude
from earwitness.harness.record.frames import FrameStore
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.swim_svg import MARGIN, witness_svg
from earwitness.harness.report.swim_text import swim_lines, witness_text
from earwitness.harness.report.witnesses import Replicas, promise

PLAN = Plan(seed=1, tag="t4g", users=3, sizes=(3,))
ANN, BOB, CLEO = range(3)
MS = 1_000_000


class Writer:
    """One journal, a record a millisecond; every frame is kept."""

    def __init__(self, directory: RunDirectory) -> None:
        self.journal = Journal.create(
            directory.journals, "load-0", meta={"roster": PLAN.roster().digest(), "host": "a"}
        )
        self.frames = FrameStore.create(directory.journals, "load-0")
        self.t = 0

    def event(self, kind: Kind, client: int = NOBODY, *, conv: int = NOBODY, counter: int = 0, seq: int = NONE) -> None:
        self.t += MS
        conn = 0 if client == NOBODY else client + 1
        self.journal.write(self.t, kind, 0, 0, 0, client, conn, conv, NOBODY, counter, seq, NONE, 0, 0)

    def about(self, kind: Kind, client: int, author: int, counter: int, seq: int = NONE) -> None:
        self.t += MS
        conn = 0 if client == NOBODY else client + 1
        digest = author * 1000 + counter
        n = self.journal.write(self.t, kind, 0, 1, author + 1, client, conn, 0, author, counter, seq, NONE, 10, digest)
        self.frames.said(n, f'{{"<script>": "{kind.name} #{counter} \x1b[31m"}}')


def spoilt_run(path: Path) -> Path:
    """Three people in a room. Bob hears Ann's #2 before #1; Cleo never hears Ann's #3."""
    directory = RunDirectory.at(path)
    contract = Contract(sequence="contiguous", names_sender=False, history=False).to_dict()
    directory.update(tag="t4g", plan=PLAN.to_dict(), contract=contract, journals=["load-0"], seed=1, story="literal",
                     target={"kind": "reference"}, judged_by=["I1"])  # fmt: skip
    directory.write_roster(PLAN.roster(), PLAN.origin)
    w = Writer(directory)
    for client in (ANN, BOB, CLEO):
        w.event(Kind.CONNECT, client)
        w.event(Kind.JOIN, client, conv=0, seq=0)
    for n in (1, 2, 3):
        w.about(Kind.INVOKE, ANN, ANN, n)
        w.about(Kind.OK, ANN, ANN, n, seq=n)
    for client, heard in ((ANN, (1, 2, 3)), (BOB, (2, 1, 3)), (CLEO, (1, 2))):
        for n in heard:
            w.about(Kind.DELIVER, client, ANN, n, seq=n)
    w.event(Kind.PHASE, counter=int(Phase.DRAIN))
    w.event(Kind.PHASE, counter=int(Phase.DRAINED))
    w.frames.close()
    w.journal.close({"lag_ms": {"p99": 1.0}})
    conclude(directory)
    return path


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return spoilt_run(tmp_path / "run")


def check(*args: object) -> int:
    return main(["check", *map(str, args)])


@pytest.fixture
def verdict(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The verdict that a normal judging wrote; `text` is what it printed."""
    assert check(run_dir) == 1
    told: dict[str, Any] = json.loads((run_dir / "verdict.json").read_text())
    told["text"] = capsys.readouterr().out
    return told


def of(verdict: dict[str, Any], id: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in verdict["checks"] if row["id"] == id)
    return row


def test_the_verdict_has_the_whole_witness(verdict: dict[str, Any]) -> None:
    """Sentence, readable records with their frames, promise, command and swim-lane, for each finding."""
    row = of(verdict, "I1")
    (witness,) = row["witnesses"]
    assert witness["sentence"] == (
        "bob-1 received #2 of ann-0 before #1 of ann-0 in r0-of-3, although ann-0 sent #1 first on the same connection"
    )
    assert witness["promise"] == {
        "check": "I1",
        "title": "Did everyone receive each sender's messages in the order in which they were sent?",
        "statement": "Messages of one author on one connection to one conversation keep their order.",
        "contract": {"ordered": True},
    }
    about = [witness[key] for key in ("room", "members", "user", "message")]
    assert about == ["r0-of-3", 3, "bob-1", "#1 of ann-0"]
    assert [record.get("wrong") for record in witness["records"]] == [None, None, None, "too early", "too late"]
    assert witness["records"][-1]["words"].endswith("as number 1 – too late")
    assert witness["command"].endswith("check run --only I1 --witness 1")
    said, *_ = records = witness["records"]
    assert 2 <= len(records) <= 6
    assert (said["journal"], said["index"], said["kind"], said["at_ms"]) == ("load-0", 7, "invoke", 0.0)
    assert (said["author"], said["counter"], said["conversation"]) == (ANN, 1, 0)
    assert said["words"] == "ann-0 (connection 1) sends #1 of ann-0 in r0-of-3"
    assert "INVOKE #1" in said["frame"]
    assert [record["kind"] for record in records] == ["invoke", "ok", "invoke", "deliver", "deliver"]
    assert {record["kind"] for record in witness["context"]} == {"deliver", "ok"}
    assert witness["lanes"][:3] == ["ann-0", "platform", "bob-1"]


def test_who_else_heard_it_stands_beside(verdict: dict[str, Any]) -> None:
    """A loss shows how it was sent, that others heard it, and who never did."""
    (witness,) = of(verdict, "I5b")["witnesses"]
    steps = [(step["at_ms"] is None, step["label"], step["proof"]) for step in witness["steps"]]
    assert steps == [
        (False, "joins at number 0", True),
        (False, "sends #3", True),
        (False, "accepted #3 as 3", True),
        (False, "3 · #3 of ann-0", False),
        (False, "3 · #3 of ann-0", False),
        (True, "never receives #3 of ann-0", True),
    ]


def test_the_terminal_says_how_to_see_it_alone(
    verdict: dict[str, Any], capsys: pytest.CaptureFixture[str], run_dir: Path
) -> None:
    """The command printed for each finding works as it stands, and shows the finding whole."""
    for id in ("I1", "I4", "I5b"):
        for witness in of(verdict, id)["witnesses"]:
            assert witness["command"] in verdict["text"]
            words = shlex.split(witness["command"])
            before = sorted((path, path.stat().st_mtime_ns) for path in run_dir.rglob("*"))
            assert main(words[1:]) == 1
            out = " ".join(capsys.readouterr().out.split())
            assert witness["sentence"] in out
            assert witness["promise"]["statement"] in out
            assert all(record["words"] in out for record in witness["records"])
            assert sorted((path, path.stat().st_mtime_ns) for path in run_dir.rglob("*")) == before


def test_a_swim_lane_in_the_terminal(verdict: dict[str, Any]) -> None:
    """Time downwards, a lane a device and one for the platform; heavy arrows prove, a cross is what never came."""
    (witness,) = of(verdict, "I5b")["witnesses"]
    assert swim_lines(witness, 104) == [
        "                   ann-0         platform        cleo-2         bob-1",
        "   +0.000 ms         │              ●━━━━━━━━━━━━━▶│              │         joins at number 0",
        "   +5.000 ms         ●━━━━━━━━━━━━━▶│              │              │         sends #3",
        "   +6.000 ms         │◀━━━━━━━━━━━━━●              │              │         accepted #3 as 3",
        "   +9.000 ms         │◀─────────────○              │              │         3 · #3 of ann-0",
        "  +12.000 ms         │              ○────────────────────────────▶│         3 · #3 of ann-0",
        "                     │              │              ✗              │         never receives #3 of ann-0",
    ]
    narrow = swim_lines(witness, 60)
    assert max(map(len, narrow)) <= 14 + 4 * 11 + 2 + len("never receives #3 of ann-0")


def test_only_some_checks(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By id or name, listed or repeated; the record's own health is always with them, and nothing is written."""
    assert check(run_dir, "--only", "I4,i6", "--only", "per-sender-fifo", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in told["checks"]] == ["I1", "I4", "I6"]
    assert [row["id"] for row in told["harness"]] == [c.id for c in ALL if c.id.startswith("H")]
    assert check(run_dir, "--only", "I6") == 0
    assert check(run_dir, "--only", "H1") == 3  # nothing of the platform was judged
    assert not (run_dir / "verdict.json").exists()
    assert not (run_dir / "witnesses").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "I99"], "--only: there is no check 'i99'; there are H1,"),
        (["--only", " , "], "--only: there are H1,"),
        (["--only", "I1", "--witness", "2"], "--witness: I1 has no finding 2: the first 1 of 1 findings are kept."),
        (["--only", "I1", "--witness", "0"], "I1 has no finding 0"),
        (["--only", "I6", "--witness", "1"], "--witness: I6 no-duplication has no finding here, it is PASS."),
        (["--only", "H1", "--witness", "1"], "H1 record-complete has no finding here"),
        (["--witness", "1"], "--witness: name one check"),
        (["--only", "I1,I4", "--witness", "1"], "--witness: name one check"),
        (["--svg", "x.svg"], "--svg: name the finding"),
        (["--only", "I1", "--witness", "1", "--svg", "nowhere/x.svg"], "Cannot write nowhere/x.svg: No such file"),
    ],
)
def test_mistakes_are_one_sentence(
    run_dir: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """What cannot be told is said in one line, with exit code 2."""
    assert check(run_dir, *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_pictures_of_each_failure(verdict: dict[str, Any], run_dir: Path, tmp_path: Path) -> None:
    """A normal judging draws them, replaces those of an earlier verdict, and --svg draws the same one anywhere."""
    drawn = sorted(path.name for path in (run_dir / "witnesses").iterdir())
    expected = [w["svg"] for row in verdict["checks"] for w in row["witnesses"] if w["svg"]]
    assert [f"witnesses/{name}" for name in drawn] == sorted(expected)
    assert "I1-1.svg" in drawn
    (run_dir / "witnesses" / "I6-1.svg").write_text("of an earlier verdict")
    assert check(run_dir) == 1
    assert sorted(path.name for path in (run_dir / "witnesses").iterdir()) == drawn
    assert check(run_dir, "--only", "I1", "--witness", "1", "--svg", tmp_path / "one.svg") == 1
    assert (tmp_path / "one.svg").read_bytes() == (run_dir / "witnesses" / "I1-1.svg").read_bytes()


TITLE_LETTER_PX = 8.8
"""As measured in a browser with DejaVu Sans, bold, 15 px."""


def words_of(svg: bytes) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def test_a_picture_needs_nothing_else_and_obeys_nobody(verdict: dict[str, Any]) -> None:
    """No script, link or outside file; names that look like markup are text; both colour schemes are styled."""
    row = of(verdict, "I1")
    (witness,) = row["witnesses"]
    evil = "<script>alert(1)</script>&\x00\ud800"
    witness = {**witness, "lanes": [evil, *witness["lanes"][1:]], "sentence": evil}
    svg = witness_svg(witness, row)
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "title", "style", "rect", "text", "line", "circle", "polygon", "g"}
    assert b"<script" not in svg
    assert svg.count(b"http") == 1  # the namespace
    assert b"prefers-color-scheme: dark" in svg
    assert any(words.startswith("<script>alert(1)</script>&\\x00") for words in words_of(svg))


def test_a_picture_says_what_the_words_say(verdict: dict[str, Any]) -> None:
    """Every step's label, every lane and the broken promise stand in it, within its width."""
    for id in ("I1", "I5b"):
        row = of(verdict, id)
        (witness,) = row["witnesses"]
        svg = witness_svg(witness, row)
        words = words_of(svg)
        for text in (*witness["lanes"], *(step["label"] for step in witness["steps"])):
            assert text in words
        assert witness["promise"]["statement"] in " ".join(words)
        width = float(ET.fromstring(svg).get("width", ""))
        places = [float(e.get(key, "0")) for e in ET.fromstring(svg).iter() for key in ("x", "x1", "x2", "cx")]
        assert min(places) >= 0
        assert max(places) <= width
        title = ["".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.get("class") == "title"]
        assert " ".join(title) == witness["sentence"]
        assert max(map(len, title)) * TITLE_LETTER_PX <= width - 2 * MARGIN


def test_what_is_wrong_is_red(verdict: dict[str, Any]) -> None:
    """The crossed pair has lines of its own kind with the reason below; the legend explains room and numbers."""
    row = of(verdict, "I1")
    svg = witness_svg(row["witnesses"][0], row)
    lines = [e for e in ET.fromstring(svg).iter() if e.tag.endswith("line") and e.get("class") == "wrong"]
    assert len(lines) == 3  # two arrows, and the legend's
    words = words_of(svg)
    assert {"too early", "too late", "is wrong", "“r0-of-3” is the room r0 with 3 members"} <= set(words)
    assert any(line.startswith("“1 · #1 of ann-0”: message 1 of ann-0, to which the platform gave") for line in words)
    assert b".wrong { stroke: #cf222e" in svg
    shown = swim_lines(row["witnesses"][0], 100)
    assert any(line.endswith("✗ 1 · #1 of ann-0 – too late") for line in shown)


def test_a_verdict_of_an_earlier_version_is_drawn(verdict: dict[str, Any]) -> None:
    """Its steps say nothing of what is wrong, and its room has no size."""
    row = of(verdict, "I1")
    steps = [{key: value for key, value in step.items() if key != "wrong"} for step in row["witnesses"][0]["steps"]]
    svg = witness_svg({**row["witnesses"][0], "steps": steps, "room": None}, row)
    assert b"is wrong" not in svg


def test_records_name_the_replica_of_their_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the CONNECT record names it; where it names none, the connection stands alone."""
    monkeypatch.setattr(Replicas, "of", lambda self, journal, conn: "backend-2" if conn == 2 else None)
    (witness,) = of(judge_run(spoilt_run(tmp_path / "run")), "I1")["witnesses"]
    assert "(connection 1) sends" in witness["records"][0]["words"]
    assert "(connection 2, backend-2) receives" in witness["records"][-1]["words"]


def test_the_replica_of_a_connection() -> None:
    """The latest CONNECT of a connection counts; one without a name, or no such connection, is None."""
    records = empty(4)
    records["kind"], records["conn"] = Kind.CONNECT, (1, 2, 1, 3)
    records["author"] = (7, 8, 8, NOBODY)
    view = SimpleNamespace(records=records, names={7: "backend-1", 8: "backend-2"})
    replicas = Replicas(SimpleNamespace(journals=[view]))  # type: ignore[arg-type]
    assert [replicas.of(0, conn) for conn in (1, 2, 3, 9)] == ["backend-2", "backend-2", None, None]


def test_a_picture_of_one_lane_has_room_for_its_labels(verdict: dict[str, Any]) -> None:
    """What happened inside the platform is written beside its lane, in full and within the width."""
    row = of(verdict, "I1")
    words = "calls frontend/auth: refused, breaker open"
    step = {"at_ms": 1.0, "from": 0, "to": 0, "label": words, "proof": True}
    svg = witness_svg({**row["witnesses"][0], "lanes": ["platform"], "steps": [step]}, row)
    assert words in words_of(svg)
    place = next(e for e in ET.fromstring(svg).iter() if "".join(e.itertext()) == words and e.get("class") is None)
    assert place.get("text-anchor") is None  # it begins at the lane, to the right
    assert float(place.get("x", "")) + len(words) * 7.4 <= float(ET.fromstring(svg).get("width", ""))


def test_a_long_label_is_wrapped_and_not_cut(verdict: dict[str, Any]) -> None:
    """All of its words stand above its arrow, which is as much lower; so the picture is higher."""
    row = of(verdict, "I1")
    step = {"at_ms": 1.0, "from": 0, "to": 1, "label": "sets edit of #3 of eve: version 3, text b5311c74: accepted",
            "proof": True}  # fmt: skip
    short, long = (
        ET.fromstring(witness_svg({**row["witnesses"][0], "lanes": ["eve", "platform"], "steps": [one]}, row))
        for one in ({**step, "label": "accepted"}, step)
    )
    lines = words_of(ET.tostring(long))
    at = lines.index("sets edit of #3 of")
    assert " ".join(lines[at : at + 6 : 2]) == step["label"]
    assert not any("…" in words for words in lines)
    assert float(long.get("height", "")) == float(short.get("height", "")) + 2 * 15


def test_frames_cannot_command_the_terminal(verdict: dict[str, Any]) -> None:
    """Control characters of a frame are shown, not obeyed."""
    row = of(verdict, "I1")
    text = witness_text(row["witnesses"][0], row, 100)
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


def test_junit_carries_sentence_and_command(verdict: dict[str, Any], run_dir: Path) -> None:
    """A CI shows what happened and how to see it."""
    cases = ET.parse(run_dir / "junit.xml").getroot().iter("testcase")
    failure = next(case for case in cases if case.get("name") == "I1 per-sender-fifo").find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "bob-1 received #2 of ann-0 before #1" in failure.text
    assert "--only I1 --witness 1" in failure.text
    assert ": bob-1 received #2 of ann-0 before #1" in str(failure.get("message"))


def test_junit_says_what_was_not_exercised_and_how_to_repeat_the_run(verdict: dict[str, Any], run_dir: Path) -> None:
    """Checks that examined nothing and do not count are skipped; the seed is a property; a swim-lane is the output."""
    suite = ET.parse(run_dir / "junit.xml").getroot()
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    idle = [f"{c['id']} {c['name']}" for c in verdict["checks"] if not c["counts"] and not c["examined"]]
    assert idle
    skipped = [cases[name].find("skipped") for name in idle]
    assert [one is not None and one.get("message") for one in skipped] == ["not exercised"] * len(idle)
    assert suite.get("skipped") == str(len(idle))
    assert suite.get("tests") == str(len(cases))
    named = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert named["seed"] == str(verdict["seed"])
    output = cases["I1 per-sender-fifo"].findtext("system-out") or ""
    assert "finding 1 of" in output


def test_a_run_without_frames_has_none(run_dir: Path) -> None:
    """Frames are an addition: without the file the witness is the same but for them."""
    (run_dir / "journals" / "load-0.frames").unlink()
    (witness,) = of(judge_run(run_dir), "I1")["witnesses"]
    assert all("frame" not in record for record in witness["records"])


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.id)
def test_where_a_promise_stands(one: Any) -> None:
    """The keys that decide are those that the check itself looks at; what is promised says which they are."""
    contract = Contract(
        sequence="contiguous", idempotent=True, resume=True, delivery_bound_s=2.0, revocation_bound_s=1.0,
        sync_bound_s=1.0, rate_per_s=5.0, rate_burst=5.0,
    )  # fmt: skip
    keys = promise(one, contract)
    assert all(getattr(contract, key) == value for key, value in keys.items())
    assert keys or one.promised(Contract())


def test_a_finding_about_numbers_finds_its_messages(verdict: dict[str, Any]) -> None:
    """A gap names no message: who sent and heard the missing numbers is found by their numbers."""
    witness = next(
        w for w in of(verdict, "I4")["witnesses"] if "never received" in w["sentence"] or "later" in w["sentence"]
    )
    told = [step["label"] for step in witness["steps"]]
    assert "sends #1" in told
    assert any(label == "1 · #1 of ann-0" for label in told)


def test_the_witness_as_json(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints the witness as verdict.json has it."""
    assert check(run_dir, "--only", "I1", "--witness", "1", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["sentence"].startswith("bob-1 received")
    assert told == of(judge_run(run_dir), "I1")["witnesses"][0]
