"""Mark of the requests that this tester fires itself, so that a story's own requests can be told from them."""

from __future__ import annotations

from typing import Any, Final

OURS: Final[dict[str, Any]] = {"earwitness": True}
"""`context` of a request event of ours; compared by identity."""
