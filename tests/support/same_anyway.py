"""List of mistakes that change no verdict: file → changed line → reason."""

UNSENT = "what nobody sent was sent at 0, before everything"
ROOM = "room is made a little sooner"
SOONER = "what waits is looked through a little sooner"
ONCE = "no record is looked at twice"
IN_TIME = "what was just in time is sorted out afterwards"
EQUAL = "an equal value is the same value"
NOTHING = "a step of zero adds nothing to the sum"
END_OF_TIME = "nothing is received shortly before the end of time"

SAME_ANYWAY: dict[str, dict[str, str]] = {
    "checks/tester/health.py": {
        "own_answers: if sent == 0 or sent >> REC_BITS != journal or sent >= rec:": "an answer is no sending",
    },
    "checks/engine/wall_clock.py": {
        "WallClock.forward: return sum(step.by for step in self._between(start, end) if step.by >= 0)": NOTHING,
        "WallClock.backward: return -sum(step.by for step in self._between(start, end) if step.by <= 0)": NOTHING,
    },
    "checks/messages/answered.py": {
        'Answered.finish: good = int(self._waits["good"][self._waits["home"] >= 0].sum())': (
            "what no journal names has no answers"
        ),
        'Answered._unanswered: rows = rows[(self._waits["home"][rows["mid"]] >= 0) & ~np.isin(rows["mid"], named)]': (
            "what waits or came late has a home"
        ),
    },
    "checks/messages/pages.py": {
        "fault_of: return HOLE if rows <= wanted else REPEATED": "as many rows as wanted are sorted out above",
    },
    "checks/messages/unreceived.py": {
        'misses_step: receiving = duty["cut"] <= NEVER and latest[sub, 0] > duty["cut"] - RECEIVING_NS': END_OF_TIME,
        'stays_step: if stay["since"] == 0 or r["t"] + 1 <= stay["since"]:': EQUAL,
        'stays_step: if stay["since"] == 0 or r["t"] + 0 < stay["since"]:': EQUAL,
        'Unreceived._belonging: return duties, np.where(stays["told"] >= 0, stays["told"] - 1 + bound, -1)': (
            "without a told time it is the bound - 1, and no duty begins before the bound"
        ),
    },
    "checks/messages/runs.py": {
        "_disagreement: if len(contents) >= 1:": "one content differs from no other",
    },
    "checks/messages/fifo.py": {
        "stream_block: if block + size >= limit:": ROOM,
        'fifo_step: if r["counter"] <= e["counter"]:': "what comes again on a connection is skipped above",
    },
    "checks/messages/gaps.py": {
        '_explained_by_own: numbered = (own >= 0) & (messages["seq"] > 0)': "a gap begins above a number, 0 at least",
    },
    "checks/messages/order.py": {
        "TotalOrder.step: while 2 * (int(self._used[0]) + n) >= len(self._keys):": ROOM,
    },
    "checks/messages/delivered.py": {
        'absences: receiving = duty["cut"] <= NEVER and latest[sub, 0] > duty["cut"] - RECEIVING_NS': END_OF_TIME,
        "_effective: return result & ((flags & INVOKED) >= 0)": UNSENT,
    },
    "checks/messages/revoked.py": {
        'Revoked.finish: mids = np.flatnonzero((messages["conv"] == conv) & '
        '((messages["flags"] & INVOKED) >= 0))': UNSENT,
    },
    "checks/messages/answers.py": {
        'scope: same = by_device and conn <= conns[i] and w.conns[conn]["client"] == w.conns[conns[i]]["client"]': (
            "the same connection is in order anyway"
        ),
        'ConnectionScope.peek: later = own and self._by_device and min(asked) <= stray["conn"]': (
            "the same connection is in order anyway"
        ),
    },
    "checks/messages/reads.py": {
        'reads_step: took = 1000 * r["aux"] if r["aux"] >= 0 else 0': "no time is none either way",
    },
    "checks/messages/recent.py": {
        'recent_step: if a["t"] == 0 or t < a["t"] or (t == a["t"] and r["seq"] <= a["seq"]):': EQUAL,
        'recent_step: row["t"] = r["t"] - (1000 * r["aux"] if r["aux"] >= 0 else 0)': "no time is none either way",
    },
    "checks/messages/missed.py": {
        'resumed_step: if not 1 << np.int64(r["kind"]) & LISTENED or mids[i] < 0 or slots[i] <= 0 or '
        "seen[i] & HEARD_BEFORE:": "slot 0 is the first one of its subscription",
    },
    "checks/messages/liveness.py": {
        'LivenessBound._deadlines: deadlines = np.where((acked > 0) & ((messages["flags"] & INVOKED) >= 0), '
        "acked - 1 + bound + lag_ns, 0)": UNSENT,
        "LivenessBound.step: if self._used[0] >= self._settle_at:": SOONER,
        'heard_at: if t > h["t"] or (t == h["t"] and rec >= h["rec"]):': ONCE,
        'LivenessBound._late: judged &= (messages["flags"] & INVOKED) >= 0': UNSENT,
        "hearings_step: if t - joined < bound:": "the bound after joining is not over before that after the sending",
        'hearings_step: if h["earliest"] == 0 or joined <= h["earliest"]:': EQUAL,
        'hearings_step: if h["acked"] == 0 or t <= h["acked"]:': EQUAL,
    },
    "checks/resources/fairness.py": {
        "Fairness.step: if self._used[0] >= self._settle_at:": SOONER,
        "bucket_of: while units > 2 * OCTAVE:": "16 units are 8 of the next octave, the same bucket",
        "_slow: for k in np.flatnonzero((figures > factor * usual) & (figures >= FLOOR_S * 1e9)):": (
            "no bucket ends at half a second"
        ),
    },
    "checks/operations/availability.py": {
        'Availability._talkers: int(overlaps(windows, people["first"] - 1, people["last"] - 1)'
        '[people["first"] >= 0].sum())': "who sent nothing did so at -1, before every deployment",
        'Availability._all_spells: if drain < NEVER and drain + 1 - person["since"] >= self._bound:': IN_TIME,
        "availability_step: if good + bad >= 0:": "where nothing was answered, nothing is counted",
        'availability_step: if person["row"] >= 0:': "the last row is not in use yet, and will be written whole",
        'availability_step: if person["since"] >= 0 and not person["asking"]:': "who does not wait is not served",
        'served: if person["since"] > 0 and t - person["since"] >= bound:': IN_TIME,
    },
    "checks/accounts/authority.py": {
        "LiveAuthority._outlived: known = self._last[opened.conn] if opened.conn <= len(self._last) else None": (
            "since the first request every connection has its row"
        ),
        'LiveAuthority.look: said = (messages["flags"] & INVOKED >= 0) & (messages["flags"] & (ACKED | HEARD) > 0) & '
        '(messages["conv"] >= 0)': UNSENT,
    },
    "checks/devices/states.py": {
        "Patience.due: if begin <= due and end > t:": "after a fault that ended then, the change has its own bound",
    },
    "checks/devices/convergence.py": {
        "_shown: if before is None or (look.value, look.rec) >= (before.value, before.rec):": ONCE,
    },
    "checks/messages/resume.py": {
        'forgotten: elif r["seq"] > 0:': "head 0 is not above what was asked for",
    },
}
