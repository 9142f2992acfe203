"""What a chat platform promises, judged from the testimonies of those who were there."""

from __future__ import annotations

from checks.catalogue import ALL
from checks.contract import Contract, ContractError
from checks.fold import Check, End, Fold, JournalInfo
from checks.judge import Batch, Judge, judge
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
    "judge",
    "outcome_of_run",
    "tell",
    "upper_bound_95",
]
