"""`python -m harness.reference.defects`: the catalogue as JSON, for programs that do not import the platform."""

from __future__ import annotations

import json
import sys

from harness.reference.defects.catalogue import CATALOGUE

sys.stdout.write(json.dumps([one.to_dict() for one in CATALOGUE], indent=1) + "\n")
