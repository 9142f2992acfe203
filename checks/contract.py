"""Contract of a platform: a broken promise is a FAIL, a violation of something never promised is an observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

MOST = 1e12
"""Upper limit of any bound in a contract, in seconds, bytes or messages."""


class ContractError(ValueError):
    """Error for a contract that cannot be understood.

    The message names each wrong key, what is wrong with it and which values are possible.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Promises of a platform, one field each.

    Times are seconds. Ids in parentheses are the checks that read the field.

    ordered           per-sender FIFO inside a conversation (I1)
    total_order       all members see the messages of a conversation in one order (I2)
    sequence          how messages are numbered in a conversation: contiguous, increasing, none (I2, I4)
    acknowledges      the platform answers each sent message; without, "stored" and "delivered" are judged by effect
    answer_bound_s    … within this time, for a message sent on a connection that stays open (I43)
    durable           an acknowledged message is stored (I5a; needs `history`)
    delivers          every member connected throughout receives every message (I5b)
    at_most_once      scope of "no duplicates" (I6): a connection, a device across its reconnects, or no promise
    idempotent        retries with the same client id take effect once (I7)
    echo              the sender receives its own messages; without, not on the connection that sent them (I45)
    unchanged         bodies arrive as they were sent (I10)
    names_sender      each delivery states its sender (I15)
    history           the final state of a conversation can be read completely
    recent_reads      a history read shows every message that was acknowledged to any device before the read began (I44)
    resume            reconnecting with the last sequence number received continues without a gap
    resume_answers    … also the pieces of an agent's answer that is in progress (I24); false where they are not sent
                      again, because they have no sequence number
    misses_nothing    a device that stays a member gets each message in the end: live, by a replay, or by reading the
                      history where the platform asked for that (I47)
    delivery_bound_s  from acknowledgement to delivery, for a member connected throughout (I25); None: no bound
    sync_bound_s      account changes reach the main database within this time (I41); None: no bound
    account_news_s    a changed account is pushed on every open socket of its user within this time (I41); None: not
                      promised
    shared_state_s    an accepted edit or read mark is shown to every later reader (I18), and within this time on all
                      devices (I22); None: not promised
    presence_s        how long a user may still be shown as online after the last connection has ended, or as offline
                      after the first one has begun (I27); None: not promised
    token_leeway_s    clock leeway around a token's expiry (I29, I34)
    revocation_bound_s  a revoked token is refused everywhere after this time (I30, I32, I34); None: not promised
    logout_ends_session  a logout ends all of its session: the refresh token too, and all tokens made from it (I30)
    refresh_single_use   a refresh token is good for one refresh (I32)
    refresh_grace_s      … but may be sent again for this long after its first use was answered (I32)
    refresh_reuse_revokes  a second use of a refresh token ends its session within revocation_bound_s (I32)
    sockets_end_with_token  nothing is delivered on a socket whose token has expired or was revoked (I34)
    rate_per_s, rate_burst  one budget of a subject for its messages and requests, a token bucket (I36, I37, I39); None:
                      unlimited
    rate_window_s     instead of a bucket: at most rate_burst within any window of this length
    retry_after       a refusal for the budget states truly when to try again (I38)
    fairness_factor   no device with an equal load waits longer than this many times the usual wait (I26); None: no
                      promise
    unavailable_s     longest wait of any user while services are replaced or restarted gracefully (I28); None: not
                      promised
    reconnect_s       a user cut off by such a deployment is connected again within this time (I28); None: no bound
    deploy_error_ratio  share of all answers that may be errors during a deployment (I28)
    outage_answer_s   while auth is away a new login is refused within this time, with 503 and Retry-After (I35); None:
                      not promised
    outage_notice_s   how long the platform may take to notice that auth is away
    outage_session_s  how long existing sessions continue without auth (I35)
    recovery_s        how long after an outage everything is served again (I35)
    breaker_failures  failures in a row that open a circuit breaker (I40); None: there is none
    breaker_open_s    how long an open breaker refuses before it tries again
    breaker_probes    how many calls at a time may try
    breaker_successes how many of them must succeed before the breaker closes
    message_bytes_max  longest body that is accepted (I46); None: not stated
    """

    name: str = "unnamed"
    ordered: bool = True
    total_order: bool = True
    sequence: Literal["contiguous", "increasing", "none"] = "none"
    acknowledges: bool = True
    answer_bound_s: float = 10.0
    durable: bool = True
    delivers: bool = True
    at_most_once: Literal["connection", "device", "no"] = "connection"
    idempotent: bool = False
    echo: bool = True
    unchanged: bool = True
    names_sender: bool = True
    history: bool = True
    recent_reads: bool = False
    resume: bool = False
    resume_answers: bool = True
    misses_nothing: bool = False
    delivery_bound_s: float | None = None
    sync_bound_s: float | None = None
    account_news_s: float | None = None
    shared_state_s: float | None = None
    presence_s: float | None = None
    token_leeway_s: float = 5.0
    revocation_bound_s: float | None = None
    unavailable_s: float | None = None
    reconnect_s: float | None = None
    deploy_error_ratio: float = 0.0
    outage_answer_s: float | None = None
    outage_notice_s: float = 5.0
    outage_session_s: float = 0.0
    recovery_s: float = 10.0
    breaker_failures: int | None = None
    breaker_open_s: float = 2.0
    breaker_probes: int = 1
    breaker_successes: int = 1
    logout_ends_session: bool = False
    refresh_single_use: bool = False
    refresh_grace_s: float = 0.0
    refresh_reuse_revokes: bool = False
    sockets_end_with_token: bool = False
    rate_per_s: float | None = None
    rate_burst: float | None = None
    rate_window_s: float | None = None
    retry_after: bool = False
    fairness_factor: float | None = None
    message_bytes_max: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all promises by field name, as `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """Return the contract with these promises; fields that are not named keep their defaults.

        Raises ContractError that names all faults at once: unknown keys, wrong types, numbers outside 0 … `MOST`.
        """
        hints = get_type_hints(cls)
        known = {f.name for f in fields(cls)}
        faults = [f"unknown promise {key!r} (known: {', '.join(sorted(known))})" for key in data if key not in known]
        for key in known & set(data):
            fault = _type_fault(key, data[key], hints[key])
            if fault:
                faults.append(fault)
        if faults:
            raise ContractError("; ".join(faults))
        return cls(**data)


def _type_fault(key: str, value: Any, hint: Any) -> str | None:
    choices = get_args(hint)
    if choices and all(isinstance(c, str) for c in choices):
        return None if value in choices else f"{key} = {value!r}: choose one of {', '.join(choices)}"
    kinds = choices or (hint,)
    if isinstance(value, bool):
        return None if bool in kinds else f"{key} = {value!r}: expected a number or text, not true/false"
    if isinstance(value, int | float) and (isinstance(value, kinds) or float in kinds):
        if 0 <= value <= MOST:  # false for NaN, with which every bound would be kept
            return None
        return f"{key} = {value!r}: expected a number from 0 to {MOST:g}"
    if isinstance(value, kinds):
        return None
    wanted = " or ".join(getattr(k, "__name__", str(k)) for k in kinds if k is not type(None))
    return f"{key} = {value!r}: expected {wanted}"
