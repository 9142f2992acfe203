"""Defects of breakers and of tokens while auth is away: each breaks what it says, and nothing before it fires."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.outages import FailOpen, HalfOpenForAll, StuckOpen
from earwitness.harness.reference.breaker import CircuitBreaker, CircuitOpen, State
from earwitness.harness.reference.tokens import KeysUnavailable


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.auth_breaker = CircuitBreaker("auth", (OSError,), failures=1, open_s=2.0, clock=lambda: self.now_s)

    async def fail(self) -> None:
        async def down() -> None:
            raise OSError("down")

        with pytest.raises(OSError, match="down"):
            await self.auth_breaker.call(down)


async def answer() -> str:
    return "answer"


@pytest.mark.parametrize("probability", [0.0, 1.0])
async def test_a_breaker_that_stays_open(probability: float, capsys: pytest.CaptureFixture[str]) -> None:
    """When it is time to try, it refuses on and on."""
    bench: Any = Bench()
    StuckOpen(bench, Chance("Z53", "frontend", probability))
    await bench.fail()
    bench.now_s = 100.0
    if probability:
        with pytest.raises(CircuitOpen):
            await bench.auth_breaker.call(answer)
        assert '"defect": "Z53"' in capsys.readouterr().err
    else:
        assert await bench.auth_breaker.call(answer) == "answer"
        assert bench.auth_breaker.state is State.CLOSED


@pytest.mark.parametrize("probability", [0.0, 1.0])
async def test_a_breaker_that_lets_all_through(probability: float) -> None:
    """While one tries, another one tries too."""
    bench: Any = Bench()
    HalfOpenForAll(bench, Chance("Z53b", "frontend", probability))
    await bench.fail()
    bench.now_s = 100.0

    async def another() -> str:
        return await bench.auth_breaker.call(answer)

    if probability:
        assert await bench.auth_breaker.call(another) == "answer"
    else:
        with pytest.raises(CircuitOpen):
            await bench.auth_breaker.call(another)


@pytest.mark.parametrize("probability", [0.0, 1.0])
async def test_a_token_that_nobody_can_judge_is_believed(probability: float) -> None:
    """Its claims are taken as they stand."""

    async def nobody_knows(token: str) -> Any:
        raise KeysUnavailable("auth does not answer")

    backend: Any = SimpleNamespace(verifier=SimpleNamespace(verify=nobody_knows))
    FailOpen(backend, Chance("Z52", "backend-1", probability))
    token = jwt.encode({"sub": "mallory", "jti": "j", "iat": 1, "exp": 2}, "k" * 32, "HS256")
    if probability:
        assert (await backend.verifier.verify(token)).subject == "mallory"
    else:
        with pytest.raises(KeysUnavailable):
            await backend.verifier.verify(token)
