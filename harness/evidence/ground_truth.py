"""Ground truth of a run: the lines that the platform's services logged about their own defects during it.

`harness.defects.chance` writes these lines.
"""

from __future__ import annotations

import json
from pathlib import Path


class GroundTruth:
    """Reader of the services' logs from a moment on, which `mark` sets."""

    def __init__(self, log_dir: Path) -> None:
        """Read the logs of `log_dir` from their beginnings until `mark` is called."""
        self._log_dir = log_dir
        self._begin: dict[Path, int] = {}

    def mark(self) -> None:
        """Remember the present ends of the logs: `count` skips what is before them."""
        self._begin = {path: path.stat().st_size for path in self._log_dir.glob("*.log")}

    def count(self, defect: str, tag: str) -> tuple[int, int]:
        """Return (fired, manifest) since `mark`: firings of the defect, and those with a visible effect.

        Only conversations of the run `tag` count, and firings that name no conversation.
        """
        firings: set[tuple[str, int]] = set()
        manifest: set[tuple[str, int]] = set()
        for path in sorted(self._log_dir.glob("*.log")):
            with open(path, "rb") as file:
                file.seek(self._begin.get(path, 0))
                life = 0
                for raw in file:
                    if b" started, pid " in raw:
                        life += 1  # a service that was restarted counts its firings from 1 again
                    if not raw.startswith((b'{"defect"', b'{"manifest"')):
                        continue
                    line = json.loads(raw)
                    key = (f"{path.name}:{life}", int(line["firing"]))
                    if line.get("defect") == defect and str(line.get("conversation", tag)).startswith(tag):
                        firings.add(key)
                    elif line.get("manifest") == defect:
                        manifest.add(key)
        return len(firings), len(manifest & firings)
