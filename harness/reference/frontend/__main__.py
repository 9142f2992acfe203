"""Entry point of `python -m earwitness.harness.reference.frontend`, with settings in EARWITNESS_SERVICE."""

from __future__ import annotations

from earwitness.harness.reference.frontend.app import Frontend, FrontendSettings
from earwitness.harness.reference.service import run

if __name__ == "__main__":
    run(FrontendSettings, Frontend)
