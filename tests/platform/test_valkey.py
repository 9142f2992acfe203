from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.valkey import Valkey, find_program

pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def port() -> Iterator[ReservedPort]:
    reserved = ReservedPort("valkey")
    yield reserved
    reserved.close()


async def test_what_was_written_survives_sigkill_and_the_password_is_asked_for(
    port: ReservedPort, supervised: Any
) -> None:
    """The append-only file brings a key back; a client without the password gets nothing."""
    valkey = Valkey(port)
    async with supervised(valkey.spec()) as supervisor:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("key", "kept")
        await supervisor.kill("valkey")
        await supervisor.start_again("valkey")
        with redis.Redis.from_url(valkey.url) as client:
            assert client.get("key") == b"kept"
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=port.number, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("key")


def test_the_program_is_the_set_one_then_one_on_path_then_the_wheels(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting before PATH before wheel; a setting that names nothing is refused."""
    monkeypatch.delenv("EARWITNESS_VALKEY", raising=False)
    own = temporary / "redis-server"
    own.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(temporary))
    assert find_program() == own
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program().parent.name == "bin"
    assert find_program(str(own)) == own
    monkeypatch.setenv("EARWITNESS_VALKEY", "/no/such/valkey")
    with pytest.raises(PlatformError, match="/no/such/valkey"):
        find_program()


async def test_wiped_it_knows_nothing_and_serves(port: ReservedPort, supervised: Any) -> None:
    """The append-only file is gone with the process; the password stays, and what is written then is kept again."""
    valkey = Valkey(port)
    async with supervised(valkey.spec()) as supervisor:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("key", "lost")
        await supervisor.wipe("valkey")
        with redis.Redis.from_url(valkey.url) as client:
            assert client.get("key") is None
            client.set("other", "kept")
        await supervisor.kill("valkey")
        await supervisor.start_again("valkey")
        with redis.Redis.from_url(valkey.url) as client:
            assert client.get("other") == b"kept"


async def test_a_service_without_data_cannot_be_wiped(standins: Any, supervised: Any) -> None:
    """It says so, and goes on."""
    async with supervised(standins.spec("edge")) as supervisor:
        pid = supervisor.status()["edge"]["pid"]
        with pytest.raises(PlatformError, match="has no data that it could lose"):
            await supervisor.wipe("edge")
        assert supervisor.status()["edge"]["pid"] == pid
