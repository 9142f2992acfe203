from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.errors import PlatformError
from harness.platform.supervisor import Supervisor

pytestmark = [
    pytest.mark.usefixtures("temporary"),
    pytest.mark.parametrize("standins", ["forked"], indirect=True),
]


def nursery_of(supervisor: Supervisor, name: str) -> psutil.Process:
    parent = psutil.Process(supervisor.service(name).pid).parent()
    assert parent is not None
    return parent


async def test_a_forked_service_is_a_process_of_its_own(standins: Any, supervised: Any, fetch: Any) -> None:
    """Own group, name, folder, log, and only its own socket beside the three standard ones."""
    one, two = standins.spec("one"), standins.spec("two")
    async with supervised(one, two) as supervisor:
        answers = [await asyncio.to_thread(fetch, spec.port) for spec in (one, two)]
        pids = [supervisor.service(name).pid for name in ("one", "two")]
        assert [answer["pid"] for answer in answers] == pids
        assert nursery_of(supervisor, "one") == nursery_of(supervisor, "two")
        for name, pid in zip(("one", "two"), pids, strict=True):
            process = psutil.Process(pid)
            assert process.name() == name
            assert os.getpgid(pid) == pid
            assert Path(process.cwd()).name == name
            assert process.num_fds() == 4
            assert supervisor.logs(name, 5) == f"hello from {name}"


async def test_a_service_keeps_nothing_of_the_environment_of_those_who_forked_it(
    standins: Any, supervised: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the spec does not name is not there."""
    monkeypatch.setenv("LEFT_BEHIND", "1")
    spec = standins.spec("one", last_words="")
    monkeypatch.delenv("LEFT_BEHIND")
    bare = dataclasses.replace(spec, env={"SHOWN": "1"}, settings={**spec.settings, "shows_environment": True})
    async with supervised(bare, start=False) as supervisor:
        with pytest.raises(PlatformError) as caught:
            await supervisor.start()
    words = str(caught.value)
    assert "SHOWN" in words
    assert "LEFT_BEHIND" not in words


async def test_with_the_nursery_all_that_it_forked_ends_and_is_told(
    standins: Any, supervised: Any, alive: Any, until: Any
) -> None:
    """Killed, it takes its children along; each death is told, and a start says why it cannot be."""
    told: asyncio.Queue[str] = asyncio.Queue()
    async with supervised(standins.spec("one"), standins.spec("two"), say=told.put_nowait) as supervisor:
        pids = [supervisor.service(name).pid for name in ("one", "two")]
        nursery_of(supervisor, "one").kill()
        said = {(await asyncio.wait_for(told.get(), 5)).split(".")[0] for _ in pids}
        assert said == {"one ended with SIGKILL", "two ended with SIGKILL"}
        await asyncio.to_thread(until, lambda: not any(alive(pid) for pid in pids))
        with pytest.raises(PlatformError, match="one could not be started: the process that forks services has ended"):
            await supervisor.start_again("one")


async def test_what_cannot_be_imported_is_told_with_its_words(standins: Any, supervised: Any) -> None:
    spec = dataclasses.replace(standins.spec("one"), argv=("python", "-m", "no_such_module"))
    with pytest.raises(PlatformError, match=r"(?s)one could not be started: .*No module named no_such_module"):
        async with supervised(spec):
            pass


async def test_a_start_that_nobody_waits_for_does_not_mix_up_the_next(
    standins: Any, supervised: Any, fetch: Any
) -> None:
    """Cancelled between order and answer, then another one: each service is the process that it says it is."""
    one, two = standins.spec("one"), standins.spec("two")
    async with supervised(one, two, start=False) as supervisor:
        first = asyncio.create_task(supervisor.service("one").start())
        await asyncio.sleep(0)  # it has given its order: the nursery is still importing
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await supervisor.start_again("two")
        assert (await asyncio.to_thread(fetch, two.port))["pid"] == supervisor.service("two").pid


async def test_paused_and_killed_alone(standins: Any, supervised: Any, fetch: Any) -> None:
    """A signal to one is felt by no other."""
    one, two = standins.spec("one"), standins.spec("two")
    async with supervised(one, two) as supervisor:
        await supervisor.pause("one")
        assert psutil.Process(supervisor.service("one").pid).status() == psutil.STATUS_STOPPED
        assert (await asyncio.to_thread(fetch, two.port))["name"] == "two"
        os.kill(supervisor.service("one").pid, signal.SIGKILL)
        assert (await asyncio.to_thread(fetch, two.port))["name"] == "two"
