"""`python -m harness.reference.frontend`, settings in EARWITNESS_SERVICE."""

from __future__ import annotations

from harness.reference.frontend.app import Frontend, FrontendSettings
from harness.reference.service import run

if __name__ == "__main__":
    run(FrontendSettings, Frontend)
