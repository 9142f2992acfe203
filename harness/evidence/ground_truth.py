"""Ground truth of a run: the lines in which the platform's services logged the firings of their defects.

`harness.defects.chance` writes these lines.
"""

from __future__ import annotations

import json
from pathlib import Path


class GroundTruth:
    """Reader of the services' logs; it counts the lines after the last call of `mark`."""

    def __init__(self, log_dir: Path) -> None:
        """Prepare to read the logs in `log_dir`; without a call of `mark` they are read from their beginnings."""
        self._log_dir = log_dir
        self._begin: dict[Path, int] = {}

    def mark(self) -> None:
        """Store the present ends of the logs: `count` skips all lines before them."""
        self._begin = {path: path.stat().st_size for path in self._log_dir.glob("*.log")}

    def count(self, defect: str, tag: str) -> tuple[int, int]:
        """Return (fired, manifest) since `mark`: the number of firings of a defect, and of those with a visible effect.

        Firings that name a conversation of another run than that with the tag `tag` are not counted.
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
