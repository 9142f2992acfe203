"""Test whether the reference platform is installed; without extras the tool tests other platforms only."""

from __future__ import annotations

import importlib.util

from earwitness.harness.errors import PlatformError

MODULES = ("aiohttp", "asyncpg", "redis")
"""Modules that the services import. Postgres, Valkey and Caddy may be the machine's; their own errors name them."""
HOW = "pip install 'earwitness[platform]'"


def require_platform() -> None:
    """Raise PlatformError with the command that installs the reference platform, if it is not installed."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise PlatformError(
            f"The reference platform is not installed ({', '.join(missing)} missing). Install it with: {HOW}. "
            "To test your own platform, name it: --target FILE."
        )
