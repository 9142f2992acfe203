"""The witness: a finding in plain words, with the records that prove it. `tell` is the short form; `scene` the picture.

Files of this folder are words only: editing them makes no compiled loop stale (see `checks.engine.compiled`).
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
