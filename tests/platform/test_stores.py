from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.stores import Postgres, UserMode, Valkey, cache_folder, find_valkey, resolve_mode

pytestmark = pytest.mark.usefixtures("temporary")
ROOT = os.geteuid() == 0
MODES = [UserMode.UNSHARE, UserMode.NOBODY] if ROOT else [UserMode.DIRECT]


@pytest.fixture
def port() -> Iterator[ReservedPort]:
    reserved = ReservedPort("postgres")
    yield reserved
    reserved.close()


@pytest.fixture
def shared_memory() -> Any:
    """Ids of the machine's System V shared memory segments."""

    def look() -> set[str]:
        return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}

    return look


@pytest.mark.parametrize("mode", MODES)
async def test_each_user_mode_serves_and_keeps_what_was_committed_through_sigkill(
    mode: UserMode, port: ReservedPort, supervised: Any, temporary: Path
) -> None:
    """A committed row is there after SIGKILL and restart; it listens on 127.0.0.1 and nowhere else."""
    postgres = Postgres(port, user_mode=mode, scratch=temporary)
    async with supervised(postgres.spec()) as supervisor:
        connection = await asyncpg.connect(postgres.dsn("main"))
        await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (17)")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
        assert list(temporary.rglob(".s.PGSQL*")) == []
        await supervisor.kill("postgres")
        await supervisor.start_again("postgres")
        again = await asyncpg.connect(postgres.dsn("main"))
        assert await again.fetchval("SELECT n FROM kept") == 17
        await again.close()
        connection.terminate()


