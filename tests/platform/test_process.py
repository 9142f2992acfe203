from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from earwitness.harness.errors import PlatformError, ServiceDied

pytestmark = pytest.mark.usefixtures("temporary")
either_way = pytest.mark.parametrize("standins", ["own program", "forked"], indirect=True)


@either_way
async def test_a_killed_service_is_gone_with_its_children_and_its_port_refuses(
    standins: Any, supervised: Any, fetch: Any, alive: Any, listening: Any
) -> None:
    """Kill takes the process and a child in another session along; the port refuses; start again: same port."""
    spec = standins.spec("echo", child=True)
    async with supervised(spec) as supervisor:
        before = await asyncio.to_thread(fetch, spec.port)
        assert alive(before["child"])
        await supervisor.kill("echo")
        assert not alive(before["pid"])
        assert not alive(before["child"])
        assert not listening(spec.port)
        assert supervisor.status()["echo"]["state"] == "killed"
        await supervisor.start_again("echo")
        after = await asyncio.to_thread(fetch, spec.port)
        assert after["pid"] not in (before["pid"], None)
        assert supervisor.deaths == []


@either_way
async def test_a_paused_service_says_nothing_until_it_is_resumed(standins: Any, supervised: Any, fetch: Any) -> None:
    """SIGSTOP keeps the socket (connections succeed) and stops answers, also of children; SIGCONT brings both back."""
    spec = standins.spec("echo", child=True)
    async with supervised(spec) as supervisor:
        child = (await asyncio.to_thread(fetch, spec.port))["child"]
        await supervisor.pause("echo")
        assert psutil.Process(child).status() == psutil.STATUS_STOPPED
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(fetch, spec.port, timeout_s=0.3)
        await supervisor.resume("echo")
        assert (await asyncio.to_thread(fetch, spec.port))["name"] == "echo"
        assert psutil.Process(child).status() != psutil.STATUS_STOPPED


@either_way
async def test_a_service_that_dies_while_starting_is_reported_with_its_last_words(
    standins: Any, supervised: Any
) -> None:
    """ServiceDied carries service, exit status, last words, and how to keep the whole log."""
    with pytest.raises(ServiceDied, match="broken ended with exit status 3") as caught:
        async with supervised(standins.spec("broken", last_words="the disk is made of cheese")):
            pass
    assert "made of cheese" in caught.value.last_words
    assert "earwitness up --keep, or --log-dir DIR" in str(caught.value)


@either_way
@pytest.mark.parametrize("end", ["exit", "SIGSEGV"])
async def test_a_service_that_dies_later_is_noticed_at_once(
    standins: Any, supervised: Any, fetch: Any, end: str
) -> None:
    """A death by itself, by exit or signal, is told with its status; the others go on."""
    spec, other = standins.spec("dies"), standins.spec("lives")
    told: asyncio.Queue[str] = asyncio.Queue()
    async with supervised(spec, other, say=told.put_nowait) as supervisor:
        if end == "exit":
            with pytest.raises(OSError):
                await asyncio.to_thread(fetch, spec.port, "/exit")
        else:
            os.kill(supervisor.service("dies").pid, signal.SIGSEGV)
        text = await asyncio.wait_for(told.get(), 5)
        assert text.startswith(f"dies ended with {'exit status 7' if end == 'exit' else 'SIGSEGV'}")
        assert ("told to go" in text) == (end == "exit")
        assert supervisor.status()["dies"]["state"] == "died"
        assert supervisor.status()["lives"]["state"] == "ready"


@either_way
async def test_a_service_that_does_not_get_ready_is_named_with_what_is_missing(standins: Any, supervised: Any) -> None:
    """At the deadline one sentence says who, how long and what the last answer was."""
    with pytest.raises(PlatformError, match=r"lazy was not ready within 3 s: GET .* answers 503 instead of 200"):
        async with supervised(standins.spec("lazy", unready=True, timeout_s=3)):
            pass


async def test_a_program_that_does_not_exist_is_named(standins: Any, supervised: Any) -> None:
    """No traceback of fork and exec, but which program."""
    import dataclasses

    spec = dataclasses.replace(standins.spec("nothing"), argv=("/no/such/program",))
    with pytest.raises(PlatformError, match="/no/such/program cannot be run: No such file"):
        async with supervised(spec):
            pass


@either_way
async def test_stop_is_graceful_and_becomes_sigkill_at_its_deadline(
    standins: Any, supervised: Any, alive: Callable[[int], bool]
) -> None:
    """A service that ignores SIGTERM is gone after its stop timeout all the same."""
    spec = standins.spec("deaf", deaf=True)
    async with supervised(spec) as supervisor:
        pid = supervisor.service("deaf").pid
        await supervisor.stop("deaf")
        assert not alive(pid)
        assert supervisor.status()["deaf"]["state"] == "stopped"
        with pytest.raises(PlatformError, match=r"deaf cannot be paused: it does not run \(stopped\)"):
            await supervisor.pause("deaf")


@either_way
async def test_restart_of_a_paused_service_works(standins: Any, supervised: Any, fetch: Any) -> None:
    """A graceful restart first wakes what was paused."""
    spec = standins.spec("echo")
    async with supervised(spec) as supervisor:
        await supervisor.pause("echo")
        await supervisor.restart("echo")
        assert (await asyncio.to_thread(fetch, spec.port))["pid"] == supervisor.service("echo").pid
        assert supervisor.status()["echo"]["starts"] == 2
