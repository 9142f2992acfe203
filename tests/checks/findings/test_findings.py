"""The witness's words for what no other test tells."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.checks import ALL, Finding, Kind, Outcome, Roster, Verdict, tell
from earwitness.checks.findings.lines import HERE, IN, MANNERS, Told, direction_of, label, line
from earwitness.checks.findings.names import device
from earwitness.checks.findings.scene import LANES_MAX, NEVER, PLATFORM, scene
from earwitness.checks.findings.sentences import SENTENCES, sentence
from earwitness.checks.history.record import AGENT, FOREIGN, NOBODY, NONE, Artefact, Flag, Place, State, empty
from earwitness.harness.report.neighbours import choose

ROSTER = Roster(user_of=(0, 1, 1), conversations=((0, 1),), user_names=("ann",))
FACTS = {
    "client": 2, "conv": 0, "author": 0, "counter": 16, "other_author": 1, "other_counter": 3, "seq": 5, "other_seq": 7,
    "low": 2, "high": 4, "left": 1, "rows": 2, "stated": -2,
    "ms": 900, "usual_ms": 9, "granted": 12, "within_ms": 1000, "allowed": 10, "wait_ms": 400, "late": 5, "place": 1,
    "artefact": 1, "state": 1, "forgery": 1,
}  # fmt: skip


def verdict(id: str) -> Verdict:
    return Verdict(id=id, name="some-check", outcome=Outcome.FAIL, examined=1, violations=1)


@pytest.mark.parametrize(("id", "what"), list(SENTENCES))
def test_every_kind_of_finding_has_words(id: str, what: str) -> None:
    """No sentence lacks a fact, none shows a placeholder."""
    words = sentence(Finding(what=what, facts=FACTS), verdict(id), ROSTER)
    assert "{" not in words
    assert "(unknown" not in words


def test_every_check_has_its_sentences() -> None:
    """No check falls back on general words: each has sentences, and its own module names each kind of finding."""
    for check in ALL:
        kinds = [what for id, what in SENTENCES if id == check.id]
        assert bool(kinds) == check.id.startswith("I")
        source = Path(inspect.getfile(check.fold)).read_text()
        assert [what for what in kinds if f'"{what}"' not in source] == []
    assert {id for id, _ in (*SENTENCES, *NEVER)} <= {check.id for check in ALL}
    assert set(NEVER) <= set(SENTENCES)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("other is_active in the main database",
         "the main database has another is_active of ann than the auth database"),
        ("other name, is_active in the main database",
         "the main database has another name, is_active of ann than the auth database"),
        ("no row in the main database", "the main database has no row of ann"),
        ("9f0c", "the main database took ann for a user whom no login of this run explains"),
    ],
)  # fmt: skip
def test_what_a_database_says_of_somebody(said: str, words: str) -> None:
    """A row that differs in other columns takes nobody for a stranger."""
    facts = {"client": 0, "stated": -2, "place": int(Place.MAIN_DATABASE)}
    stated = Finding(what="identity", records=((0, 1),), facts=facts)
    row = record(Kind.IDENTITY, counter=int(Place.MAIN_DATABASE), aux=FOREIGN + 1)
    telling = tell(stated, verdict("I15"), ROSTER, lambda journal, index: row, "", lambda journal, number: said)
    assert telling.sentence == words


def test_behind_the_frontend() -> None:
    """What a service states through the frontend's proxy is not the frontend's own word."""
    words = sentence(Finding(what="identity", facts=FACTS | {"stated": 1, "place": int(Place.FRONTEND)}),
                     verdict("I15"), ROSTER)  # fmt: skip
    assert words == "the API behind the frontend took user 1 on tab 2 for user 1"


@pytest.mark.parametrize(
    ("conn", "words"),
    [
        (2, "bob on tab 1 received #1 of ann in room-1 again, after it had been delivered there already"),
        (7, "bob on tab 1 received #1 of ann in room-1 again on a later connection, after it had been delivered to this"
            " device already"),
    ],
)  # fmt: skip
def test_where_a_duplicate_came(new_history: Callable[..., Any], conn: int, words: str) -> None:
    """The connection on which it came again is said."""
    history = new_history(at_most_once="device").join(0).join(1).send(0, 1).hear(1, 0, 1, 1)
    history.join(1, conn=conn, head=0).hear(1, 0, 1, 1, conn=conn)
    assert history.tell(history.judge()["I6"]).sentence == words


def test_a_retry_did_not_make_the_duplicate_of_the_first_sending() -> None:
    """Of a message that was sent twice a copy of the first sending came again: the second sending proves nothing."""
    slots = {"author": 0, "counter": 1, "conv": 0, "attempt": 1}
    sent, retry = told(Kind.INVOKE, 1, **slots), told(Kind.INVOKE, 2, **slots | {"attempt": 2})
    first, again = (told(Kind.DELIVER, n, client=1, **slots) for n in (3, 4))
    finding = Finding(what="repeated", records=((0, 1), (0, 4)), facts={"client": 1, "author": 0, "counter": 1})
    proof, context = choose(finding, [sent, again], [sent, retry, first, again])
    assert ([t.index for t in proof], [t.index for t in context]) == ([1, 3, 4], [2])


@pytest.mark.parametrize(
    ("copies", "again", "proven"),
    [
        ((2, 2), {"conn": 9, "aux": 0}, ["invoke 2", "ok 2", "deliver 2", "join", "deliver 2"]),
        ((2, 2), {"conn": 9}, ["invoke 2", "ok 2", "deliver 2", "deliver 2"]),
        ((2, 2), {"conn": 2, "flags": int(Flag.CONTINUED)}, ["invoke 2", "ok 2", "deliver 2", "join", "deliver 2"]),
        ((1, 2), {"conn": 9, "aux": 0}, ["invoke 1", "invoke 2", "ok 2", "deliver 1", "deliver 2"]),
        ((2, 1), {"conn": 9, "aux": 0}, ["invoke 1", "invoke 2", "ok 2", "deliver 2", "deliver 1"]),
        ((1, 1), {"conn": 9, "aux": 0}, ["invoke 1", "deliver 1", "join", "deliver 1"]),
    ],
    ids=["resumed", "joined anew", "resumed on the same connection", "retried", "retried, the other way round",
         "the first sending, resumed"],
)  # fmt: skip
def test_what_made_a_duplicate(
    new_history: Callable[..., Any], copies: tuple[int, int], again: dict[str, int], proven: list[str]
) -> None:
    """Ann sent twice. Copies of one sending are not the retry's doing: it is no proof, and where the device resumed
    that is shown; copies of two sendings are, and a reconnection in between is no proof."""
    history = new_history(at_most_once="device").join(0).join(1)
    history.send(0, 1).send(0, 1, attempt=2).ack(0, 1, 1, attempt=2)
    history.hear(1, 0, 1, 1, attempt=copies[0]).join(1, head=1, **again)
    history.hear(1, 0, 1, 1, attempt=copies[1], conn=again["conn"])
    verdict = history.judge()["I6"]
    (finding,), rows = verdict.findings, history.arrays()[0]
    records = {n: Told(0, n, row) for n, row in enumerate(rows, start=1)}
    proof = [records[index] for _, index in finding.records]
    chosen, context = choose(finding, proof, [t for t in records.values() if t.index > 2])
    names = {Kind.JOIN: "join"}
    assert [names.get(t.kind, f"{t.kind.name.lower()} {int(t.record['attempt'])}") for t in chosen] == proven
    assert not {t.index for t in chosen} & {t.index for t in context}
    words = history.tell(verdict).sentence
    assert words.endswith(
        "again on a later connection, after it had been delivered to this device already"
        if again["conn"] == 9
        else "again, after it had been delivered there already"
    )


TAGGED = {"flags": int(Flag.FOREIGN_RUN)}


@pytest.mark.parametrize(
    ("kind", "slots", "words"),
    [
        (Kind.DELIVER, TAGGED, "bob on tab 1 got a message in room-1 that nobody had sent in this run"),
        (Kind.STORED, TAGGED, "the final read got a message in room-1 that nobody had sent in this run"),
        (Kind.DELIVER, TAGGED | {"author": NOBODY, "counter": 0, "aux": 0},
         "bob on tab 1 got a message in room-1 that nobody had sent in this run"),
        (Kind.DELIVER, {"author": 9},
         "bob on tab 1 got a message in room-1 of an author or counter that cannot be: author 9, counter 7"),
        (Kind.DELIVER, {"conv": 5}, "bob on tab 1 got #7 of ann in a conversation that this run does not have"),
        (Kind.DELIVER, {}, "#7 of ann appeared in room-1, but nobody sent it"),
        (Kind.STORED, {}, "#7 of ann appeared in room-1, but nobody sent it"),
    ],
)  # fmt: skip
def test_words_of_messages_that_nobody_sent(
    new_history: Callable[..., Any], kind: Kind, slots: dict[str, int], words: str
) -> None:
    """I8: of another run, of none, of nobody, of nowhere, or of a user who did not send it."""
    history = new_history().add(Kind.CONNECT, 0, conn=1).join(1)
    listener = NOBODY if kind is Kind.STORED else 1
    known = {"author": 0, "counter": 7, "conv": 0, "attempt": 1, "conn": 0 if kind is Kind.STORED else 2, "seq": 1}
    verdict = history.add(kind, listener, **known | slots).judge()["I8"]
    assert history.tell(verdict).sentence == words


@pytest.mark.parametrize("heard_first", [False, True])
def test_words_of_a_message_in_another_conversation(new_history: Callable[..., Any], heard_first: bool) -> None:
    """I8: the room where it was sent is the one that its sending names, in whatever order journals are read."""
    history = new_history().join(1).join(0, conv=1, journal=1).join(3, conv=1, journal=1)
    if heard_first:
        history.hear(3, 0, 1, 1, conv=1, journal=0, conn=9, t=20_000_000).send(0, 1, conv=0, journal=1, t=10_000_000)
    else:
        history.send(0, 1, conv=0).hear(3, 0, 1, 1, conv=1, journal=1, conn=9)
    verdict = history.judge()["I8"]
    assert verdict.violations == 1
    assert history.tell(verdict).sentence == "#1 of ann appeared in another conversation than room-1, where it was sent"


@pytest.mark.parametrize(
    ("kind", "slots", "words"),
    [
        (Kind.DELIVER, {}, "eve received #1 of ann in room-1 without being a member"),
        (Kind.REPLAY, {}, "eve received #1 of ann in room-1 without being a member"),
        (Kind.DELIVER, {"conv": 1, "flags": int(Flag.MISROUTED)},
         "eve received #1 of ann of room-2 under the name of another conversation"),
        (Kind.RUN, {"author": FOREIGN, "attempt": 1},
         "eve was sent an agent's answer in room-1 without being a member"),
        (Kind.PRESENCE, {"counter": 1}, "eve was shown who is online in room-1 without being a member"),
        (Kind.SEEN, {"proc": int(State.READ_MARK)},
         "eve was shown an edit, a read mark or the name of room-1 without being a member"),
        (Kind.DELIVER, TAGGED, None),
        (Kind.DELIVER, TAGGED | {"author": AGENT, "counter": 0}, None),
        (Kind.DELIVER, {"flags": int(Flag.CORRUPT)}, None),
    ],
)  # fmt: skip
def test_words_of_what_strangers_were_sent(
    new_history: Callable[..., Any], kind: Kind, slots: dict[str, int], words: str | None
) -> None:
    """I12: each thing by its name. A body of another run does not say where it belongs: that is I8's."""
    known = {"author": 0, "counter": 1, "conv": 0, "attempt": 1, "conn": 4, "seq": 1, "digest": 1, "size": 10}
    history = new_history().send(0, 1).add(Kind.CONNECT, 3, conn=4).add(kind, 3, **known | slots)
    verdict = history.judge()["I12"]
    assert bool(verdict.violations) == (words is not None)
    if words is not None:
        assert history.tell(verdict).sentence == words