async def test_roles_are_apart_and_passwords_are_asked_for(
    port: ReservedPort, supervised: Any, temporary: Path
) -> None:
    """The role of one database cannot enter the other, and nobody enters without the password; the databases have
    the names that were asked for, even if they are each other's usual ones."""
    names = {"auth": "test_main_db", "main": "test_auth_db"}
    postgres = Postgres(port, scratch=temporary, databases=names)
    async with supervised(postgres.spec()):
        for role, name in names.items():
            connection = await asyncpg.connect(postgres.dsn(role))
            owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
            assert await connection.fetchval("SELECT current_database()") == name
            assert await connection.fetchval(owner) == role
            await connection.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(postgres.dsn("auth").replace("/test_main_db?", "/test_auth_db?"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(postgres.dsn("main"), password="guess")


async def test_a_killed_platform_leaves_no_shared_memory(
    port: ReservedPort, supervised: Any, temporary: Path, shared_memory: Any
) -> None:
    """A server that was killed and never came back has its segment removed with the directory."""
    before = shared_memory()
    async with supervised(Postgres(port, scratch=temporary).spec()) as supervisor:
        made = shared_memory() - before
        assert made
        await supervisor.kill("postgres")
        assert made <= shared_memory()
    assert not made & shared_memory()


COLD_START = """
import asyncio, pathlib, sys
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.stores import Postgres
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.platform.supervisor import Supervisor

async def main():
    directory = PlatformDirectory()
    supervisor = Supervisor([Postgres(ReservedPort("postgres"), scratch=directory.path).spec()], directory)
    try:
        await supervisor.start()
    finally:
        await supervisor.shut_down()

asyncio.run(main())
"""


def test_two_first_starts_at_once_share_one_complete_template(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with an empty cache both become ready, and the cache holds exactly one template."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / "cache"))
    starts = [subprocess.Popen([sys.executable, "-c", COLD_START]) for _ in range(2)]
    assert [start.wait(60) for start in starts] == [0, 0]
    names = sorted(path.name for path in cache_folder().iterdir())
    assert len(names) == 3, names
    assert names[0] == ".lock"
    assert (cache_folder() / names[2]).stat().st_mode & 0o077 == 0  # the password


@pytest.mark.skipif(not ROOT, reason="every other test does this for an ordinary user")
def test_an_ordinary_user_runs_it_directly(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by a process that is not root, it becomes ready with nothing in between."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / "cache"))
    as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    subprocess.run([*as_user, sys.executable, "-c", COLD_START], check=True, timeout=60)
    assert len(list(cache_folder().glob("postgres-direct-*"))) == 1


async def test_a_cache_that_cannot_be_written_costs_time_only(
    port: ReservedPort, supervised: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no cache folder can be made, the template is built in place."""
    (temporary / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / "file"))
    async with supervised(Postgres(port, scratch=temporary).spec()) as supervisor:
        assert supervisor.status()["postgres"]["state"] == "ready"


@pytest.mark.skipif(not ROOT, reason="drops to nobody, which only root can")
async def test_nobody_gets_a_copy_of_binaries_that_it_cannot_reach(
    port: ReservedPort, supervised: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the environment under a 0700 folder the server runs from copied binaries."""
    from earwitness.harness.platform import stores as module

    monkeypatch.setattr(module, "_everybody_may_enter", lambda folder: False)
    (temporary / "scratch").mkdir()
    postgres = Postgres(port, user_mode=UserMode.NOBODY, scratch=temporary / "scratch")
    spec = postgres.spec()
    assert spec.argv[0].startswith(str(temporary))
    async with supervised(spec) as supervisor:
        assert supervisor.status()["postgres"]["state"] == "ready"


def test_a_mode_that_cannot_work_is_refused_in_a_sentence() -> None:
    """Root cannot run it directly, others cannot become nobody."""
    wrong = UserMode.DIRECT if ROOT else UserMode.NOBODY
    with pytest.raises(PlatformError, match="--postgres-user"):
        resolve_mode(wrong)


async def test_the_start_ends_when_it_is_cancelled_while_the_template_is_built(
    port: ReservedPort, supervised: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a first start leaves no initdb behind and nothing in the cache that looks complete."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / "cache"))
    async with supervised(Postgres(port, scratch=temporary).spec(), start=False) as supervisor:
        starting = asyncio.create_task(supervisor.start())
        while not list(temporary.glob("earwitness-*/postgres/data/*")):
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert list(temporary.glob("earwitness-*")) == []
    assert not list(cache_folder().glob("postgres-unshare-*")) + list(cache_folder().glob("postgres-direct-*"))


async def test_the_start_ends_when_it_is_cancelled_while_the_template_is_copied(
    port: ReservedPort, supervised: Any, temporary: Path, until: Any
) -> None:
    """Ctrl-C in any other start leaves nothing: no thread goes on to write where all was removed."""
    spec = Postgres(port, scratch=temporary).spec()
    async with supervised(spec):
        pass  # now there is a template
    async with supervised(spec, start=False) as supervisor:
        starting = asyncio.create_task(supervisor.start())
        await asyncio.to_thread(until, lambda: list(temporary.glob("earwitness-*/postgres/data")))
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert list(temporary.glob("earwitness-*")) == []


@pytest.fixture
def valkey_port() -> Iterator[ReservedPort]:
    reserved = ReservedPort("valkey")
    yield reserved
    reserved.close()


async def test_what_was_written_survives_sigkill_and_the_password_is_asked_for(
    valkey_port: ReservedPort, supervised: Any
) -> None:
    """The append-only file brings a key back; a client without the password gets nothing."""
    valkey = Valkey(valkey_port)
    async with supervised(valkey.spec()) as supervisor:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("key", "kept")
        await supervisor.kill("valkey")
        await supervisor.start_again("valkey")
        with redis.Redis.from_url(valkey.url) as client:
            assert client.get("key") == b"kept"
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=valkey_port.number, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("key")


def test_the_program_is_the_set_one_then_one_on_path_then_the_wheels(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting before PATH before wheel; a setting that names nothing is refused."""
    monkeypatch.delenv("EARWITNESS_VALKEY", raising=False)
    own = temporary / "redis-server"
    own.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(temporary))
    assert find_valkey() == own
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_valkey().parent.name == "bin"
    assert find_valkey(str(own)) == own
    monkeypatch.setenv("EARWITNESS_VALKEY", "/no/such/valkey")
    with pytest.raises(PlatformError, match="/no/such/valkey"):
        find_valkey()


async def test_wiped_it_knows_nothing_and_serves(valkey_port: ReservedPort, supervised: Any) -> None:
    """The append-only file is gone with the process; the password stays, and what is written then is kept again."""
    valkey = Valkey(valkey_port)
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
