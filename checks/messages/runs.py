"""I24: an agent's answer ("run" in the records) is delivered once and in order, as a stream of events."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earwitness.checks.contract import Contract
from earwitness.checks.engine.compiled import helper, kernel
from earwitness.checks.engine.duties import Duties
from earwitness.checks.engine.fold import FINDINGS, Described, End, Folding, finding
from earwitness.checks.engine.tables import REC_BITS, Array, Int, place
from earwitness.checks.engine.world import View, World, grown
from earwitness.checks.history.kinds import CORRUPT, K_INVOKE, K_JOIN, K_LEAVE, K_RUN, K_STORED
from earwitness.checks.history.record import AGENT
from earwitness.checks.messages.gaps import CONTINUED
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Verdict

NEVER = np.iinfo(np.int64).max
STARTED, THINKING, TOOL_STARTED, TOOL_COMPLETED, CHUNK, COMPLETED, ERROR, BROKEN_OFF = range(1, 9)
"""Events of an agent's answer ("run"), as in `attempt` of a RUN record."""
FINE, HEADLESS, RESTARTED, CHUNKS, TOOLS, AFTER, ENDLESS, CUT_OFF, HOLE, DIFFERS, RESTATED, STORED_OTHERWISE = range(12)
"""Rules that an answer may break.

FINE              none is broken
HEADLESS          the start is missing
RESTARTED         a second start came
CHUNKS            a chunk is not the next one
TOOLS             a tool was completed without start, or is open at the end
AFTER             an event came after the end
ENDLESS           the end is missing
CUT_OFF           the last chunks are missing, although the end came
HOLE              chunks are missing between two connections
DIFFERS           the content is not the one that others received
RESTATED          the chunks do not make the answer that is stated with the end
STORED_OTHERWISE  the final state does not have this answer
"""
_WHAT = {
    HEADLESS: "headless",
    RESTARTED: "restarted",
    CHUNKS: "chunks",
    TOOLS: "tools",
    AFTER: "after-end",
    ENDLESS: "endless",
    CUT_OFF: "cut-off",
    HOLE: "hole",
    DIFFERS: "differs",
    RESTATED: "restated",
    STORED_OTHERWISE: "stored-otherwise",
}

RUN = np.dtype(
    [
        ("conn", "<i4"),
        ("slot", "<i4"),
        ("conv", "<u4"),
        ("run", "<u4"),
        ("chunk", "<i8"),
        ("tools", "<i4"),
        ("first_chunk", "<i8"),
        ("content", "<u8"),
        ("name", "<i8"),
        ("digests", "<i8"),
        ("ended", "u1"),
        ("whole", "u1"),
        ("continued", "u1"),
        ("headless", "u1"),
        ("broken", "u1"),
        ("answer", "<u4"),
        ("parted", "<i4"),
        ("joined", "<i8"),
        ("first", "<i8"),
        ("last", "<i8"),
    ]
)
"""State of one agent's answer ("run") on one connection; `rec` means the reference of a record.

conn, slot   numbers of the connection and of the subscription on it, slot -1: none
conv, run    conversation, and the number of the run in its journal
chunk        number of the next chunk, -1: any; first_chunk: number of the first one on this connection, -1: none
tools        tools started and not completed
content      hash of all chunks that came, by number and digest; digests: how many of them had a digest
name         CRC-32 of the run's id, the same in all journals; without an id a number of this journal alone
answer       CRC-32 of the whole answer, 0: not recorded
joined       time (ns) of the connection's JOIN + 1, 0: unknown
parted       number of LEAVEs on the slot before the run began
ended        0: not yet, 1: by an error or broken off, 2: completed
whole        1: the run's start came on this connection; headless: 1: its first event here was another one
continued    1: the slot's JOIN said that nothing was missed (CONTINUED)
broken       the first rule that was broken; last: rec that broke it, else of the latest event
first        rec of the run's first event on this connection
"""