def test_a_forgotten_fact_costs_no_verdict() -> None:
    """A finding without the facts that its sentence needs is told all the same."""
    words = sentence(Finding(what="number", facts={"conv": 0}), verdict("I2"), ROSTER)
    assert words == "number (unknown seq) of conversation 0 names two messages: a message and a message"


def test_devices() -> None:
    """A tab is named only where a user has several; strangers and numbers without names have words too."""
    assert [device(ROSTER, c) for c in (0, 1, 2, 9)] == [
        "ann",
        "user 1 on tab 1",
        "user 1 on tab 2",
        "somebody unknown",
    ]


def test_a_check_of_somebodys_own() -> None:
    """A finding of an unknown check is told generally."""
    words = sentence(Finding(what="late", facts={"client": 2}), verdict("X1"), ROSTER)
    assert words == "some-check: late (client 2)"


def test_missing_records_are_said(new_history: Callable[..., Any]) -> None:
    """A record that is no longer there is said to be missing."""
    telling = tell(Finding(what="late", records=((3, 7),)), verdict("X1"), ROSTER, lambda journal, index: None)
    assert telling.lines == ["3:7  (this record is not in the journal)"]


def test_lines_show_flags_attempts_and_heads(new_history: Callable[..., Any]) -> None:
    """Flags, attempts and heads of joining are shown; the run's tag is left out."""
    history = new_history().join(0, head=4).send(0, 1, attempt=2, flags=1)
    records = history.arrays()[0]
    finding = Finding(what="late", records=((0, 1), (0, 2)), facts={"client": 0})
    telling = tell(finding, verdict("X1"), history.roster, lambda journal, index: records[index - 1], tag="room")
    assert telling.lines == [
        "0:1  +0.000 ms  ann (connection 1) joins -1 at number 4",
        "0:2  +1.000 ms  ann (connection 1) sends #1 of ann (attempt 2) in -1 [corrupt]",
    ]


