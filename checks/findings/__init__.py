"""Counterexamples: findings as sentences, lines and swim-lanes, with the records that prove them.

`tell` gives the sentence and the lines, `scene` the swim-lane. Files of this folder hold texts only: editing them does
not make compiled loops stale (see `checks.engine.compiled`).
"""

from earwitness.checks.findings.lines import Lookup, NameOf, Told, line
from earwitness.checks.findings.names import device, message, person, room
from earwitness.checks.findings.scene import Scene, Step, scene
from earwitness.checks.findings.sentences import Telling, said_by, sentence, tell

__all__ = [
    "Lookup",
    "NameOf",
    "Scene",
    "Step",
    "Telling",
    "Told",
    "device",
    "line",
    "message",
    "person",
    "room",
    "said_by",
    "scene",
    "sentence",
    "tell",
]