@helper
def broken_rule(run: Array, event: Int, chunk: Int) -> Int:
    """Process one event of an agent's answer; return the rule that it breaks, or FINE.

    `run`: RUN row of the answer, updated. `event`: STARTED … BROKEN_OFF; the STARTED with which an answer begins is not
    passed. `chunk`: number of the event's chunk. `run["chunk"]` is the next number that must come; it starts at 0, or
    at -1 (any) for an answer whose beginning was missed.

    Tools are counted and not named: records do not say which tool it was, so only a completion without a start, and a
    tool open at the completion, can be found. An answer without its beginning (`headless`) may complete tools that
    started before.
    """
    # Tested first: behind the end every event is wrong, whatever it is.
    if run["ended"]:
        return AFTER
    if event == STARTED:
        return RESTARTED
    if event == CHUNK:
        # -1: the beginning was missed, so the first chunk that comes may have any number.
        if run["chunk"] >= 0 and chunk != run["chunk"]:
            return CHUNKS
        if run["first_chunk"] < 0:
            run["first_chunk"] = chunk
        run["chunk"] = chunk + 1
    elif event == TOOL_STARTED:
        run["tools"] += 1
    elif event == TOOL_COMPLETED:
        run["tools"] -= 1
        if run["tools"] < 0 and not run["headless"]:
            return TOOLS
    elif event == BROKEN_OFF:
        # The platform ended the answer without an end: no connection needs to last for that to be known.
        run["ended"] = 1
        return ENDLESS
    elif event in (COMPLETED, ERROR):
        run["ended"] = 2 if event == COMPLETED else 1
        if event == COMPLETED and run["tools"] > 0:
            return TOOLS
    return FINE


@kernel
def runs_step(
    records: Array,
    journal: Int,
    slots: Array,
    conns: Array,
    joined: Array,
    continued: Array,
    parted: Array,
    first_sent: Array,
    keys: Array,
    places: Array,
    runs: Array,
    used: Array,
) -> None:
    """Check the events of each agent's answer ("run") on each connection.

    `slots`, `conns`: by record its subscription on one connection, and its connection, -1: none. All arrays after them
    are updated. `joined`: by slot, time of joining + 1 (ns), 0: none; `continued`: by slot, 1 after a JOIN with
    CONTINUED; `parted`: by slot, number of LEAVEs. `first_sent`: by conversation, time of the first sending (ns).
    `keys`, `places`: hash table from connection and run to the index in `runs`. `runs`: RUN rows, `used[0]` of them in
    use.

    Each answer is a small state machine for each connection (`broken_rule`), so that one row replaces the list of its
    events. The key conn << 32 | run needs a hash, because many answers interleave on one connection; probing is that of
    `tables.place`, with two flat arrays at most half full. Only the first broken rule is kept: later ones are its
    consequences. `content` is a rolling hash of (number, digest) in order of arrival. Two devices that received the
    same pieces in order have the same value, without keeping any text. After a LEAVE (`parted` differs) nothing more is
    judged on that answer.
    """
    for i in range(len(records)):
        r = records[i]
        if r["kind"] == K_INVOKE and r["conv"] < len(first_sent):
            first_sent[r["conv"]] = min(first_sent[r["conv"]], r["t"])
        elif slots[i] >= 0 and r["kind"] == K_JOIN:
            continued[slots[i]] = 1 if r["flags"] & CONTINUED else 0
            # A JOIN that continues leaves the first time: the device has received everything since.
            if joined[slots[i]] == 0 or not r["flags"] & CONTINUED:
                joined[slots[i]] = r["t"] + 1
        elif slots[i] >= 0 and r["kind"] == K_LEAVE:
            joined[slots[i]] = 0
            parted[slots[i]] += 1
        if r["kind"] != K_RUN or conns[i] < 0 or r["attempt"] < STARTED or r["attempt"] > BROKEN_OFF:
            continue
        rec = (np.int64(journal) << REC_BITS) | np.int64(r["index"])
        key = (np.int64(conns[i]) << 32) | np.int64(r["author"])
        at = place(keys, key)
        if keys[at] == -1:
            keys[at] = key
            places[at] = used[0]
            run = runs[used[0]]
            used[0] += 1
            run["conn"] = conns[i]
            run["slot"] = slots[i]
            run["conv"] = r["conv"]
            run["run"] = r["author"]
            run["first"] = rec
            run["last"] = rec
            run["first_chunk"] = -1
            # Devices are compared by the name of a run; without a common one it gets a name that only this journal can
            # have.
            run["name"] = r["aux"] if r["aux"] >= 0 else (np.int64(journal) + 1 << 33) | np.int64(r["author"])
            run["whole"] = 1 if r["attempt"] == STARTED else 0
            if slots[i] >= 0:
                run["continued"] = continued[slots[i]]
                run["joined"] = joined[slots[i]]
                run["parted"] = parted[slots[i]]
            if r["attempt"] == STARTED:
                continue
            run["headless"] = 1
            run["chunk"] = -1
        run = runs[places[at]]
        # The device has left the conversation since: what still comes, or does not, is no fault.
        if run["slot"] >= 0 and run["parted"] != parted[run["slot"]]:
            continue
        if r["attempt"] == CHUNK and r["digest"] > 0:
            run["content"] = (run["content"] * 1_000_003) ^ ((np.uint64(r["counter"]) << 32) | np.uint64(r["digest"]))
            run["digests"] += 1
        if not run["broken"]:
            run["broken"] = broken_rule(run, np.int64(r["attempt"]), np.int64(r["counter"]))
            run["last"] = rec
            if r["attempt"] == COMPLETED and not run["broken"]:
                run["answer"] = r["digest"]
                if r["flags"] & CORRUPT:
                    run["broken"] = RESTATED


