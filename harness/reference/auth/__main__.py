"""`python -m harness.reference.auth`"""

from __future__ import annotations

from harness.reference.auth.service import Auth
from harness.reference.auth.settings import Settings
from harness.reference.service import run

if __name__ == "__main__":
    run(Settings, Auth)
