"""What a simple recorder writes can be read, and is judged; what is no history is refused in a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.checks.history.record import NOBODY, Kind
from earwitness.harness.cli import main
from earwitness.harness.errors import Exit, RecordError
from earwitness.harness.platform.children import module_environment
from earwitness.harness.record.history import open_history
from earwitness.harness.record.importer import import_history
from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.terminal import verdict_text

DEADLINE_S = 30.0

SIMPLE = [
    {"roster": {"members": {"general": ["ann", "bob", "eve"]}}},
    {"kind": "connect", "client": "ann", "time_ns": 1},
    {"kind": "connect", "client": "bob-phone", "user": "bob", "time_ns": 2},
    {"kind": "join", "client": "ann", "conversation": "general", "seq": 0, "time_ns": 3},
    {"kind": "join", "client": "bob-phone", "conversation": "general", "seq": 0, "time_ns": 4},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m1", "text": "hi", "time_ns": 5},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m2", "text": "you", "time_ns": 6},
    {"kind": "info", "client": "ann", "message": "m2", "time_ns": 7},
    {"kind": "invoke", "client": "ann", "conversation": "general", "message": "m2", "text": "you", "time_ns": 8},
    {"kind": "ok", "client": "ann", "message": "m1", "seq": 1, "time_ns": 9},
    {"kind": "deliver", "client": "bob-phone", "message": "m1", "sender": "ann", "seq": 1, "text": "ho", "time_ns": 10},
    {"kind": "deliver", "client": "ann", "message": "m2", "sender": "bob", "seq": 2, "time_ns": 11},
    {"kind": "disconnect", "client": "ann", "flags": ["own"], "time_ns": 12},
    {"kind": "connect", "client": "ann", "time_ns": 13},
]  # fmt: skip


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_simple_recorder_can_be_read(tmp_path: Path) -> None:
    """From names alone: clients, users, members, connections, counters, attempts and digests are derived."""
    file = write_lines(tmp_path / "h.jsonl", SIMPLE)
    assert import_history(file, tmp_path / "run") == len(SIMPLE) - 1
    history = open_history(tmp_path / "run")
    assert history.roster.to_dict() == {
        "user_of": [1, 0],
        "conversations": [[0, 1, 2]],
        "user_names": ["bob", "ann", "eve"],
        "conversation_names": ["general"],
        "extra": {},
    }
    assert history.run["contract"]["name"] == "h"
    (batch,) = history.batches()
    got = batch.records
    assert got["conn"].tolist() == [1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 3]
    messages = got[(got["author"] != NOBODY)]
    assert messages["counter"].tolist() == [1, 2, 2, 2, 1, 1, 2]
    assert messages["attempt"].tolist() == [1, 1, 1, 2, 1, 1, 2]
    assert set(messages["author"].tolist()) == {0}
    heard = got[got["kind"] == Kind.DELIVER]
    sent = got[got["kind"] == Kind.INVOKE]
    assert heard["aux"].tolist() == [0, 1], "senders by the name of a client or a user"
    assert heard["proc"].tolist() == [1, 1]
    assert heard["digest"][0] != sent["digest"][0], "another text is another digest"
    assert heard["digest"][1] == sent["digest"][1], "a delivery without text is taken for unchanged"


@pytest.mark.parametrize("sequence", ["none", "contiguous"])
def test_numbers_that_no_contract_speaks_of(tmp_path: Path, sequence: str) -> None:
    """What is in the history and not judged is said; with the promise there is nothing to say."""
    contract = tmp_path / "contract.toml"
    contract.write_text(f'sequence = "{sequence}"')
    import_history(write_lines(tmp_path / "h.jsonl", SIMPLE), tmp_path / "run", contract)
    warnings = judge_run(tmp_path / "run")["warnings"]
    assert [warning[:21] for warning in warnings] == ["messages have numbers"] * (sequence == "none")


def test_the_reason_of_a_close_frame(tmp_path: Path) -> None:
    """Code and reason of a `disconnect` row are counted in the verdict."""
    rows = [*SIMPLE, {"kind": "disconnect", "client": "ann", "code": 4001, "reason": "bye", "time_ns": 14}]
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    expected = {"by": "platform", "code": 4001, "reason": "bye", "count": 1}
    assert expected in judge_run(tmp_path / "run")["endings"]


@pytest.mark.parametrize("promised", [True, False])
def test_missed_live(tmp_path: Path, promised: bool) -> None:
    """What a member's device never got is a figure of every verdict, and a violation where the contract promises it."""
    bob = {"client": "bob", "conversation": "general"}
    sent = {"client": "ann", "conversation": "general", "text": "hi"}
    rows: list[dict[str, Any]] = [
        {"roster": {"members": {"general": ["ann", "bob"]}}},
        {"kind": "join", "client": "ann", "conversation": "general", "connection": 1},
        {"kind": "join", **bob, "connection": 2},
        {"kind": "invoke", **sent, "message": "m1", "connection": 1},
        {"kind": "ok", "client": "ann", "message": "m1", "connection": 1},
        {"kind": "deliver", "client": "bob", "message": "m1", "connection": 2},
        {"kind": "disconnect", "client": "bob", "code": 1000, "connection": 2},
        {"kind": "invoke", **sent, "message": "m2", "connection": 1},
        {"kind": "ok", "client": "ann", "message": "m2", "connection": 1},
        {"kind": "join", **bob, "connection": 3},
        {"kind": "phase", "phase": "drained"},
    ]
    rows[1:] = [{**row, "time_ns": at} for at, row in enumerate(rows[1:], 1)]
    contract = tmp_path / "contract.toml"
    contract.write_text(f"history = false\necho = false\nmisses_nothing = {str(promised).lower()}\n")
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run", contract)
    verdict = judge_run(tmp_path / "run")
    assert verdict["missed_live"] == {"missed": 1, "owed": 2, "devices": 1, "not_known": 0}
    assert "  missed live: 1 of 2 messages due to members' devices never came (1 device)" in verdict_text(verdict)
    assert (verdict["outcome"] == "FAIL") is promised