def record(kind: Kind, **slots: int) -> Any:
    made = empty(1)[0]
    for name, value in {"kind": int(kind), "client": 0, "conn": 1, **slots}.items():
        made[name] = value
    return made


def told(kind: Kind, index: int, **slots: int) -> Told:
    return Told(0, index, record(kind, t=index * 1_000_000, **slots))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_record_has_words(kind: Kind) -> None:
    """Full slots and empty ones: a whole line and a short label, without a placeholder or a bare number of a name."""
    full = {"conv": 0, "author": 1, "counter": 2, "attempt": 1, "seq": 7, "aux": 0, "size": 200, "proc": 1, "flags": 2}
    foreign = {"author": FOREIGN, "aux": FOREIGN if kind is Kind.IDENTITY else 1}
    for slots in (full, {"author": NOBODY, "seq": NONE, "aux": NONE}, foreign):
        for words in (line(told(kind, 1, **slots), ROSTER), label(told(kind, 1, **slots), ROSTER)):
            assert words.strip()
            assert "{" not in words
            assert str(FOREIGN) not in words
            assert str(NOBODY) not in words
    assert kind in MANNERS


def test_words_of_credentials_and_shared_state() -> None:
    """What was presented where, how, and what became of it."""
    asked = {
        "author": 1,
        "counter": 3,
        "attempt": int(Place.BACKEND),
        "size": 401,
        "flags": int(Flag.REFUSED),
        "proc": 129,
    }
    assert line(told(Kind.REQUEST, 1, **asked), ROSTER) == (
        "ann (connection 1) asks the backend with artefact 3 of user 1 by header (as a control): refused (401)"
    )
    forged = {"counter": 4, "attempt": int(Artefact.ACCESS), "proc": 2, "aux": 3}
    assert label(told(Kind.TOKEN, 1, conn=0, **forged), ROSTER) == "forges access token 4 (forgery 2)"
    assert direction_of(told(Kind.TOKEN, 1, conn=0, **forged)) is HERE
    assert direction_of(told(Kind.TOKEN, 1, conn=0, counter=4)) is IN
    assert line(told(Kind.TOKEN, 1, conn=0, **forged), ROSTER) == "ann forges access token 4 from artefact 3"
    seen = {"proc": int(State.READ_MARK), "author": 1, "conv": 0, "aux": 9, "attempt": int(Place.SOCKET)}
    assert line(told(Kind.SEEN, 1, **seen), ROSTER) == (
        "ann (connection 1) is shown the read mark of user 1 in conversation 0 = 9 by the socket"
    )


