"""Our checks on histories that others make, against oracles that know nothing of our definitions.

Three corpora: a total-order broadcast with ten kinds of fault (`broadcast`), and logs of registers and of append-only
keys in the form that Jepsen and Porcupine publish (`registers`). `docs/foreign-corpora.md` has the numbers of more
seeds.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from broadcast import CHECK_OF, EXPLAINED, FAULTS, broadcast, broken, records
from compare import differences, fold
from registers import (
    KEY_FAULTS,
    REGISTER_FAULTS,
    compare_key,
    compare_register,
    growing,
    linearizable,
    main,
    random_key,
    random_register,
    read_keyed_log,
    read_register_log,
)

from earwitness.checks.verdict import Outcome

SEEDS = 40
SHOWS = {
    "drop": "agreement", "dup": "at most once", "swap-at-receiver": "no hole", "swap-at-log": "sender's order",
    "lost-ack": "answered", "ghost": "no invention", "corruption": "content", "leak": "secrecy", "lost-row": "kept",
    "stale-read": "reads are recent",
}  # fmt: skip


def failed(run: Any) -> set[str]:
    """Ids of the checks that fail."""
    return {id for id, verdict in fold(run).items() if verdict.outcome == Outcome.FAIL}


# -- broadcast --------------------------------------------------------------------------------------------------------


def test_a_right_broadcast_breaks_nothing() -> None:
    """Neither in the words of its oracle nor in ours."""
    for seed in range(SEEDS):
        run = broadcast(seed)
        assert broken(run) == {}, seed
        verdicts = fold(records(run), random.Random(seed))
        assert [v.id for v in verdicts.values() if v.outcome == Outcome.FAIL] == [], seed


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_broadcast_is_judged_alike(fault: str) -> None:
    """For each property that the oracle knows, our check fails exactly when the property is broken, but for what is
    explained; what the oracle of the checks thinks is the same as well."""
    shown = 0
    for seed in range(SEEDS):
        run = broadcast(seed, fault)
        found = broken(run)
        shown += SHOWS[fault] in found
        history = records(run)
        verdicts = fold(history, random.Random(seed))
        assert differences(history, verdicts) == {}, seed
        for name, check in CHECK_OF.items():
            if check in verdicts and verdicts[check].promised and (fault, check) not in EXPLAINED:
                ours = verdicts[check].outcome == Outcome.FAIL
                assert ours == (name in found), (seed, name, check, verdicts[check])
    assert shown >= SEEDS * 3 // 4


def test_what_is_explained_still_happens() -> None:
    """An explanation of a disagreement that is gone is removed."""
    for fault, check in EXPLAINED:
        name = next(name for name, id in CHECK_OF.items() if id == check)
        runs = [broadcast(seed, fault) for seed in range(SEEDS)]
        assert any((name in broken(run)) != (check in failed(records(run))) for run in runs), (fault, check)


# -- logs of registers ------------------------------------------------------------------------------------------------

# What two clients do to one register, in the lines of Jepsen's logs: `PROCESS :invoke :write 3`.
REGISTER_LOGS = {
    "a write, then a read of it": ("0 w 1|0 ok w 1|1 r|1 ok r 1", True, False),
    "nothing written, nothing read": ("0 r|0 ok r nil", True, False),
    "a read during a write may show it": ("0 w 1|1 r|1 ok r 1|0 ok w 1", True, False),
    "a read during a write need not show it": ("0 w 1|0 ok w 1|0 w 2|1 r|1 ok r 1|0 ok w 2", True, False),
    "a value that was overwritten": ("0 w 1|0 ok w 1|0 w 2|0 ok w 2|1 r|1 ok r 1", False, True),
    "a write whose answer was lost may show late": ("0 w 1|0 info w|1 w 2|1 ok w 2|1 r|1 ok r 1", True, False),
    "nothing, after a write was over": ("0 w 1|0 ok w 1|1 r|1 ok r nil", False, True),
    "a compare-and-set that found what is gone": ("0 w 1|0 ok w 1|0 w 2|0 ok w 2|1 c [1 3]|1 ok c [1 3]", False, True),
    "a compare-and-set that was refused": ("0 w 1|0 ok w 1|1 c [2 3]|1 fail c [2 3]|0 r|0 ok r 1", True, False),
    "its new value after it was refused": ("0 w 1|0 ok w 1|1 c [2 3]|1 fail c [2 3]|0 r|0 ok r 3", False, True),
    # Each reading alone fits; the first shows the new value, so the second may not show the old one.
    "new, then old, while it is written": ("0 w 1|0 ok w 1|0 w 2|1 r|1 ok r 2|1 r|1 ok r 1|0 ok w 2", False, False),
    "refused although its value was there": ("0 w 1|0 ok w 1|1 c [1 3]|1 fail c [1 3]|0 r|0 ok r 1", False, False),
}
WORDS = {"w": ":write", "r": ":read", "c": ":cas", "ok": ":ok", "fail": ":fail", "info": ":info"}


def register_log(short: str) -> list[str]:
    """`0 w 1|0 ok w 1` as the lines of a log."""
    lines = []
    for event in short.split("|"):
        process, *rest = event.split(" ", 1)[0], event.split(" ", 1)[1]
        what, _, value = rest[0].partition(" ")
        if what in ("ok", "fail", "info"):
            f, _, value = value.partition(" ")
            value = value or ":timed-out"
        else:
            what, f, value = "invoke", what, value or "nil"
        lines.append(f"INFO  jepsen.util - {process}\t:{what}\t{WORDS[f]}\t{value}")
    return lines


@pytest.mark.parametrize("name", REGISTER_LOGS)
def test_a_register_log(name: str) -> None:
    """The search for an order says what the tools say; I18 fails where one reading alone cannot be right."""
    short, right, fails = REGISTER_LOGS[name][0], *REGISTER_LOGS[name][1:]
    ops = read_register_log(register_log(short))
    assert linearizable(ops) == right
    words = compare_register(ops, failed)
    assert words.startswith("both good" if right else "both bad" if fails else "bad only together"), words


@pytest.mark.parametrize("fault", [None, *REGISTER_FAULTS])
def test_registers_that_several_use_at_once(fault: str | None) -> None:
    """No right log fails I18, and it misses what no single reading shows; nothing else differs."""
    seen = Counter(compare_register(random_register(seed, fault), failed).split(":")[0] for seed in range(SEEDS))
    assert not [words for words in seen if words.startswith("!")], seen
    assert (seen["both bad"] == 0) == (fault is None), seen


# -- logs of append-only keys -----------------------------------------------------------------------------------------


def keyed_log(short: str) -> list[str]:
    """`0 a 1|0 ok a 1|0 g|0 ok g 1,2` as the lines of a log; items are numbers."""
    lines = []
    for event in short.split("|"):
        process, what, *rest = event.split()
        ended = what == "ok"
        f, *values = rest if ended else (what, *rest)
        items = "".join(f"x 0 {number} y" for value in values for number in value.split(","))
        value = f'"{items}"' if f in "ap" or ended else "nil"
        f = {"a": "append", "g": "get", "p": "put"}[f]
        lines.append(f'{{:process {process}, :type :{"ok" if ended else "invoke"}, :f :{f}, :key "7", :value {value}}}')
    return lines


@pytest.mark.parametrize(
    ("short", "words"),
    [
        ("0 a 1|0 ok a 1|0 a 2|0 ok a 2|0 g|0 ok g 1,2", "both good"),
        ("0 a 1|0 ok a 1|0 a 2|0 ok a 2|0 g|0 ok g 1|0 g|0 ok g 1,2", "both bad (I16, I44)"),
        ("0 a 1|0 ok a 1|1 g|1 ok g 1|1 g|1 ok g|1 g|1 ok g 1", "both bad (I17, I44)"),
        ("0 a 1|0 ok a 1|0 a 2|0 ok a 2|1 g|1 ok g 2", "both bad (I5a)"),
        ("0 a 1|1 g|1 ok g|0 ok a 1|1 g|1 ok g 1", "both good"),
        ("0 a 1|0 ok a 1|0 g|0 ok g 1,9", "both bad (I8)"),
        ("0 p 1|0 ok p 1|0 g|0 ok g 1", "not expressible: a put"),
    ],
)  # fmt: skip
def test_a_log_of_one_key(short: str, words: str) -> None:
    """What the gets of a key lack or invent is found; a key that is put anew is no conversation."""
    assert compare_key(read_keyed_log(keyed_log(short)), failed) == words


@pytest.mark.parametrize("fault", [None, *KEY_FAULTS])
def test_keys_that_several_append_to(fault: str | None) -> None:
    """No right log fails any check. What is missed is a get that lacks what others had only been shown, not told."""
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        words = compare_key(random_key(seed, fault), failed)
        assert not words.startswith("!"), (seed, words)
        seen[words.split(" (")[0]] += 1
    assert (seen["both bad"] == 0) == (fault is None), seen
    if fault in ("lost", "twice", "swapped"):
        assert seen["bad, and no check of ours says so"] == 0


def test_the_oracle_of_keys() -> None:
    """It rejects each way in which a list can be wrong."""
    right = "0 a 1|0 ok a 1|0 a 2|0 ok a 2|0 g|0 ok g 1,2"
    wrong = [right.replace("g 1,2", f"g {items}") for items in ("2,1", "1,1,2", "1,2,3", "1")]
    assert [growing(read_keyed_log(keyed_log(log))) for log in (right, *wrong)] == [True, *4 * [False]]


def test_a_folder_of_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file gets a line, each key of a log of keys its own; only what is not explained counts as an error."""
    (tmp_path / "one.log").write_text("\n".join(register_log("0 w 1|0 ok w 1|1 r|1 ok r 1")))
    (tmp_path / "two.txt").write_text("\n".join(keyed_log("0 a 1|0 ok a 1|0 g|0 ok g|0 g|0 ok g 1")))
    assert main(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == ["one.log: both good", "two.txt: key 7: both bad (I16, I44)"]
