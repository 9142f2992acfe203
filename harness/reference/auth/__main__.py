"""Entry point of `python -m earwitness.harness.reference.auth`, with settings in EARWITNESS_SERVICE."""

from __future__ import annotations

from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.auth.settings import Settings
from earwitness.harness.reference.service import run

if __name__ == "__main__":
    run(Settings, Auth)