def test_numbers_without_a_roster(tmp_path: Path) -> None:
    """Clients by number are a user each; a conversation's members are those who joined it."""
    rows = [
        {"kind": "connect", "client": 1, "time_ns": 1},
        {"kind": "join", "client": 1, "conversation": 0, "time_ns": 2},
        {"kind": "invoke", "client": 1, "conversation": 0, "counter": 9, "time_ns": 3},
        {"kind": "deliver", "client": 1, "conversation": 0, "author": 1, "counter": 9, "time_ns": 4},
    ]
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    history = open_history(tmp_path / "run")
    assert history.roster.to_dict()["user_of"] == [0, 1]
    assert history.roster.to_dict()["conversations"] == [[1]]
    assert history.journals[0].records["proc"].tolist() == [0, 0, 1, 1]


def connected(row: dict[str, Any]) -> list[Any]:
    return [{"kind": "connect", "client": "ann", "time_ns": 1}, {"client": "ann", "time_ns": 2, **row}]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (['{"kind"'], r"h\.jsonl:1: expected a JSON object, this is no JSON"),
        (["", "[]"], r"h\.jsonl:2: expected a JSON object, not list\."),
        (connected({"kind": "shout"}), r"h\.jsonl:2: 'kind' is 'shout': choose one of invoke, ok, fail"),
        (connected({"kind": []}), r"h\.jsonl:2: 'kind' is \[\]"),
        (connected({}), r"h\.jsonl:2: 'kind' is missing, and this is none of the headers"),
        (connected({"kind": "deliver"}), r"2: a deliver needs 'message' \(as in its invoke row\), or 'author' and"),
        (connected({"kind": "ok", "message": "x"}), r"2: message 'x' has no 'invoke' row before this one"),
        (connected({"kind": "join", "conversation": "c", "message": "x"}), r"2: 'message' is no column of a row"),
        (connected({"kind": "join", "conversation": "c", "sender_id": "x"}), r"2: 'sender_id' is no column of a row"),
        (connected({"kind": "seen", "state": "edit", "message": "x"}), r"2: message 'x' has no 'invoke' row before"),
        (connected({"kind": "invoke"}), r"2: 'conversation' is missing: expected where the message was sent"),
        (connected({"kind": "join", "conversation": "c", "author": "ann"}), r"2: 'author' is no column of a row"),
        (connected({"kind": "kick", "conversation": "c", "seq": 3}), r"2: 'seq' is no column of a row of kind kick"),
        (connected({"kind": "ok", "text": "hi"}), r"2: 'text' is no column of a row of kind ok, which may have"),
        (connected({"kind": "seen", "state": "profile", "message": "x"}), r"2: 'message' stands in rows of the s"),
        (connected({"kind": "seen", "state": "edit", "author": "ann", "version": 2}), r"2: a seen of an edit needs"),
        (connected({"kind": "fail", "code": 429, "aux": 1}), r"2: the columns 'code' and 'aux' mean the same here"),
        (connected({"kind": "connect", "connection": 4 * 10**9}), r"2: 'connection' is 4000000000: expected less than"),
        (connected({"kind": "join"}), r"2: 'conversation' is missing: expected which one the join is about"),
        (connected({"kind": "join", "seen_seq": 1}), r"2: 'seen_seq' is no column of a row of kind join, which may"),
        (connected({"kind": "join", "conversation": -1}), r"2: 'conversation' is -1: expected 0 to 4294967295\."),
        (connected({"kind": "join", "seq": "1"}), r"2: 'seq' is '1': expected a whole number\."),
        (connected({"kind": "connect", "flags": "own"}), r"2: 'flags' is 'own': expected a list of corrupt, misrouted"),
        (connected({"kind": "join", "client": 3}), r"2: client 3 is a number, but earlier rows give names"),
        (connected({"kind": "connect", "client": None}), r"2: client is None: expected a number or a name"),
        (
            connected({"kind": "phase", "phase": "over"}),
            r"2: 'phase' is 'over': choose one of load, drain, drained, clock_step\.",
        ),
        (connected({"kind": "connect", "time_ns": 1.5}), r"2: 'time_ns' is 1\.5: expected a whole number\."),
        (connected({"kind": "connect", "journal": 3}), r"2: 'journal' is 3: expected a name\."),
        ([{"kind": "deliver", "client": 1, "time_ns": 1}], r"1: a deliver needs a 'connect' row of its client before"),
        ([{"kind": "connect", "client": 1}], r"1: 'time_ns' is missing: expected a whole number\."),
        ([{"kind": "connect", "time_ns": 1}], r"1: 'client' is missing: expected who recorded this connect\."),
        ([{"earwitness": 2}], r"1: the schema is version 2, this earwitness reads version 1\."),
        ([{"roster": {}}], r"1: the header 'roster' needs 'members'"),
        ([{"roster": {"members": {"general": "ann"}}}], r"1: the header 'roster' needs 'members'"),
        ([{"roster": {"members": {"general": [None]}}}], r"1: a member of 'general' is None: expected a name or"),
        ([{"run": []}], r"1: in the header 'run' the run is \[\]: expected an object\."),
        ([{"run": {"judged_by": "I1"}}], r"1: in the header 'run' 'judged_by' is 'I1': expected a list of ids"),
        ([{"run": {"judged_by": [1]}}], r"1: in the header 'run' 'judged_by' is 1: expected a text\."),
        ([{"run": {"contract": {"swift": 1}}}], r"1: in the header 'run' 'contract' is not understood: swift is not"),
        ([{"roster": {"user_of": [[1]], "conversations": []}}], r"1: the header 'roster' is not understood"),
        ([{"roster": {"user_of": [0], "conversations": ["x"]}}], r"1: the header 'roster' is not understood"),
        ([{"journal": {"name": "j", "footer": {"lag_ms": 3}}}], r"1: in the header 'journal' 'footer\.lag_ms' is 3"),
        ([{"journal": {"name": "j", "footer": {"frames_in": "x"}}}], r"1: in the header 'journal' 'footer\.frames"),
        ([{"journal": {"name": "j", "footer": {"load": 1}}}], r"1: in the header 'journal' 'footer\.load' is 1"),
        ([{"journal": {}}], r"1: in the header 'journal' 'name' is missing\."),
        ([{"kind": "connect", "client": 10**8, "time_ns": 1}], r"Client number 100000000 is too large"),
        ([{"roster": {"user_of": [0], "conversations": []}}, *connected({"kind": "connect", "client": "b"})],
         r"client 1 is not in its roster, which has 1 clients\."),
        ([], r"h\.jsonl holds no records\."),
    ],
)  # fmt: skip
def test_malformed_lines(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    """The first thing that is wrong is one sentence with file and line; nothing is left behind."""
    with pytest.raises(RecordError, match=sentence):
        import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kind", "client", "time_ns", "conversation", "message", "text", "flags", "sender", "roster"]),
        st.one_of(
            *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(st.text(), st.none(), max_size=1),
            st.sampled_from(["connect", "invoke", "deliver", "identity"]),
        ),
    )
)
def test_no_line_makes_a_traceback(row: dict[str, Any]) -> None:
    """Whatever a line holds, it is imported or refused in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_lines(Path(folder) / "h.jsonl", [{"kind": "connect", "client": 0, "time_ns": 0}, row])
        said = "."
        try:
            import_history(file, Path(folder) / "run")
        except RecordError as error:
            said = str(error)
        assert said.endswith(".")


def test_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`earwitness import` and `earwitness export` end with 0, or with 2 and one sentence."""
    file = write_lines(tmp_path / "h.jsonl", SIMPLE)
    contract = tmp_path / "contract.toml"
    contract.write_text('[contract]\nname = "mine"\ndelivery_bound_s = 2.0\n')
    run = str(tmp_path / "run")
    assert main(["import", str(file), "-o", run, "--contract", str(contract)]) == 0
    assert open_history(run).run["contract"]["delivery_bound_s"] == 2.0
    assert main(["export", run, "-o", str(tmp_path / "out.jsonl")]) == 0
    assert main(["import", str(file), "-o", run]) == 2
    assert main(["export", run, "-o", str(tmp_path / "out.csv")]) == 2
    assert main(["import", str(tmp_path / "absent.jsonl"), "-o", str(tmp_path / "r2")]) == 2
    contract.write_text("orderd = true")
    assert main(["import", str(file), "-o", str(tmp_path / "r2"), "--contract", str(contract)]) == 2
    said = capsys.readouterr().err
    for sentence in (
        "is not empty: a run needs a directory of its own.",
        "out.csv: give the file the ending .parquet or .jsonl.",
        "absent.jsonl: No such file or directory.",
        "orderd is not known here (did you mean ordered?)",
    ):
        assert sentence in said
    assert not (tmp_path / "r2").exists()


