"""The defects of the auth service by id, and how each takes its place."""

from __future__ import annotations

from collections.abc import Callable

from harness.reference.auth.service import Auth
from harness.reference.defects import functional
from harness.reference.defects.chance import Chance

DEFECTS: dict[str, Callable[[Auth, Chance], object]] = {
    **functional.AUTH,
}
