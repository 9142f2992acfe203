"""Settings and limits of one backend replica: time limits, budgets, output that a slow consumer may leave unread."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Settings of one backend replica, in `EARWITNESS_SERVICE`.

    Times are in seconds, sizes in bytes; defaults are for tuning and tests.

    fd               descriptor of the inherited listening socket
    rate_per_s, rate_burst  budget of one subject over all services; rate_per_s None: unlimited
    sync_wait_s      how long a request waits for a user whose account the auth service has not sent yet
    gap_wait_s       how long a sequence number may be missing before it is read from the database
    head_check_s     interval at which the heads of conversations with listeners are compared with the database
    recheck_s        interval at which open sockets are compared with revocations, accounts, edits and read marks
    outbound_bytes   unsent bytes of one socket at which it is closed with 1013
    resume_limit     most messages of one conversation that a resume replays
    abuse_nacks      this many refused frames within abuse_window_s close the socket with 4429
    agent_pace_s     time between two events of an agent's answer
    agent_silence_s  time without an event after which an answer of another replica's agent has ended
    presence_ttl_s   how long a user may still be shown as online after their replica has died
    presence_look_s  interval at which watched presence is compared with Redis
    commit_retry_s   how long a batch is retried while the database is down
    clock_offset     seconds by which this replica's clock is wrong
    """

    name: str
    fd: int
    dsn: str = field(repr=False)
    redis_url: str = field(repr=False)
    auth_url: str
    issuer: str
    audience: str
    rate_per_s: float | None = 500.0
    rate_burst: float | None = 2000.0
    test_mode: bool = False
    sync_wait_s: float = 2.0
    gap_wait_s: float = 0.1
    head_check_s: float = 1.0
    recheck_s: float = 5.0
    outbound_bytes: int = 8 << 20
    resume_limit: int = 10_000
    abuse_nacks: int = 5_000
    abuse_window_s: float = 10.0
    agent_pace_s: float = 0.01
    agent_silence_s: float = 5.0
    commit_retry_s: float = 10.0
    presence_ttl_s: float = 6.0
    presence_look_s: float = 1.0
    clock_offset: float = 0.0
