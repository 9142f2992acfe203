"""Writes the dashboards of Grafana from the tables in `panels.py`: `python dashboards/build.py [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from panels import DASHBOARDS

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "grafana" / "dashboards"


def rendered() -> dict[Path, str]:
    """Return the text of each file."""
    return {
        FOLDER / f"{one.name}.json": json.dumps(one.rendered(), indent=1, ensure_ascii=False) + "\n"
        for one in DASHBOARDS
    }


def main() -> int:
    """Write what changed; with `--check` name it and return 1."""
    check = sys.argv[1:] == ["--check"]
    stale = {path: text for path, text in rendered().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if check:
            print(f"not current: {path.relative_to(HERE)}; run python dashboards/build.py")
        else:
            path.write_text(text, "utf-8")
            print(f"written: {path.relative_to(HERE)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