def test_words_of_joining_again() -> None:
    """Behind which number a device asked to go on, and whether it may."""
    asked = {"conv": 0, "seq": 9, "aux": 4}
    assert line(told(Kind.JOIN, 1, **asked), ROSTER) == (
        "ann (connection 1) joins conversation 0 at number 9, resumed behind number 4"
    )
    assert label(told(Kind.JOIN, 1, **asked, flags=int(Flag.REFUSED)), ROSTER) == (
        "joins at number 9, refused to resume behind number 4"
    )
    words = line(told(Kind.DELIVER, 1, conv=0, author=AGENT, flags=int(Flag.FOREIGN_RUN)), ROSTER)
    assert words == "ann (connection 1) receives an agent's message in conversation 0 [not of this run]"


SENT = {"conv": 0, "author": 0, "counter": 16, "attempt": 1}


def test_a_scene_has_the_sender_left_of_the_platform() -> None:
    """Who speaks stands left, who only hears right; arrows go the way of the record; what never came stands last."""
    proof = [told(Kind.INVOKE, 1, **SENT), told(Kind.JOIN, 2, client=1, conv=0, seq=3)]
    context = [told(Kind.DELIVER, 3, client=2, seq=5, **SENT)]
    drawn = scene("I5b", Finding(what="absent", facts={**FACTS, "client": 1}), proof, context, ROSTER)
    assert drawn.lanes == ("ann", PLATFORM, "user 1 on tab 1", "user 1 on tab 2")
    assert [(s.at_ms, s.start, s.end, s.label, s.proof) for s in drawn.steps] == [
        (0.0, 0, 1, "sends #16", True),
        (1.0, 1, 2, "joins at number 3", True),
        (2.0, 1, 3, "5 · #16 of ann", False),
        (None, 2, 2, "never receives #16 of ann", True),
    ]