def test_the_documented_recorder_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example in docs/history-schema.md runs, imports and passes every check that it gives something to look at;
    with one delivery of it spoilt it fails."""
    text = (Path(__file__).parents[2] / "docs" / "history-schema.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(text.split("```python\n")[1].split("```")[0], "history-schema.md", "exec"), {})
    file = tmp_path / "history.jsonl"
    for spoilt in (False, True):
        if spoilt:
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if '"bob"' not in line or '"m2"' not in line))
        import_history(file, tmp_path / f"run{spoilt}")
        verdict = judge_run(tmp_path / f"run{spoilt}")
        assert verdict["outcome"] == ("FAIL" if spoilt else "PASS"), verdict["why"]
        failed = [check["id"] for check in verdict["checks"] if check["outcome"] == "FAIL" and check["promised"]]
        assert failed == (["I5b"] if spoilt else [])
        seen = {check["id"] for check in verdict["checks"] if check["examined"] and check["counts"]}
        assert seen >= {"I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"}


def spoken(members: Any, people: tuple[Any, Any], room: Any, *, join: bool = True, **more: Any) -> list[Any]:
    """Two people, of whom one says something and both hear it; `more` stands in their connect rows."""
    rows: list[Any] = [] if members is None else [{"roster": {"members": members}}]
    for who in people:
        rows.append({"kind": "connect", "client": who, **{key: told[who] for key, told in more.items()}})
        rows += [{"kind": "join", "client": who, "conversation": room, "seq": 0}] if join else []
    rows.append({"kind": "invoke", "client": people[0], "conversation": room, "message": "m1"})
    rows.append({"kind": "ok", "client": people[0], "message": "m1", "seq": 1})
    rows += [{"kind": "deliver", "client": who, "message": "m1", "seq": 1} for who in people]
    return [{"time_ns": n, **row} if "kind" in row else row for n, row in enumerate(rows)]


NAMED = {"ann": "a", "bob": "b"}
FITTING = [
    ("names", spoken({"general": ["ann", "bob"]}, ("ann", "bob"), "general")),
    ("names of clients, not of users", spoken({"general": ["ann", "bob"]}, ("ann", "bob"), "general", user=NAMED)),
    ("names of users, not of clients", spoken({"general": ["a", "b"]}, ("ann", "bob"), "general", user=NAMED)),
    ("numbers", spoken({"0": [0, 1]}, (0, 1), 0)),
    ("numbers of users", spoken({"general": [1, 0]}, ("ann", "bob"), "general", user={"ann": 0, "bob": 1})),
    ("without join rows", spoken({"general": ["ann", "bob"]}, ("ann", "bob"), "general", join=False)),
    ("without a roster", spoken(None, ("ann", "bob"), "general")),
]


@pytest.mark.parametrize("rows", [rows for _, rows in FITTING], ids=[name for name, _ in FITTING])
def test_members_are_whom_the_roster_means(tmp_path: Path, rows: list[Any]) -> None:
    """Whoever is a member, by whatever name or number, hears what is said; nobody else is one."""
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    roster = open_history(tmp_path / "run").roster
    assert [sorted(members) for members in roster.conversations] == [sorted(roster.user_of)]
    broken = [check["id"] for check in judge_run(tmp_path / "run")["checks"] if check["outcome"] == "FAIL"]
    assert broken == []


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (spoken({"0": ["ann"]}, (0, 1), 0), r"The roster names a user 'ann', the rows give numbers: use one"),
        (spoken({"general": [0]}, ("ann", "bob"), "general"), r"gives a user as 0, the rows give names: use one of"),
        (spoken({"general": [0]}, (0, 1), 0), r"names a conversation 'general', the rows give numbers: use one of the"),
        (spoken(None, ("ann", "bob"), "general", join=False), r"No client joined the conversation 'general': write"),
        (spoken({"dm": ["ann"]}, ("ann", "bob"), "general", join=False), r"No client joined the conversation 'gen"),
        (spoken(None, (0, 1), 10**9), r"Conversation number 1000000000 is too large: numbers count from 0, or use"),
        (spoken({"general": [10**8]}, ("ann", "bob"), "general", user={"ann": 0, "bob": 1}), r"User number 100000000"),
    ],
)  # fmt: skip
def test_a_roster_that_does_not_fit(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    """What would make members strangers is a sentence, not a violation; nothing is left behind."""
    with pytest.raises(RecordError, match=sentence):
        import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["deliver", "stored"])
def test_what_nobody_sent(tmp_path: Path, kind: str) -> None:
    """A message that is heard or stored without having been sent is no malformed row: it is what I8 looks for."""
    rows = spoken(None, ("ann", "bob"), "general")
    rows.append({"kind": kind, "client": "bob", "conversation": "general", "message": "ghost", "time_ns": 99})
    import_history(write_lines(tmp_path / "h.jsonl", rows), tmp_path / "run")
    broken = [check["id"] for check in judge_run(tmp_path / "run")["checks"] if check["outcome"] == "FAIL"]
    assert broken == ["I8"]


def test_ended_in_its_midst(tmp_path: Path) -> None:
    """SIGTERM leaves nothing half-made behind, as Ctrl-C does."""
    pipe, run = tmp_path / "h.jsonl", tmp_path / "run"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "earwitness.harness.cli", "import", str(pipe), "-o", str(run)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=module_environment()) as importing:
        with pipe.open("w") as rows:
            rows.write(json.dumps(SIMPLE[1]) + "\n")
            rows.flush()
            end = time.monotonic() + DEADLINE_S
            while not list(run.rglob("journals/*")):
                assert time.monotonic() < end
                time.sleep(0.01)
            importing.send_signal(signal.SIGTERM)
            assert importing.wait(DEADLINE_S) == Exit.TERMINATED
        assert importing.stderr is not None
        assert importing.stderr.read() == b""
    assert not run.exists()


def judged(tmp_path: Path, *rows: dict[str, Any], contract: str = "") -> dict[str, dict[str, Any]]:
    """By id the checks of a history: ann and bob in one room, ann's m1 sent as number 1 to both, then `rows`."""
    talk = [
        {"roster": {"members": {"g": ["ann", "bob"]}}},
        *({"kind": "connect", "client": who} for who in ("ann", "bob")),
        *({"kind": "join", "client": who, "conversation": "g", "seq": 0} for who in ("ann", "bob")),
        {"kind": "invoke", "client": "ann", "conversation": "g", "message": "m1", "text": "helo"},
        {"kind": "ok", "client": "ann", "message": "m1", "seq": 1},
        *({"kind": "deliver", "client": who, "message": "m1", "sender": "ann", "seq": 1} for who in ("ann", "bob")),
        *rows,
        {"kind": "phase", "phase": "drained"},
    ]
    timed = [row if "roster" in row else {"time_ns": 1_000_000 * n, **row} for n, row in enumerate(talk)]
    (tmp_path / "contract.toml").write_text(contract or "history = false")
    import_history(write_lines(tmp_path / "h.jsonl", timed), tmp_path / "run", tmp_path / "contract.toml")
    verdict = judge_run(tmp_path / "run")
    return {check["id"]: check for check in verdict["checks"]}


