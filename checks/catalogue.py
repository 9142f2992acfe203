"""The written-out list of all checks, in the order in which they are told."""

from __future__ import annotations

from checks.accounts import SYNC, UNIQUE_ACCOUNT
from checks.answered import ANSWERED
from checks.answers import CONNECTION_SCOPE, FAILED_NO_EFFECT, SINGLE_COMPLETION
from checks.attained import LOAD_ATTAINED
from checks.authority import LIVE_AUTHORITY
from checks.availability import AVAILABILITY
from checks.breakers import BREAKERS
from checks.causal import CAUSAL_ORDER
from checks.creation import NO_CREATION
from checks.delivered import DELIVERED_CHECK
from checks.devices import CONVERGENCE, MONOTONIC_WRITES
from checks.echoes import NO_ECHO
from checks.fairness import FAIRNESS
from checks.fifo import FIFO
from checks.fold import Check
from checks.forgery import FORGERY
from checks.gaps import GAP_FREE
from checks.health import CLOCK, EVIDENCE_WHOLE, NOT_VACUOUS, OWN_ORDER, RECORD_COMPLETE
from checks.heard import IDENTITY, INTEGRITY, ISOLATION, NO_DUPLICATION
from checks.keys import KEY_INTEGRITY
from checks.limits import NEVER_LESS, NEVER_MORE
from checks.liveness import LIVENESS_BOUND
from checks.order import TOTAL_ORDER
from checks.outages import OUTAGE
from checks.presence import PRESENCE
from checks.reads import MONOTONIC_READS, READ_YOUR_WRITES
from checks.recent import RECENT_READS
from checks.resume import RESUME_WITHOUT_GAP, SESSION_CONTINUITY, WATERMARK_HONESTY
from checks.retry import RETRY_AFTER
from checks.revoked import REVOKED
from checks.runs import AGENT_STREAM
from checks.single_use import REFRESH, SINGLE_USE
from checks.sizes import SIZE_LIMIT
from checks.soundness import STORY_SOUND
from checks.stored import ONCE, STORED_CHECK
from checks.truth import ROSTER_TRUTH
from checks.unreceived import MISSES_NOTHING
from checks.validity import DEADLINE, REVOCATION_BOUND

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
