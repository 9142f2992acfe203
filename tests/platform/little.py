"""A little platform, run as a program: two stand-ins and, with `postgres`, a database, under one supervisor.

Prints one JSON line `{"directory", "pids", "ports", "reaper"}` when ready; ends with standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from earwitness.harness.platform.children import family_of
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.spec import HttpAnswers, ServiceSpec
from earwitness.harness.platform.stores import Postgres
from earwitness.harness.platform.supervisor import Supervisor

STANDIN = str(Path(__file__).with_name("standin.py"))


def stand_in(name: str, port: ReservedPort, **settings: object) -> ServiceSpec:
    return ServiceSpec(
        name=name,
        argv=(sys.executable, "-S", "-E", STANDIN),
        settings={"name": name, **settings},
        port=port.number,
        inherits=True,
        ready=(HttpAnswers(f"{port.url}/ready"),),
    )


async def main(options: list[str]) -> None:
    directory = PlatformDirectory()
    ports = {name: ReservedPort(name) for name in ("one", "two", "postgres")}
    specs = [stand_in("one", ports["one"], child=True), stand_in("two", ports["two"], deaf=True)]
    if "postgres" in options:
        specs.append(Postgres(ports["postgres"], scratch=directory.path).spec())
    supervisor = Supervisor(specs, directory)
    try:
        await supervisor.start()
        if "paused" in options:
            for spec in specs:
                await supervisor.pause(spec.name)
        pids = [child.pid for spec in specs for child in family_of(supervisor.service(spec.name).pid or 0)]
        numbers = [ports[spec.name].number for spec in specs]
        about = {"directory": str(directory.path), "pids": pids, "ports": numbers, "reaper": supervisor.reaper_pid}
        print(json.dumps(about), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await supervisor.shut_down()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
