"""Contract of a platform: a broken promise is a FAIL, a violation of something never promised is an observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from earwitness.checks.declared import FLAG, TEXT, Fault, Key, Number, OneOf, faults_in, key, keys_of

MOST: Final = 1e12
"""Upper limit of every number in a contract, whatever its unit."""
SECONDS: Final = Number(most=MOST, unit="seconds")
COUNT: Final = Number(whole=True, most=MOST)
RATIO: Final = Number(most=MOST)


class ContractError(ValueError):
    """Error for a contract with mistakes.

    `faults`: the mistakes, one for each wrong key. The exception's message states all of them.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Join the sentences of all `faults` into the message."""
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.sentence() for fault in faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Promises of a platform, one field each. The text of a field states what is promised, and which checks read it.

    Fields whose names end in `_s` are seconds. None: not promised.
    """

    name: str = key("unnamed", TEXT, "name of the platform")
    ordered: bool = key(True, FLAG, "per-sender FIFO inside a conversation (I1)")
    total_order: bool = key(True, FLAG, "all members see the messages of a conversation in one order (I2)")
    sequence: Literal["contiguous", "increasing", "none"] = key(
        "none", OneOf(("contiguous", "increasing", "none")), "how messages are numbered in a conversation (I2, I4)"
    )
    acknowledges: bool = key(
        True, FLAG, "each sent message is answered; without, stored and delivered are judged by effect"
    )
    answer_bound_s: float = key(
        10.0, SECONDS, "time to the answer to a message sent on a connection that stays open (I43)"
    )
    durable: bool = key(True, FLAG, "an acknowledged message is stored (I5a; needs `history`)")
    delivers: bool = key(True, FLAG, "every member connected throughout receives every message (I5b)")
    at_most_once: Literal["connection", "device", "no"] = key(
        "connection",
        OneOf(("connection", "device", "no")),
        "no duplicates on a connection, on a device across its reconnects, or no promise (I6)",
    )
    idempotent: bool = key(False, FLAG, "retries with the same client id take effect once (I7)")
    echo: bool = key(
        True, FLAG, "the sender receives its own messages; without, not on the connection that sent them (I45)"
    )
    unchanged: bool = key(True, FLAG, "bodies arrive as they were sent (I10)")
    names_sender: bool = key(True, FLAG, "each delivery states its sender (I15)")
    history: bool = key(True, FLAG, "the final state of a conversation can be read completely")
    recent_reads: bool = key(
        False, FLAG, "a history read shows every message acknowledged to any device before the read began (I44)"
    )
    resume: bool = key(False, FLAG, "reconnecting with the last sequence number received continues without a gap")
    resume_answers: bool = key(True, FLAG, "resuming also continues the pieces of an agent's answer in progress (I24)")
    misses_nothing: bool = key(
        False,
        FLAG,
        "a device that stays a member gets each message in the end: live, replayed, or from the history (I47)",
    )
    delivery_bound_s: float | None = key(
        None, SECONDS, "time from acknowledgement to delivery, for a member connected throughout (I25)", example="5.0"
    )
    sync_bound_s: float | None = key(
        None, SECONDS, "account changes reach the main database within this time (I41)", example="10.0"
    )
    account_news_s: float | None = key(
        None,
        SECONDS,
        "a changed account is pushed on every open socket of its user within this time (I41)",
        example="6.0",
    )
    shared_state_s: float | None = key(
        None,
        SECONDS,
        "an accepted edit or read mark is shown to later readers (I18), and on all devices within this time (I22)",
        example="6.0",
    )
    presence_s: float | None = key(
        None,
        SECONDS,
        "how long a user may be shown as online after the last connection, or offline after the first one (I27)",
        example="8.0",
    )
    token_leeway_s: float = key(5.0, SECONDS, "clock leeway around a token's expiry (I29, I34)")
    revocation_bound_s: float | None = key(
        None, SECONDS, "a revoked token is refused everywhere after this time (I30, I32, I34)", example="5.0"
    )
    unavailable_s: float | None = key(
        None,
        SECONDS,
        "longest wait of any user while services are replaced or restarted gracefully (I28)",
        example="5.0",
    )
    reconnect_s: float | None = key(
        None, SECONDS, "a user cut off by such a deployment is connected again within this time (I28)", example="5.0"
    )
    deploy_error_ratio: float = key(0.0, RATIO, "share of all answers that may be errors during a deployment (I28)")
    outage_answer_s: float | None = key(
        None,
        SECONDS,
        "while auth is away, a login is refused within this time, with 503 and Retry-After (I35)",
        example="1.0",
    )
    outage_notice_s: float = key(5.0, SECONDS, "how long the platform may take to notice that auth is away (I35)")
    outage_session_s: float = key(0.0, SECONDS, "how long existing sessions continue without auth (I35)")
    recovery_s: float = key(10.0, SECONDS, "how long after an outage everything is served again (I35)")
    breaker_failures: int | None = key(None, COUNT, "failures in a row that open a circuit breaker (I40)", example="3")
    breaker_open_s: float = key(2.0, SECONDS, "how long an open breaker refuses before it tries again (I40)")
    breaker_probes: int = key(1, COUNT, "how many calls at a time may try a breaker that was open (I40)")
    breaker_successes: int = key(1, COUNT, "how many tries must succeed before the breaker closes (I40)")
    logout_ends_session: bool = key(
        False, FLAG, "a logout ends all of its session: the refresh token, and all tokens made from it (I30)"
    )
    refresh_single_use: bool = key(False, FLAG, "a refresh token is good for one refresh (I32)")
    refresh_grace_s: float = key(
        0.0, SECONDS, "a refresh token may be sent again for this long after its first use was answered (I32)"
    )
    refresh_reuse_revokes: bool = key(
        False, FLAG, "a second use of a refresh token ends its session within revocation_bound_s (I32)"
    )
    sockets_end_with_token: bool = key(
        False, FLAG, "nothing is delivered on a socket whose token has expired or was revoked (I34)"
    )
    rate_per_s: float | None = key(
        None,
        Number(most=MOST, unit="messages per second"),
        "budget of a subject for messages and requests: a token bucket that refills so fast (I36, I37, I39)",
        example="20.0",
    )
    rate_burst: float | None = key(
        None, Number(most=MOST, unit="messages"), "size of the token bucket (I36, I37, I39)", example="50.0"
    )
    rate_window_s: float | None = key(
        None,
        SECONDS,
        "instead of a bucket: at most rate_burst within any window of this length (I36, I37, I39)",
        example="60.0",
    )
    retry_after: bool = key(False, FLAG, "a refusal for the budget states truly when to try again (I38)")
    fairness_factor: float | None = key(
        None,
        RATIO,
        "no device with an equal load waits longer than this many times the usual wait (I26)",
        example="10.0",
    )
    message_bytes_max: int | None = key(
        None, Number(whole=True, most=MOST, unit="bytes"), "longest body that is accepted (I46)", example="65536"
    )

    def to_dict(self) -> dict[str, Any]:
        """Return all promises by field name, as `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """Return the contract with these promises; fields that `data` does not name keep their defaults.

        Raises ContractError, which names all mistakes at once: unknown keys, and values that the key's kind does not
        allow.
        """
        if faults := faults_in(data, KEYS, absent=OPTIONAL):
            raise ContractError(faults)
        return cls(**data)


KEYS: Final[Mapping[str, Key]] = keys_of(Contract)
"""Declaration of each promise, by the name of its field."""
OPTIONAL: Final = tuple(name for name, value in Contract().to_dict().items() if value is None)
"""Names of the promises that may be None.

The contract in a run's directory states None; TOML has no such value, so a target file leaves the key out.
"""
