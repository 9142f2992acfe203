"""What only the gevent shell has: greenlets that wait, a hub that must not block, imports that must not spread."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.client.gevent_shell import Connection
from earwitness.harness.client.link import Transport
from earwitness.harness.errors import Exceeded
from tests.client.spoken import dialogue, last

HERE = Path(__file__).parent


def connect(stage: Any, url: str, **options: Any) -> Connection:
    connection = Connection(stage.session, dialogue(url), transport=Transport(), **options)
    connection.open()
    return connection


def say(stage: Any, connection: Connection, text: str) -> None:
    connection.send(stage.session.send(time.monotonic_ns(), "a", text))


def test_a_hook_that_blocks_is_noticed(stage: Any, server: Any) -> None:
    """A sleep inside the callback: the error is kept and the connection ended, instead of a deaf watcher."""
    connection = connect(stage, f"{server.url}/echo")
    stage.session.on_message = lambda _: gevent.sleep(0.01)
    say(stage, connection, "x")
    assert connection.wait(lambda: connection.over, 5)
    assert isinstance(connection.error, BlockingSwitchOutError)


def test_more_than_is_taken_in(stage: Any, server: Any) -> None:
    """The connection ends from our side, with the bound as its reason; it is counted, and no error of the tester."""
    connection = connect(stage, f"{server.url}/echo")

    def too_many(_: Any) -> None:
        raise Exceeded("more than 3 unplanned names")

    stage.session.on_message = too_many
    say(stage, connection, "x")
    assert connection.wait(lambda: connection.over, 5)
    assert connection.error is None
    row = last(stage)
    assert (row["kind"], row["flags"]) == (Kind.DISCONNECT, Flag.OWN)
    assert stage.journal.names["more than 3 unplanned names"] == row["author"]
    assert (connection.transport.exceeded, connection.transport.failed) == (1, 0)
    assert connection.transport.frames_in == stage.session.frames_recorded


def test_how_far_reading_was_behind(stage: Any) -> None:
    """From the first read that filled its room to the next that has not."""
    connection = Connection(stage.session, dialogue(), transport=Transport())
    for now_ns, more in ((5, True), (9, True), (14, False), (20, True), (22, False)):
        connection._lag_behind(now_ns, more)
    assert connection.transport.behind_ns == 9
    assert connection.transport.held_up_ns == 11


def test_how_long_any_socket_was_behind(stage: Any) -> None:
    """Times of two sockets that overlap count once; a socket that closes has nothing more to read."""
    transport = Transport()
    one, two = (Connection(stage.session, dialogue(), transport=transport) for _ in range(2))
    for connection, now_ns, more in (
        (one, 5, True),
        (two, 7, True),
        (one, 9, False),
        (two, 12, False),
        (one, 30, True),
    ):
        connection._lag_behind(now_ns, more)
    assert transport.held_up_ns == 7
    one.abort()
    assert transport.held_up_ns > 1_000_000_000
    transport.start_watch()
    assert transport.held_up_ns == transport.behind_ns == 0


def test_several_greenlets_wait_on_one_connection(make_stage: Any, server: Any) -> None:
    """Each returns when its own condition holds, or at its own deadline."""
    stage = make_stage(ack_by_echo=True)
    connection = connect(stage, f"{server.url}/echo")
    waiters = [
        gevent.spawn(connection.wait, lambda wanted=wanted: stage.session.acked >= wanted, 5) for wanted in (1, 2, 3)
    ]
    never = gevent.spawn(connection.wait, lambda: False, 0.1)
    for text in "abc":
        say(stage, connection, text)
    gevent.joinall([*waiters, never], timeout=10, raise_error=True)
    assert [waiter.value for waiter in (*waiters, never)] == [True, True, True, False]
    connection.close()


def test_a_greenlet_killed_while_opening_leaves_no_socket(stage: Any, server: Any) -> None:
    """Locust kills users at any time: the connection they were opening is dropped, and recorded as ours."""
    connection = Connection(stage.session, dialogue(f"{server.url}/silent", welcome=True), transport=Transport())
    opening = gevent.spawn(connection.open)
    with gevent.Timeout(5):
        while not connection.open_now:
            gevent.sleep(0)
    opening.kill()
    assert connection.over
    assert connection._sock is None
    assert not stage.session.connected_now


def test_coalesced_frames_leave_together_before_the_close(stage: Any, server: Any) -> None:
    """`close` first writes what was to be sent soon."""
    connection = connect(stage, f"{server.url}/echo")
    for text in "abc":
        connection.send_soon(stage.session.send(time.monotonic_ns(), "a", text))
    assert connection.transport.frames_out == 0
    connection.close()
    assert connection.transport.frames_out == 3
    assert connection.wire.close_code == 1000


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (
            "gevent_shell, http_gevent, session",
            "locust",
        ),
        (
            "asyncio_shell, session, flow, tally",
            "gevent",
        ),
    ],
)
def test_imports_do_not_spread(modules: str, forbidden: str) -> None:
    """The client never imports locust; what pytest uses never imports gevent."""
    program = f"import sys; from earwitness.harness.client import {modules}; sys.exit('{forbidden}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_it_works_under_locusts_monkey_patch(server: Any, certificates: Any) -> None:
    """In a patched process, with and without TLS: the same callbacks, nothing switches inside them."""
    program = f"""
from gevent import monkey; monkey.patch_all()
import sys, time; sys.path[:0] = {[str(HERE), str(HERE.parent / "support"), str(HERE.parents[1])]!r}
from conftest import ListJournal
from tests.client.spoken import dialogue
from earwitness.harness.client.gevent_shell import Connection
from earwitness.harness.client.network import Network
from earwitness.harness.client.session import ChatSession
from earwitness.harness.client.tally import Tally
network = Network(ca_file={certificates.authority!r})
for url in ({server.url + "/echo"!r}, {server.secure_url + "/echo"!r}):
    session = ChatSession(client=1, tag="run1", journal=ListJournal(), rooms={{"a": 0}},
                          tally=Tally(), ack_by_echo=True)
    connection = Connection(session, dialogue(url, network=network))
    connection.open()
    for _ in range(10):
        connection.send(session.send(time.monotonic_ns(), "a", "hello" * 1000))
    assert connection.wait(lambda: session.acked == 10, 5)
    connection.close()
    assert connection.error is None
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