@pytest.mark.parametrize(("version", "outcome"), [(1, "FAIL"), (2, "PASS")])
def test_edits_by_the_name_of_their_message(tmp_path: Path, version: int, outcome: str) -> None:
    """`message`, `text` and `version` of an edit mean what they mean elsewhere: an old text shows."""
    edit = {"state": "edit", "message": "m1", "place": "backend", "sent_ns": 9_000_000}
    text = {1: "helo", 2: "hello"}
    checks = judged(
        tmp_path,
        {"kind": "write", "client": "ann", **edit, "version": 2, "text": "hello", "flags": ["accepted"]},
        {"kind": "seen", "client": "bob", **edit, "sent_ns": 30_000_000, "version": version, "text": text[version],
         "time_ns": 31_000_000},
        contract="history = false\nshared_state_s = 2.0",
    )  # fmt: skip
    assert checks["I18"]["outcome"] == outcome


def test_presence_without_connection(tmp_path: Path) -> None:
    """It belongs to the client's present connection: two watchers are two, and nobody is told twice."""
    shown = [
        {"kind": "presence", "client": who, "author": "ann", "conversation": "g", "online": 1} for who in ("ann", "bob")
    ]
    checks = judged(tmp_path, *shown, contract="history = false\npresence_s = 1.0")
    assert (checks["I27"]["outcome"], checks["I27"]["examined"]) == ("PASS", 2)


