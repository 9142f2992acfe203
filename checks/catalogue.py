"""List of all checks, in the order in which reports show them."""

from __future__ import annotations

from earwitness.checks.accounts.authority import LIVE_AUTHORITY
from earwitness.checks.accounts.forgery import FORGERY
from earwitness.checks.accounts.single_use import REFRESH, SINGLE_USE
from earwitness.checks.accounts.sync import SYNC, UNIQUE_ACCOUNT
from earwitness.checks.accounts.validity import DEADLINE, REVOCATION_BOUND
from earwitness.checks.devices.convergence import CONVERGENCE, MONOTONIC_WRITES
from earwitness.checks.devices.presence import PRESENCE
from earwitness.checks.engine.fold import Check
from earwitness.checks.messages.answered import ANSWERED
from earwitness.checks.messages.answers import CONNECTION_SCOPE, FAILED_NO_EFFECT, SINGLE_COMPLETION
from earwitness.checks.messages.causal import CAUSAL_ORDER
from earwitness.checks.messages.creation import NO_CREATION
from earwitness.checks.messages.delivered import DELIVERED_CHECK
from earwitness.checks.messages.echoes import NO_ECHO
from earwitness.checks.messages.fifo import FIFO
from earwitness.checks.messages.gaps import GAP_FREE
from earwitness.checks.messages.heard import IDENTITY, INTEGRITY, ISOLATION, NO_DUPLICATION
from earwitness.checks.messages.liveness import LIVENESS_BOUND
from earwitness.checks.messages.order import TOTAL_ORDER
from earwitness.checks.messages.reads import MONOTONIC_READS, READ_YOUR_WRITES
from earwitness.checks.messages.recent import RECENT_READS
from earwitness.checks.messages.resume import RESUME_WITHOUT_GAP, SESSION_CONTINUITY, WATERMARK_HONESTY
from earwitness.checks.messages.revoked import REVOKED
from earwitness.checks.messages.runs import AGENT_STREAM
from earwitness.checks.messages.sizes import SIZE_LIMIT
from earwitness.checks.messages.stored import ONCE, STORED_CHECK
from earwitness.checks.messages.unreceived import MISSES_NOTHING
from earwitness.checks.operations.availability import AVAILABILITY
from earwitness.checks.operations.breakers import BREAKERS
from earwitness.checks.operations.outages import OUTAGE
from earwitness.checks.resources.fairness import FAIRNESS
from earwitness.checks.resources.identity import KEY_INTEGRITY
from earwitness.checks.resources.limits import NEVER_LESS, NEVER_MORE
from earwitness.checks.resources.retry import RETRY_AFTER
from earwitness.checks.tester.attained import LOAD_ATTAINED
from earwitness.checks.tester.health import CLOCK, EVIDENCE_WHOLE, NOT_VACUOUS, OWN_ORDER, RECORD_COMPLETE
from earwitness.checks.tester.soundness import STORY_SOUND
from earwitness.checks.tester.truth import ROSTER_TRUTH

ALL: tuple[Check, ...] = (
    RECORD_COMPLETE,
    NOT_VACUOUS,
    CLOCK,
    LOAD_ATTAINED,
    OWN_ORDER,
    ROSTER_TRUTH,
    STORY_SOUND,
    EVIDENCE_WHOLE,
    FIFO,
    TOTAL_ORDER,
    CAUSAL_ORDER,
    GAP_FREE,
    STORED_CHECK,
    DELIVERED_CHECK,
    NO_DUPLICATION,
    ONCE,
    NO_CREATION,
    FAILED_NO_EFFECT,
    INTEGRITY,
    SINGLE_COMPLETION,
    ANSWERED,
    NO_ECHO,
    SIZE_LIMIT,
    ISOLATION,
    REVOKED,
    CONNECTION_SCOPE,
    IDENTITY,
    READ_YOUR_WRITES,
    MONOTONIC_READS,
    RECENT_READS,
    MONOTONIC_WRITES,
    SESSION_CONTINUITY,
    RESUME_WITHOUT_GAP,
    WATERMARK_HONESTY,
    CONVERGENCE,
    AGENT_STREAM,
    LIVENESS_BOUND,
    MISSES_NOTHING,
    FAIRNESS,
    PRESENCE,
    NEVER_MORE,
    NEVER_LESS,
    RETRY_AFTER,
    KEY_INTEGRITY,
    AVAILABILITY,
    OUTAGE,
    BREAKERS,
    DEADLINE,
    REVOCATION_BOUND,
    FORGERY,
    REFRESH,
    SINGLE_USE,
    LIVE_AUTHORITY,
    SYNC,
    UNIQUE_ACCOUNT,
)
"""All checks: H-checks of the tester first, then I-checks of the platform, grouped as in reports."""