@kernel
def refilled(old_keys: Array, old_places: Array, keys: Array, places: Array) -> None:
    """Copy all entries of the hash table (`old_keys`, `old_places`) into larger arrays, whose keys are empty (-1).

    Rows keep their indexes in `runs`; only the table that finds them grows. As in `checks.engine.tables.rehash`, each
    key is inserted once, since none occurs twice.
    """
    for i in range(len(old_keys)):
        if old_keys[i] != -1:
            # Where a key belongs depends on the length of the table.
            at = place(keys, old_keys[i])
            keys[at] = old_keys[i]
            places[at] = old_places[i]


class AgentStream(Folding):
    """State of I24: on each connection an agent's answer (a "run") is delivered once and in order.

    The order is: a start, then chunks without a gap and tools, of which each completed one was started, then one end:
    completed or error. Nothing comes after the end. An answer that the platform breaks off has no such end, which is a
    violation. Examined are answers on connections that broke a rule or ended. An answer without its end is examined
    only where the connection lasted, not where for example the tester closed it.

    All devices that receive one answer agree. A device to which its completion was delivered has received every piece
    that another device received (*cut-off*), with the same content (*differs*). Where the contract has `resume` and
    `resume_answers`, no piece is missing between two connections either, if the platform said on reconnecting that
    nothing was missed (*hole*).

    The pieces together make the answer that is stated with the end (*restated*), and the one in the final state
    (*stored-otherwise*); the latter is judged where the final state has answers of the conversation at all.

    Not a violation: a missing end where the connection did not last until the run was drained; anything after the
    connection has left the conversation; a missing beginning of an answer that may have begun before the connection
    joined; a tool that is still open when the answer ends by an error.
    """

    def __init__(self, check: Described, roster: Roster, contract: Contract) -> None:
        """Start without answers."""
        super().__init__(check, roster, contract)
        self._duties = Duties()
        self._joined, self._parted = np.zeros(1024, np.int64), np.zeros(1024, np.int32)
        self._continued = np.zeros(1024, np.uint8)
        self._first_sent = np.full(len(roster.conversations), NEVER, np.int64)
        self._keys = np.full(1 << 16, -1, np.int64)
        self._places = np.zeros(1 << 16, np.int32)
        self._runs = np.zeros(1024, RUN)
        self._used = np.zeros(1, np.int64)
        self._stored: set[tuple[int, int]] = set()

    def step(self, view: View) -> None:
        """Implement `Fold.step`: check the events of answers, and store the digests of stored answers."""
        self._duties.step(view)
        records = view.records
        answers = records[(records["kind"] == K_STORED) & (records["author"] == AGENT) & (records["digest"] > 0)]
        self._stored.update(zip(answers["conv"].tolist(), answers["digest"].tolist(), strict=True))
        self._reserve(len(view.records))
        self._joined, self._parted = grown(self._joined, view.world.slots), grown(self._parted, view.world.slots)
        self._continued = grown(self._continued, view.world.slots)
        runs_step(
            view.records, view.journal, view.slot, view.conn, self._joined, self._continued, self._parted,
            self._first_sent, self._keys, self._places, self._runs, self._used,
        )  # fmt: skip

    def _reserve(self, n: int) -> None:
        wanted = int(self._used[0]) + n
        self._runs = grown(self._runs, wanted)
        if 2 * wanted > len(self._keys):
            keys, places = np.full(2 * len(self._keys), -1, np.int64), np.zeros(2 * len(self._keys), np.int32)
            refilled(self._keys, self._places, keys, places)
            self._keys, self._places = keys, places

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: return the violations that a single event proves."""
        runs = self._runs[: int(self._used[0])]
        return self._judge(world, runs, runs["broken"].copy())

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: add missing beginnings and ends, and compare devices and the final state."""
        world = end.world
        runs = self._runs[: int(self._used[0])]
        broken = runs["broken"].copy()
        known = runs["conv"] < len(self._first_sent)
        first_sent = np.full(len(runs), -NEVER, np.int64)
        first_sent[known] = self._first_sent[runs["conv"][known]]
        whole = not end.partial  # else a missing sending may have begun the run earlier
        headless = whole & (runs["headless"] > 0) & (runs["joined"] > 0) & (runs["joined"] - 1 < first_sent)
        broken[headless & (broken == FINE)] = HEADLESS
        owed = self._duties.lasting(end)[runs["conn"]] if len(runs) else np.zeros(0, bool)
        if len(runs):
            left = (runs["slot"] >= 0) & (self._parted[runs["slot"]] != runs["parted"])
            broken[(broken == FINE) & (runs["ended"] == 0) & owed & ~left] = ENDLESS
            torn = np.isin(world.tables.conns["journal"][runs["conn"]], list(end.incomplete()))
            compared = np.flatnonzero((broken == FINE) & (runs["slot"] >= 0) & ~left & ~torn)
            broken[compared] = _disagreement(runs[compared])
            clients = world.tables.conns["client"][runs["conn"]]
            for k in _holes(runs, clients, self.contract.resume and self.contract.resume_answers):
                if broken[k] == FINE and not torn[k]:
                    broken[k] = HOLE
            if not end.partial:
                broken[self._stored_otherwise(world, runs, broken)] = STORED_OTHERWISE
        return self._judge(world, runs, broken)

    def _stored_otherwise(self, world: World, runs: Array, broken: Array) -> list[int]:
        """Return the indexes of completed answers that the final state does not have with the same text.

        Only conversations count that were read completely and whose final state has answers. `broken`: by row of
        `runs`, the rule that it breaks; only rows that are FINE are compared.
        """
        read = world.read_completely()
        told = (broken == FINE) & (runs["ended"] == 2) & (runs["answer"] > 0)
        kept = {conv for conv, _ in self._stored if conv < len(read) and read[conv]}
        return [
            int(k) for k in np.flatnonzero(told)
            if int(runs["conv"][k]) in kept and (int(runs["conv"][k]), int(runs["answer"][k])) not in self._stored
        ]  # fmt: skip

    def _judge(self, world: World, runs: Array, broken: Array) -> Verdict:
        bad = np.flatnonzero(broken)
        bad = bad[np.argsort(runs["last"][bad], kind="stable")]
        findings = [_finding(world, runs[k], int(broken[k])) for k in bad[:FINDINGS]]
        judged = np.count_nonzero((broken != FINE) | (runs["ended"] > 0))
        return self.conclude(findings, examined=int(judged), violations=len(bad))