def test_database_rows_without_client(tmp_path: Path) -> None:
    """Nobody in particular reads a database, as in our own journals."""
    row = {"kind": "seen", "state": "active", "author": "ann", "value": 1, "place": "main_database", "sent_ns": 1}
    assert judged(tmp_path, row)["I5b"]["outcome"] == "PASS"


def test_counters_that_are_times(tmp_path: Path) -> None:
    """A counter of any size names its message; checks keep tables by small ones."""
    big = {"author": "ann", "counter": 1_764_379_000}
    checks = judged(
        tmp_path,
        {"kind": "invoke", "client": "ann", "conversation": "g", "counter": big["counter"]},
        {"kind": "ok", "client": "ann", **big, "conversation": "g", "seq": 2},
        *({"kind": "deliver", "client": who, "conversation": "g", **big, "seq": 2} for who in ("ann", "bob")),
    )
    assert {checks[id]["outcome"] for id in ("I1", "I5b", "I6", "I8")} == {"PASS"}
    assert checks["I8"]["examined"] == 4


KICKED = [
    {"kind": "kick", "client": "bob", "conversation": "g"},
    {"kind": "invoke", "client": "ann", "conversation": "g", "message": "m2"},
    {"kind": "ok", "client": "ann", "message": "m2", "seq": 2},
    {"kind": "deliver", "client": "ann", "message": "m2", "seq": 2},
]


