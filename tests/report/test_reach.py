"""Reach and the places of losses, from literal histories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reported import failed_run

from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.reach import placed


@pytest.mark.parametrize(
    ("lost", "where"),
    [
        ("x...", {"prefix": 1, "middle": 0, "end": 0, "whole": 0}),
        ("xx.x..x.xxx", {"prefix": 2, "middle": 2, "end": 3, "whole": 0}),
        (".x.", {"prefix": 0, "middle": 1, "end": 0, "whole": 0}),
        ("...", {"prefix": 0, "middle": 0, "end": 0, "whole": 0}),
        ("xxx", {"prefix": 0, "middle": 0, "end": 0, "whole": 3}),
    ],
)
def test_a_loss_has_one_place(lost: str, where: dict[str, int]) -> None:
    """Before all that came, behind all that came, between, or nothing came."""
    assert placed(np.array([letter == "x" for letter in lost])) == where


def test_reach_of_a_literal_run(tmp_path: Path) -> None:
    """By room size, and by sender. What I5b counts is the sum over the room sizes."""
    verdict = json.loads((failed_run(tmp_path / "run") / "verdict.json").read_text("utf-8"))
    reach = verdict["reach"]
    assert reach["rooms"] == [
        {"size": 2, "rooms": 1, "owed": 1, "missed": 0, "received": 1, "not_known": 0},
        {"size": 3, "rooms": 1, "owed": 12, "missed": 4, "received": 8, "not_known": 0},
    ]
    i5b = next(check for check in verdict["checks"] if check["id"] == "I5b")
    assert sum(row["owed"] for row in reach["rooms"]) == i5b["examined"]
    assert sum(row["missed"] for row in reach["rooms"]) == i5b["violations"]
    ann = {"sender": "ann", "lost": 3, "prefix": 1, "middle": 1, "end": 1, "whole": 0}
    bob = {"sender": "bob", "lost": 1, "prefix": 0, "middle": 0, "end": 0, "whole": 1}
    assert reach["deliveries"]["senders"] == [ann, bob]
    assert {key: reach["deliveries"][key] for key in ("lost", "placed", "of")} == {"lost": 4, "placed": 4, "of": 2}
    assert reach["stored"]["senders"] == [{**ann, "lost": 1, "prefix": 0, "end": 0}]


def test_a_run_without_its_end_owes_nothing_for_certain(tmp_path: Path) -> None:
    """No absence is counted as a loss."""
    run = failed_run(tmp_path / "run", torn=True)
    reach = judge_run(run)["reach"]
    assert sum(row["missed"] for row in reach["rooms"]) == 0
    assert reach["deliveries"]["lost"] == reach["stored"]["lost"] == 0