def test_a_scene_never_has_more_lanes_than_can_be_followed() -> None:
    """Of a hundred hearers some are shown; those of the proof always."""
    crowd = Roster(user_of=tuple(range(50)), conversations=(tuple(range(50)),))
    context = [told(Kind.DELIVER, 10 + client, client=client, seq=5, **SENT) for client in range(50)]
    proof = [told(Kind.INVOKE, 1, **SENT), told(Kind.DELIVER, 90, client=49, seq=5, **SENT)]
    drawn = scene("I6", Finding(what="repeated", facts={"client": 49}), proof, context, crowd)
    assert len(drawn.lanes) == LANES_MAX
    assert {"user 0", "user 49", PLATFORM} <= set(drawn.lanes)
    assert sum(step.proof for step in drawn.steps) == 2


@pytest.mark.parametrize("version", [3, NONE])
def test_an_edit_shows_its_text(version: int) -> None:
    """Which message was edited, and the version and digest of the text on both sides; a base is no connection."""
    edit = {"proc": int(State.EDIT), "author": 0, "counter": 7, "conv": 0, "attempt": int(Place.BACKEND)}
    text = "version 3, text 0000abcd" if version == 3 else "text 0000abcd"
    changed = told(Kind.WRITE, 1, conn=2, aux=version, digest=0xABCD, flags=int(Flag.ACCEPTED), **edit)
    assert line(changed, ROSTER) == (
        f"ann changes the edit of #7 of ann in conversation 0: {text} at the backend: accepted"
    )
    assert label(changed, ROSTER) == f"sets edit of #7 of ann: {text}: accepted"
    seen = told(Kind.SEEN, 1, aux=version, digest=0xABCD, **edit)
    assert label(seen, ROSTER) == f"is shown edit of #7 of ann: {text}"


def test_the_outcome_stands_first() -> None:
    """A label names the outcome, then the place; a lost connection names its number and code."""
    asked = {"author": 0, "counter": 3, "attempt": int(Place.SOCKET), "size": 101, "flags": int(Flag.ACCEPTED)}
    assert label(told(Kind.REQUEST, 1, **asked), ROSTER) == "accepted (101): the socket with artefact 3"
    assert label(told(Kind.DISCONNECT, 1, conn=4, counter=1006), ROSTER) == "loses connection 4, code 1006"