@pytest.mark.parametrize("heard", [False, True])
def test_a_kick_without_a_leave_row(tmp_path: Path, heard: bool) -> None:
    """Nothing is owed to a removed member, whether or not the device was told; what comes all the same is I13's."""
    late = [{"kind": "deliver", "client": "bob", "message": "m2", "seq": 2}] if heard else []
    checks = judged(tmp_path, *KICKED, *late)
    assert (checks["I5b"]["outcome"], checks["I13"]["outcome"]) == ("PASS", "FAIL" if heard else "PASS")


def test_calls_without_client(tmp_path: Path) -> None:
    """A call between services is no device's."""
    call = {"kind": "call", "name": "backend/auth", "sent_ns": 1, "status": 200, "called": 1, "flags": ["accepted"]}
    assert judged(tmp_path, call)["I40"]["outcome"] != "FAIL"


@pytest.mark.parametrize("metadata", [b"7", b"[1]", b"[", b"\xf7"])
def test_damaged_parquet(tmp_path: Path, metadata: bytes) -> None:
    """Metadata that is no list of headers, and a file cut in its midst, are a sentence."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "h.parquet"
    schema = pa.schema([("kind", pa.string())], metadata={"earwitness": metadata})
    pq.write_table(pa.table({"kind": ["connect"] * 1000}, schema=schema), file, compression="zstd")
    with pytest.raises(RecordError, match=r"h\.parquet is damaged: its metadata 'earwitness' is no"):
        import_history(file, tmp_path / "run")
    data = bytearray(file.read_bytes())
    data[4:40] = bytes(36)
    file.write_bytes(bytes(data))
    with pytest.raises(RecordError, match=r"h\.parquet"):
        import_history(file, tmp_path / "run")


def test_a_delivery_before_its_sending(tmp_path: Path) -> None:
    """It is no mistake of the recorder but what I8 is about."""
    checks = judged(
        tmp_path,
        {"kind": "deliver", "client": "bob", "conversation": "g", "message": "m2", "seq": 2},
        {"kind": "invoke", "client": "ann", "conversation": "g", "message": "m2"},
    )
    assert checks["I8"]["outcome"] == "FAIL"


@pytest.mark.parametrize("outcome", ["FAIL", "PASS"])
def test_a_numbered_delivery_before_its_sending(tmp_path: Path, outcome: str) -> None:
    """Rows that number their messages say so too, and the sentence by how much."""
    rows = [
        {"kind": "deliver", "client": "bob", "conversation": "g", "author": "ann", "counter": 7, "seq": 2},
        {"kind": "invoke", "client": "ann", "conversation": "g", "counter": 7},
    ]
    checks = judged(tmp_path, *(rows if outcome == "FAIL" else reversed(rows)))
    assert checks["I8"]["outcome"] == outcome
    if outcome == "FAIL":
        assert checks["I8"]["witnesses"][0]["sentence"] == "#7 of ann was delivered in g 1 ms before it was sent"


def test_a_stored_text_that_differs(tmp_path: Path) -> None:
    """The sentence says that it is stored so, not that anybody received it."""
    checks = judged(
        tmp_path,
        {"kind": "stored", "message": "m1", "seq": 1, "text": "other"},
        {"kind": "read_end", "conversation": "g", "rows": 1, "seq": 1},
        contract="history = true",
    )
    (witness,) = checks["I10"]["witnesses"]
    assert witness["sentence"] == "#1 of ann is stored in g with another content than it was sent with"


def test_a_removal_without_a_leave_row(tmp_path: Path) -> None:
    """The platform stops delivering and tells nobody: what bob misses afterwards is not owed to him."""
    checks = judged(
        tmp_path,
        {"kind": "kick", "client": "bob", "conversation": "g"},
        {"kind": "invoke", "client": "ann", "conversation": "g", "message": "m2"},
        {"kind": "ok", "client": "ann", "message": "m2", "seq": 2},
        {"kind": "deliver", "client": "ann", "message": "m2", "sender": "ann", "seq": 2},
    )
    assert checks["I5b"]["outcome"] == "PASS"


@pytest.mark.parametrize(
    ("base", "outcome"), [({"base": 1}, "FAIL"), ({"base": 2}, "PASS"), ({"connection": 1}, "PASS")]
)
def test_the_version_that_an_edit_was_of(tmp_path: Path, base: dict[str, int], outcome: str) -> None:
    """`base` is what the edit replaces and no other; a connection says nothing about it."""
    edit = {"kind": "write", "state": "edit", "message": "m1", "place": "backend", "flags": ["accepted"]}
    checks = judged(
        tmp_path,
        {**edit, "client": "ann", "sent_ns": 9_000_000, "version": 2, "text": "hello"},
        {**edit, "client": "ann", "sent_ns": 10_000_000, "version": 3, "text": "hallo", **base},
        {"kind": "seen", "client": "bob", "state": "edit", "message": "m1", "place": "backend", "version": 3,
         "text": "hallo", "sent_ns": 30_000_000, "time_ns": 31_000_000},
        contract="history = false\nshared_state_s = 2.0",
    )  # fmt: skip
    assert checks["I18"]["outcome"] == outcome
