"""The written-out list of all checks, in the order in which they are told."""

from __future__ import annotations

from earwitness.checks.accounts import SYNC, UNIQUE_ACCOUNT
from earwitness.checks.answered import ANSWERED
from earwitness.checks.answers import CONNECTION_SCOPE, FAILED_NO_EFFECT, SINGLE_COMPLETION
from earwitness.checks.attained import LOAD_ATTAINED
from earwitness.checks.authority import LIVE_AUTHORITY
from earwitness.checks.availability import AVAILABILITY
from earwitness.checks.breakers import BREAKERS
from earwitness.checks.causal import CAUSAL_ORDER
from earwitness.checks.creation import NO_CREATION
from earwitness.checks.delivered import DELIVERED_CHECK
from earwitness.checks.devices import CONVERGENCE, MONOTONIC_WRITES
from earwitness.checks.echoes import NO_ECHO
from earwitness.checks.fairness import FAIRNESS
from earwitness.checks.fifo import FIFO
from earwitness.checks.fold import Check
from earwitness.checks.forgery import FORGERY
from earwitness.checks.gaps import GAP_FREE
from earwitness.checks.health import CLOCK, EVIDENCE_WHOLE, NOT_VACUOUS, OWN_ORDER, RECORD_COMPLETE
from earwitness.checks.heard import IDENTITY, INTEGRITY, ISOLATION, NO_DUPLICATION
from earwitness.checks.keys import KEY_INTEGRITY
from earwitness.checks.limits import NEVER_LESS, NEVER_MORE
from earwitness.checks.liveness import LIVENESS_BOUND
from earwitness.checks.order import TOTAL_ORDER
from earwitness.checks.outages import OUTAGE
from earwitness.checks.presence import PRESENCE
from earwitness.checks.reads import MONOTONIC_READS, READ_YOUR_WRITES
from earwitness.checks.recent import RECENT_READS
from earwitness.checks.resume import RESUME_WITHOUT_GAP, SESSION_CONTINUITY, WATERMARK_HONESTY
from earwitness.checks.retry import RETRY_AFTER
from earwitness.checks.revoked import REVOKED
from earwitness.checks.runs import AGENT_STREAM
from earwitness.checks.single_use import REFRESH, SINGLE_USE
from earwitness.checks.sizes import SIZE_LIMIT
from earwitness.checks.soundness import STORY_SOUND
from earwitness.checks.stored import ONCE, STORED_CHECK
from earwitness.checks.truth import ROSTER_TRUTH
from earwitness.checks.unreceived import MISSES_NOTHING
from earwitness.checks.validity import DEADLINE, REVOCATION_BOUND

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
