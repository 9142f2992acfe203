"""The list of defects: what each breaks, in a user's words, and which check must catch it. Data, and nothing else."""

from __future__ import annotations

from harness.reference.defects.catalogue.auth import AUTH
from harness.reference.defects.catalogue.described import Described
from harness.reference.defects.catalogue.devices import DEVICES
from harness.reference.defects.catalogue.functional import FUNCTIONAL
from harness.reference.defects.catalogue.limits import LIMITS
from harness.reference.defects.catalogue.messages import MESSAGES
from harness.reference.defects.catalogue.outages import OUTAGES
from harness.reference.defects.catalogue.sync import SYNC

CATALOGUE: tuple[Described, ...] = (*MESSAGES, *DEVICES, *AUTH, *LIMITS, *OUTAGES, *SYNC, *FUNCTIONAL)

BY_NAME: dict[str, Described] = {key: one for one in CATALOGUE for key in (one.id, one.name)}
