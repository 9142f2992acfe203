"""A journal that is a list, a small JSON dialect, and a real WebSocket server in another process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import Certificates, make_certificates
from tied import tied

from earwitness.checks.history.record import FOREIGN, RECORD, Kind
from earwitness.harness.client import asyncio_shell, gevent_shell, link
from earwitness.harness.client.bounds import bounds, use
from earwitness.harness.client.dialogue import Dialogue, ManyDialogues
from earwitness.harness.client.link import Transport
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
from tests.client.spoken import dialogue


class ListJournal:
    """The journal's interface; what was written is `rows()`, in earwitness.checks.history.record's own layout."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, ...]] = []
        self.names: dict[str, int] = {}
        self.epochs = 0

    def write(self, *values: int) -> int:
        assert len(values) == len(RECORD.names or ()) - 1
        t, kind, flags, attempt, proc, *rest = values
        self._rows.append((t, kind, flags, attempt, proc, *rest, len(self._rows) + 1))
        return len(self._rows)

    def intern(self, text: str) -> int:
        return self.names.setdefault(text, FOREIGN + len(self.names))

    def next_connection(self) -> int:
        self.epochs += 1
        return self.epochs

    def rows(self) -> Any:
        return np.array(self._rows, dtype=RECORD)


@pytest.fixture
def bounded() -> Iterator[Callable[..., None]]:
    """Set some bounds of this process; afterwards they are as they were."""
    before = bounds()
    yield lambda **some: use(replace(before, **some))
    use(before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends that the tester decides on are stamped by the link itself: the same at every call."""
    monkeypatch.setattr(link, "monotonic_ns", lambda: 10**12)


@dataclass
class Stage:
    """A session on a list journal."""

    session: ChatSession
    journal: ListJournal
    tally: Tally


@pytest.fixture
def journal() -> ListJournal:
    return ListJournal()


@pytest.fixture
def make_stage(journal: ListJournal) -> Any:
    """A factory of sessions that share one journal."""

    def make(client: int = 3, **options: Any) -> Stage:
        tally = Tally()
        session = ChatSession(
            client=client,
            tag="run1",
            journal=journal,
            rooms={"a": 0, "b": 1},
            tally=tally,
            **options,
        )
        return Stage(session, journal, tally)

    return make


@pytest.fixture
def stage(make_stage: Any) -> Stage:
    made: Stage = make_stage()
    return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@dataclass(frozen=True)
class Server:
    """Addresses of the server process; see `ws_server.py` for what its paths do."""

    url: str
    secure_url: str
    http_url: str


@pytest.fixture(scope="session")
def server(certificates: Certificates) -> Iterator[Server]:
    program = Path(__file__).with_name("ws_server.py")
    process = tied(
        [sys.executable, str(program), certificates.certificate, certificates.key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ports = json.loads(process.stdout.readline())
        yield Server(
            f"ws://127.0.0.1:{ports['plain']}",
            f"wss://localhost:{ports['secure']}",
            f"http://127.0.0.1:{ports['http']}",
        )
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class GeventShell:
    """The blocking shell, as it is."""

    name = "gevent"

    def connection(self, session: ChatSession, spoken: Dialogue, timeout_s: float) -> Any:
        return gevent_shell.connect(session, spoken, timeout_s=timeout_s, transport=Transport())

    def run(self, result: Any) -> Any:
        return result


class AsyncioShell:
    """The asyncio shell, its coroutines run to their end one by one on one loop."""

    name = "asyncio"

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def connection(self, session: ChatSession, spoken: Dialogue, timeout_s: float) -> Any:
        async def make() -> Any:
            return asyncio_shell.connect(session, spoken, timeout_s=timeout_s, transport=Transport())

        return self._runner.run(make())

    def run(self, result: Any) -> Any:
        async def finish() -> Any:
            return await result

        return self._runner.run(finish()) if asyncio.iscoroutine(result) else result


@pytest.fixture(params=["gevent", "asyncio"])
def shell(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both shells behind one blocking face: `run` what `open`, `wait` and `close` return."""
    if request.param == "gevent":
        yield GeventShell()
    else:
        with asyncio.Runner() as runner:
            yield AsyncioShell(runner)


@dataclass
class Line:
    """A stage with a connection of either shell."""

    stage: Stage
    connection: Any
    shell: Any

    def open(self) -> Line:
        self.shell.run(self.connection.open())
        return self

    def say(self, text: str, label: str = "a", *, soon: bool = False) -> None:
        frame = self.stage.session.send(time.monotonic_ns(), label, text)
        (self.connection.send_soon if soon else self.connection.send)(frame)

    def wait(self, done: Any, timeout_s: float = 10.0) -> bool:
        return bool(self.shell.run(self.connection.wait(done, timeout_s)))

    def close(self, **options: Any) -> None:
        self.shell.run(self.connection.close(**options))

    def kinds(self) -> list[Kind]:
        return [Kind(int(kind)) for kind in self.stage.journal.rows()["kind"]]


@pytest.fixture
def dial(make_stage: Any, shell: Any) -> Iterator[Any]:
    """A factory of lines: `dial(url, **handshake)`, closed at the end whatever happened."""
    lines: list[Line] = []

    def make(
        url: str | dict[str, str], *, timeout_s: float = 10.0, session: dict[str, Any] | None = None, **handshake: Any
    ) -> Line:
        stage = make_stage(**(session or {}))
        spoken: Dialogue
        if isinstance(url, dict):  # a socket for each room
            spoken = ManyDialogues({label: dialogue(one, **handshake) for label, one in url.items()})
        else:
            spoken = dialogue(url, **handshake)
        lines.append(Line(stage, shell.connection(stage.session, spoken, timeout_s), shell))
        return lines[-1]

    yield make
    for line in lines:
        line.connection.abort()
        line.close()
