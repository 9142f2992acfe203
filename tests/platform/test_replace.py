"""A new process takes the socket over while the old one serves."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import psutil
import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.process import ServiceProcess

pytestmark = pytest.mark.usefixtures("temporary")
either_way = pytest.mark.parametrize("standins", ["own program", "forked"], indirect=True)


@either_way
async def test_no_connection_is_refused_while_a_process_is_replaced(
    standins: Any, supervised: Any, fetch: Any, alive: Any, listening: Any
) -> None:
    """Asked without a pause during ten replacements, the port always answers, at last from another process."""
    spec = standins.spec("echo")
    async with supervised(spec) as supervisor:
        first = (await asyncio.to_thread(fetch, spec.port))["pid"]
        over = False
        refused: list[str] = []

        async def ask() -> int:
            asked = 0
            while not over:
                if not await asyncio.to_thread(listening, spec.port):
                    refused.append("refused")
                asked += 1
            return asked

        asking = asyncio.create_task(ask())
        for _ in range(10):
            await supervisor.replace("echo")
        over = True
        assert await asking > 20
        assert refused == []
        assert not alive(first)
        assert (await asyncio.to_thread(fetch, spec.port))["pid"] == supervisor.status()["echo"]["pid"] != first
        assert supervisor.deaths == []
        await supervisor.kill("echo")
        assert not listening(spec.port)


@either_way
async def test_a_replacement_that_fails_leaves_the_old_process(standins: Any, supervised: Any, fetch: Any) -> None:
    """The new process ends at once: its words are told, the old one serves on, and can be stopped and started."""
    spec = standins.spec("echo", fails_to_take_over=True)
    async with supervised(spec) as supervisor:
        first = await asyncio.to_thread(fetch, spec.port)
        with pytest.raises(PlatformError, match="no, not I"):
            await supervisor.replace("echo")
        assert (await asyncio.to_thread(fetch, spec.port))["pid"] == first["pid"]
        await supervisor.restart("echo")
        assert (await asyncio.to_thread(fetch, spec.port))["pid"] != first["pid"]
        assert supervisor.deaths == []


@either_way
async def test_a_replacement_that_nobody_waits_for_any_more(
    standins: Any, supervised: Any, fetch: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while the new process is getting ready: it goes, the old one serves on."""
    waiting = asyncio.Event()

    async def never_ready(*_: Any) -> None:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ServiceProcess, "_heard_ready", never_ready)
    spec = standins.spec("echo")
    async with supervised(spec) as supervisor:
        first = (await asyncio.to_thread(fetch, spec.port))["pid"]
        replacing = asyncio.create_task(supervisor.replace("echo"))
        await waiting.wait()
        parent = psutil.Process(first).parent()
        assert parent is not None
        beside = {child.pid for child in parent.children()} - {first}
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)
        await asyncio.to_thread(until, lambda: any(not psutil.pid_exists(pid) for pid in beside))
        assert (await asyncio.to_thread(fetch, spec.port))["pid"] == first


@either_way
async def test_a_service_whose_socket_is_its_own_cannot_be_replaced(standins: Any, supervised: Any) -> None:
    """It is said in a sentence, and nothing happens to it."""
    spec = dataclasses.replace(standins.spec("echo"), takes_over=False)
    async with supervised(spec) as supervisor:
        pid = supervisor.status()["echo"]["pid"]
        with pytest.raises(PlatformError, match="cannot be replaced while it runs"):
            await supervisor.replace("echo")
        assert supervisor.status()["echo"]["pid"] == pid