def _disagreement(runs: Array) -> Array:
    """Return CUT_OFF, DIFFERS or FINE for each row of `runs`, compared with the same answer on other connections.

    DIFFERS is the state of rows whose content is not the one that most connections received.
    """
    result = np.full(len(runs), FINE, np.uint8)
    if not len(runs):
        return result
    order = np.lexsort((runs["conv"], runs["name"]))
    names, convs = runs["name"][order], runs["conv"][order].astype(np.int64)
    new = (np.diff(names, prepend=-2) != 0) | (np.diff(convs, prepend=-2) != 0)
    for group in np.split(order, np.flatnonzero(new)[1:]):
        mine = runs[group]
        completed = mine["ended"] == 2
        reached = mine["chunk"].max()
        result[group[completed & (mine["chunk"] >= 0) & (mine["chunk"] < reached)]] = CUT_OFF
        same = group[completed & (mine["whole"] > 0) & (mine["chunk"] == reached) & (mine["digests"] == reached)]
        contents, counts = np.unique(runs["content"][same], return_counts=True)
        if len(contents) > 1:
            usual = contents[np.argmax(counts)]
            result[same[runs["content"][same] != usual]] = DIFFERS
    return result


def _holes(runs: Array, clients: Array, promised: bool) -> list[int]:
    """Return the indexes of rows that continue an answer on a later connection of a device with pieces missing before.

    `clients`: by row its device. `promised`: the platform promises to resume answers; if not, the list is empty.
    """
    if not promised:
        return []
    found = []
    order = np.lexsort((runs["first"], runs["conv"], runs["name"], clients))
    for before, after in pairwise(order):
        same = clients[before] == clients[after] and all(runs[before][n] == runs[after][n] for n in ("name", "conv"))
        goes_on = runs[after]["continued"] and not runs[before]["ended"] and runs[before]["whole"]
        if same and goes_on and runs[after]["first_chunk"] > runs[before]["chunk"]:
            found.append(int(after))
    return found


