"""Checks of what a chat platform promises, judged from the records of the load processes.

The public API is `__all__`. Names are imported when they are first used: a load process needs only the vocabulary of
records, not the compiled loops.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earwitness.checks.catalogue import ALL
    from earwitness.checks.contract import Contract, ContractError
    from earwitness.checks.engine.fold import Check, End, Fold, JournalInfo
    from earwitness.checks.engine.world import View, World
    from earwitness.checks.findings.sentences import Telling, tell
    from earwitness.checks.history.record import RECORD, Flag, Kind, Phase, Place
    from earwitness.checks.judge import Batch, Judge
    from earwitness.checks.outcome import exercised, outcome_of_run
    from earwitness.checks.own import History, OwnCheck, Record, Records, check
    from earwitness.checks.roster import Roster
    from earwitness.checks.verdict import Finding, Outcome, Verdict, conclude, upper_bound_95

if __name__ != "earwitness.checks":
    raise ImportError(f"import earwitness.checks instead of {__name__}")

__all__ = [
    "ALL",
    "RECORD",
    "Batch",
    "Check",
    "Contract",
    "ContractError",
    "End",
    "Finding",
    "Flag",
    "Fold",
    "History",
    "JournalInfo",
    "Judge",
    "Kind",
    "Outcome",
    "OwnCheck",
    "Phase",
    "Place",
    "Record",
    "Records",
    "Roster",
    "Telling",
    "Verdict",
    "View",
    "World",
    "check",
    "conclude",
    "exercised",
    "outcome_of_run",
    "tell",
    "upper_bound_95",
]

# `judge` is the module here; the function of that name is `checks.judge.judge`.
# Names are looked up when they are used: load processes need the vocabulary only, and the compiler behind the folds
# takes most of a second to import.
_WHERE = {
    "ALL": "earwitness.checks.catalogue",
    "Batch": "earwitness.checks.judge",
    "Check": "earwitness.checks.engine.fold",
    "Contract": "earwitness.checks.contract",
    "ContractError": "earwitness.checks.contract",
    "End": "earwitness.checks.engine.fold",
    "Finding": "earwitness.checks.verdict",
    "Flag": "earwitness.checks.history.record",
    "Fold": "earwitness.checks.engine.fold",
    "History": "earwitness.checks.own",
    "JournalInfo": "earwitness.checks.engine.fold",
    "Judge": "earwitness.checks.judge",
    "Kind": "earwitness.checks.history.record",
    "Outcome": "earwitness.checks.verdict",
    "OwnCheck": "earwitness.checks.own",
    "Phase": "earwitness.checks.history.record",
    "Place": "earwitness.checks.history.record",
    "RECORD": "earwitness.checks.history.record",
    "Record": "earwitness.checks.own",
    "Records": "earwitness.checks.own",
    "Roster": "earwitness.checks.roster",
    "Telling": "earwitness.checks.findings.sentences",
    "Verdict": "earwitness.checks.verdict",
    "View": "earwitness.checks.engine.world",
    "World": "earwitness.checks.engine.world",
    "check": "earwitness.checks.own",
    "conclude": "earwitness.checks.verdict",
    "exercised": "earwitness.checks.outcome",
    "outcome_of_run": "earwitness.checks.outcome",
    "tell": "earwitness.checks.findings.sentences",
    "upper_bound_95": "earwitness.checks.verdict",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
