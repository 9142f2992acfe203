"""`benchmarks.judge` with one line of JSON as output, for the table: python -m benchmarks.judge_json [RECORDS]."""

from __future__ import annotations

import json
import sys

from benchmarks.judge import measure

if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000, connections=100, seed=1)))
