from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform import fork_server
from earwitness.harness.platform.supervisor import Supervisor

pytestmark = [
    pytest.mark.usefixtures("temporary"),
    pytest.mark.parametrize("standins", ["forked"], indirect=True),
]


def nursery_of(supervisor: Supervisor, name: str) -> psutil.Process:
    parent = psutil.Process(supervisor.service(name).pid).parent()
    assert parent is not None
    return parent


@pytest.fixture
def module(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`module(text)`: the name of a module with this text that the nursery can import."""

    def write(text: str) -> str:
        (temporary / "written_here.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(temporary))
        return "written_here"

    return write


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """So that the next descriptor's number is too high for select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for handle in held:
        os.close(handle)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_forked_service_is_a_process_of_its_own(standins: Any, supervised: Any, fetch: Any, until: Any) -> None:
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
            until(lambda process=process: process.num_fds() == 4)  # the connection of `fetch` may still be closing
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


async def test_a_start_that_nobody_waits_for_leaves_nothing_and_does_not_mix_up_the_next(
    standins: Any, supervised: Any, fetch: Any, until: Any
) -> None:
    """Cancelled between order and answer, then another one: each service is the process that it says it is, and
    nobody serves of whom the supervisor does not know."""
    one, two = standins.spec("one"), standins.spec("two")
    async with supervised(one, two, start=False) as supervisor:
        first = asyncio.create_task(supervisor.service("one").start())
        await asyncio.sleep(0)  # it has given its order: the nursery is still importing
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await supervisor.start_again("two")
        pid = supervisor.service("two").pid
        assert (await asyncio.to_thread(fetch, two.port))["pid"] == pid
        nursery = nursery_of(supervisor, "two")
        await asyncio.to_thread(until, lambda: [child.pid for child in nursery.children()] == [pid])


async def test_paused_and_killed_alone(standins: Any, supervised: Any, fetch: Any) -> None:
    """A signal to one is felt by no other."""
    one, two = standins.spec("one"), standins.spec("two")
    async with supervised(one, two) as supervisor:
        await supervisor.pause("one")
        assert psutil.Process(supervisor.service("one").pid).status() == psutil.STATUS_STOPPED
        assert (await asyncio.to_thread(fetch, two.port))["name"] == "two"
        os.kill(supervisor.service("one").pid, signal.SIGKILL)
        assert (await asyncio.to_thread(fetch, two.port))["name"] == "two"


@pytest.mark.usefixtures("many_open_files")
async def test_an_owner_of_many_files_can_start_services(standins: Any, supervised: Any, fetch: Any) -> None:
    spec = standins.spec("one")
    async with supervised(spec):
        assert (await asyncio.to_thread(fetch, spec.port))["name"] == "one"


async def test_an_environment_may_be_larger_than_a_socket_holds(
    standins: Any, supervised: Any, fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        monkeypatch.setenv(f"LARGE_{n}", "x" * 100_000)
    spec = standins.spec("one")
    async with supervised(spec):
        assert (await asyncio.to_thread(fetch, spec.port))["name"] == "one"


async def test_where_no_process_can_be_had_the_start_says_so_and_nothing_ends(
    standins: Any, supervised: Any, module: Any
) -> None:
    """The nursery lives on: the next start fails for the same reason, not because it had gone."""
    barren = module(
        "import os, resource\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)  # the limit is not for root\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
    )
    spec = dataclasses.replace(standins.spec("one"), argv=(sys.executable, "-m", barren))
    async with supervised(spec, start=False) as supervisor:
        with pytest.raises(PlatformError, match=r"one could not be started: .*temporarily unavailable"):
            await supervisor.start()
        with pytest.raises(OSError, match="temporarily unavailable"):
            await supervisor.start_again("one")


async def test_a_nursery_that_stands_still_is_not_waited_for_without_end(
    standins: Any, supervised: Any, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start fails with a sentence, and the platform can be ended."""
    monkeypatch.setattr(fork_server, "ANSWER_S", 0.3)
    still = module("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    spec = dataclasses.replace(standins.spec("one"), argv=(sys.executable, "-m", still))
    with pytest.raises(PlatformError, match=r"one could not be started: .* does not answer within 0\.3 s"):
        async with supervised(spec):
            pass


async def test_the_end_does_not_wait_for_imports(standins: Any, supervised: Any, module: Any) -> None:
    """Nor for a nursery that stands still, whatever made it."""
    endless = module("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
    spec = dataclasses.replace(standins.spec("one"), argv=(sys.executable, "-m", endless))
    waited = threading.Event()

    def end(nursery: psutil.Process) -> None:
        waited.set()
        nursery.kill()

    before = psutil.Process().children()  # among them may be the one from which services of other tests are forked
    async with supervised(spec, start=False):
        (nursery,) = [
            p for p in psutil.Process().children() if p not in before and "fork_server" in " ".join(p.cmdline())
        ]
        watch = threading.Timer(10, end, [nursery])
        watch.start()
    watch.cancel()
    assert not waited.is_set()
