"""Valid inputs of every kind that a user writes, as values that `mutations` may change."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SECRETS: Final = {
    "CHAT_API_KEY": "key-of-the-chat",
    "AUTH_DSN": "postgresql://u:p@127.0.0.1:9/a",
    "MAIN_DSN": "postgresql://u:p@127.0.0.1:9/b",
    "CHAT_TEST_KEY": "0123456789abcdef0123456789abcdef",
}
"""Environment variables that the target files name."""


def plain_history() -> list[dict[str, Any]]:
    """Return rows as a simple recorder writes them, of every kind that it may write."""
    rows: list[dict[str, Any]] = [{"roster": {"members": {"general": ["ann", "bob"]}}}]
    rows.append({"run": {"judged_by": ["I1"], "thresholds": ["ack p99 < 1 s"], "warnings": ["a warning"]}})

    def say(kind: str, client: str | None = None, **columns: Any) -> None:
        who = {"client": client} if client else {}
        rows.append({"time_ns": 1000 * len(rows), "kind": kind, **who, **columns})

    say("token", "ann", artefact="access", deadline_ns=10**12)
    for who in ("ann", "bob"):
        say("login", who, status=200, duration_us=1500)
        say("connect", who)
        say("join", who, conversation="general", seq=0)
    say("phase", phase="load")
    for n in (1, 2):
        say("invoke", "ann", conversation="general", message=f"m{n}", text="hello")
        say("ok", "ann", message=f"m{n}", seq=n)
        for who in ("ann", "bob"):
            say("deliver", who, message=f"m{n}", seq=n, sender="ann", text="hello")
    say("request", "ann", status=200, sent_ns=5000, remaining=3)
    say("write", "ann", state="edit", message="m1", version=2, text="hallo")
    say("seen", "bob", state="edit", message="m1", version=2, text="hallo")
    say("presence", "bob", author="ann", online=1, devices=1)
    say("run", "bob", conversation="general", run="r1", chunk=0, text="so")
    say("read", "bob", conversation="general", rows=2, seq=2)
    say("probe", name="me", status=200, duration_us=900)
    say("invoke", "bob", conversation="general", message="m3", text="again")
    say("fail", "bob", message="m3", code=429)
    say("fault", fault="kill", name="kill auth", flags=["own"])
    say("phase", phase="drained")
    for n in (1, 2):
        say("stored", "ann", message=f"m{n}", seq=n, sender="ann", text="hello")
    say("read_end", "ann", conversation="general", rows=2, seq=2)
    for who in ("ann", "bob"):
        say("disconnect", who, flags=["own"], code=1000, reason="bye")
    rows.append({"journal": {"name": "import", "footer": {"lag_ms": {"p99": 0.2}}}})
    return rows


def contract() -> dict[str, Any]:
    return {"contract": tomllib.loads((ROOT / "harness/dialects/reference/contract.toml").read_text("utf-8"))}


def settings() -> dict[str, Any]:
    text = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/guide/settings.md").read_text("utf-8"), re.DOTALL)[0]
    return {**tomllib.loads(text), "thresholds": ["errors < 1 %", "fan-out of 100 p99 < 250 ms"]}


VARIABLES: Final = {
    "EARWITNESS_AUTH_SERVICE_PORT": "7001",
    "EARWITNESS_BACKEND_PORT": "dynamic",
    "EARWITNESS_BACKEND_REDIS": "redis://:pass@127.0.0.1:6379/1",
    "EARWITNESS_FRONTEND_API_URL": "http://127.0.0.1:8000",
    "EARWITNESS_FRONTEND_TEST_MODE": "false",
}
SCHEDULES: Final = (
    "kill:auth@20s+10s,delay:edge@40s+10s=200ms~50ms",
    "pause:redis@1s+5s,restart:backend-1@2s,skew:backend-2@10s+10s=-2s",
    "cut:backend-2@20s,blackhole:backend/auth@20s+5s,bandwidth:edge@20s+10s=64kB,cut-after:edge@2m=100kB",
    "replace:backend-1@500ms,wipe:redis@20s,crash:backend-2@1.5s",
    "auth_down@1s+1s,auth_down@9s",
)
ARRIVALS: Final = ("50/s", "poisson 50/s", "0.5/s", "poisson  1000 / s")
SHAPES: Final = ("ramp", "steps:5", "spike:0.2", "soak")
THRESHOLDS: Final = ("fan-out p99 < 250 ms", "errors < 1 %", "memory of backend < 400 MB", "fan-out of 100 max <= 2 s")


@cache
def _target_texts() -> tuple[str, ...]:
    guide = (ROOT / "docs/guide/targets.md").read_text("utf-8")
    whole, said, minted = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    shapes = [path.read_text("utf-8") for path in sorted((ROOT / "tests/support/shapes").glob("*.toml"))]
    other = (ROOT / "tests/support/other_chat/target.toml").read_text("utf-8")
    listed = 'accounts = "accounts.csv"\n' + re.sub(
        r"(?s)requests = \[\n.*?\n\]\nroom_id.*?\n", 'existing = [{ label = "general", members = "all" }]\n', whole
    )
    tokens = '[login]\nby = "tokens"\nfile = "tokens.json"\ntoken = "token"\nuser_id = "user_id"\n[socket]'
    return (
        whole,
        other,
        said,
        *shapes,
        re.sub(r"(?s)\[login\].*?\n\[socket\]", minted + "[socket]", whole),
        re.sub(r"(?s)\[login\].*?\n\[socket\]", tokens, listed),
        re.sub(r"(?s)\[send\]\nframe[^\n]*", '[send]\nrequest = { url = "/say", body = { text = "{text}" } }', whole),
    )


def targets() -> list[dict[str, Any]]:
    """Return target files as TOML values: the guide's complete one, variants of its logins, another chat's."""
    return [tomllib.loads(text) for text in _target_texts()]


def beside_targets(folder: Path) -> None:
    """Write the files to which the target files refer."""
    (folder / "accounts.csv").write_text("name,email,secret\nann,ann@x.example,word-1\nbob,bob@x.example,word-2\n")
    (folder / "key.txt").write_text("0123456789abcdef0123456789abcdef")
    (folder / "tokens.json").write_text('[{"token": "t-1", "user_id": "u1"}, {"token": "t-2", "user_id": "u2"}]')
