"""The list of defects: what each breaks, in a user's words, and which check must catch it. Data, and nothing else."""

from __future__ import annotations

from earwitness.harness.defects.catalogue.auth import AUTH
from earwitness.harness.defects.catalogue.described import Described
from earwitness.harness.defects.catalogue.devices import DEVICES
from earwitness.harness.defects.catalogue.functional import FUNCTIONAL
from earwitness.harness.defects.catalogue.limits import LIMITS
from earwitness.harness.defects.catalogue.messages import MESSAGES
from earwitness.harness.defects.catalogue.outages import OUTAGES
from earwitness.harness.defects.catalogue.sync import SYNC

CATALOGUE: tuple[Described, ...] = (*MESSAGES, *DEVICES, *AUTH, *LIMITS, *OUTAGES, *SYNC, *FUNCTIONAL)

BY_NAME: dict[str, Described] = {key: one for one in CATALOGUE for key in (one.id, one.name)}
