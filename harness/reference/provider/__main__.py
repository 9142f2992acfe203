"""Entry point of `python -m earwitness.harness.reference.provider`, with settings in EARWITNESS_SERVICE."""

from __future__ import annotations

from earwitness.harness.reference.provider.service import Provider, Settings
from earwitness.harness.reference.service import run

if __name__ == "__main__":
    run(Settings, Provider)
