"""What a chat platform promises, judged from the testimonies of those who were there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checks.catalogue import ALL
    from checks.contract import Contract, ContractError
    from checks.fold import Check, End, Fold, JournalInfo
    from checks.judge import Batch, Judge
    from checks.outcome import exercised, outcome_of_run
    from checks.record import RECORD, Flag, Kind, Phase, Place
    from checks.roster import Roster
    from checks.verdict import Finding, Outcome, Verdict, conclude, upper_bound_95
    from checks.witness import Telling, tell
    from checks.world import View, World

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
    "JournalInfo",
    "Judge",
    "Kind",
    "Outcome",
    "Phase",
    "Place",
    "Roster",
    "Telling",
    "Verdict",
    "View",
    "World",
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
    "ALL": "checks.catalogue",
    "Batch": "checks.judge",
    "Check": "checks.fold",
    "Contract": "checks.contract",
    "ContractError": "checks.contract",
    "End": "checks.fold",
    "Finding": "checks.verdict",
    "Flag": "checks.record",
    "Fold": "checks.fold",
    "JournalInfo": "checks.fold",
    "Judge": "checks.judge",
    "Kind": "checks.record",
    "Outcome": "checks.verdict",
    "Phase": "checks.record",
    "Place": "checks.record",
    "RECORD": "checks.record",
    "Roster": "checks.roster",
    "Telling": "checks.witness",
    "Verdict": "checks.verdict",
    "View": "checks.world",
    "World": "checks.world",
    "conclude": "checks.verdict",
    "exercised": "checks.outcome",
    "outcome_of_run": "checks.outcome",
    "tell": "checks.witness",
    "upper_bound_95": "checks.verdict",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
