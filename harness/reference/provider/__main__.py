"""`python -m harness.reference.provider`"""

from __future__ import annotations

from harness.reference.provider.service import Provider, Settings
from harness.reference.service import run

if __name__ == "__main__":
    run(Settings, Provider)
