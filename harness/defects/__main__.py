"""Command `python -m earwitness.harness.defects`: print the catalogue as JSON for other programs."""

from __future__ import annotations

import json
import sys

from earwitness.harness.defects.catalogue import CATALOGUE

sys.stdout.write(json.dumps([one.defect.to_dict() for one in CATALOGUE], indent=1) + "\n")
