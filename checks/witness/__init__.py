"""The witness: a finding in plain words, with the records that prove it. `tell` is the short form; `scene` the picture.

Files of this folder are words only: editing them makes no compiled loop stale (see `checks.compiled`).
"""

from earwitness.checks.witness.lines import Lookup, NameOf, Told, line
from earwitness.checks.witness.names import device, message, person, room
from earwitness.checks.witness.scene import Scene, Step, scene
from earwitness.checks.witness.sentences import Telling, said_by, sentence, tell

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