def _finding(world: World, run: Array, broken: int) -> Finding:
    client = int(world.tables.conns[run["conn"]]["client"])
    conv = int(run["conv"]) if run["conv"] < len(world.roster.conversations) else -1
    row, last = [0, 0, 0, client, -1, -1, conv, 0, 0], int(run["last"])
    return finding(world, _WHAT[broken], row, int(run["first"]), last, at=last, run=int(run["run"]))


AGENT_STREAM = Described(
    id="I24",
    name="agent-stream",
    title="Was every agent run delivered completely, once and in order?",
    unit="streamed answers",
    symptom="Streamed answers came broken or incomplete",
    fold=AgentStream,
    sentences={
        "headless": "{who} received an agent's run in {where} that never started",
        "restarted": "{who} received the start of an agent's run in {where} twice",
        "chunks": "{who} received a piece of an agent's answer in {where} that is not the next one",
        "tools": "{who} received a tool of an agent's run in {where} as completed without its start, or "
        "never as completed",
        "after-end": "{who} received events of an agent's run in {where} after its end",
        "endless": "{who} never received the end of an agent's run in {where}",
        "cut-off": "{who} received an agent's answer in {where} as complete, without its last pieces, which "
        "others received",
        "hole": "{who} reconnected during an agent's answer in {where}, resumed as if nothing was missed, "
        "and missed a part of it",
        "differs": "{who} received an agent's answer in {where} with another content than others",
        "restated": "{who} received at the end of an agent's answer in {where} another text than its pieces "
        "make together",
        "stored-otherwise": "{who} received an agent's answer in {where} that the final state does not have in that "
        "form",
    },
)
