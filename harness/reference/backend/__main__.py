"""`python -m harness.reference.backend`, settings in EARWITNESS_SERVICE (harness.reference.backend.settings)."""

from __future__ import annotations

from harness.reference.backend.app import Backend
from harness.reference.backend.settings import BackendSettings
from harness.reference.service import run

if __name__ == "__main__":
    run(BackendSettings, Backend)
