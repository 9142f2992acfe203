"""Entry point of `python -m earwitness.harness.reference.backend`, with settings in EARWITNESS_SERVICE."""

from __future__ import annotations

from earwitness.harness.reference.backend.app import Backend
from earwitness.harness.reference.backend.settings import BackendSettings
from earwitness.harness.reference.service import run

if __name__ == "__main__":
    run(BackendSettings, Backend)
