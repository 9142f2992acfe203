"""Both shells against a real server in another process: what the network does becomes the right records."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import Any

import pytest

from earwitness.checks.history.record import NOBODY, Flag, Kind
from earwitness.harness.client.network import Network
from earwitness.harness.client.wire import NO_CLOSE, TOO_BIG, Refused, Wire
from earwitness.harness.errors import TargetError


def test_a_message_goes_out_and_is_heard(dial: Any, server: Any) -> None:
    """Connect, say, hear the echo, close: the whole life of a connection in records, and in the transport's counts."""
    line = dial(f"{server.url}/echo", session={"ack_by_echo": True}).open()
    line.say("hello")
    assert line.wait(lambda: line.stage.session.acked == 1)
    line.close()
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.DELIVER, Kind.OK, Kind.DISCONNECT]
    disconnect = line.stage.journal.rows()[-1]
    assert (disconnect["counter"], disconnect["flags"], disconnect["author"]) == (1000, Flag.OWN, NOBODY)
    counts = line.connection.transport.snapshot()
    assert (counts["frames_in"], counts["frames_out"], counts["opened"], counts["failed"]) == (1, 1, 1, 0)
    assert counts["bytes_in"] > 129
    assert counts["frames_in"] == line.stage.session.frames_recorded


@pytest.mark.parametrize("soon", [False, True], ids=["write-through", "coalesced"])
def test_a_burst_of_a_thousand_comes_back_whole_and_in_order(dial: Any, server: Any, soon: bool) -> None:
    """1,000 messages at once, both ways of sending: each is heard exactly once, in order."""
    line = dial(f"{server.url}/echo", session={"ack_by_echo": True}).open()
    for n in range(1000):
        line.say(f"number {n} " + "ä" * (n % 200), soon=soon)
    assert line.wait(lambda: line.stage.session.acked == 1000)
    rows = line.stage.journal.rows()
    heard = rows[rows["kind"] == Kind.DELIVER]
    assert list(heard["counter"]) == list(range(1, 1001))
    assert not heard["flags"].any()
    counts = line.connection.transport.snapshot()
    assert counts["frames_in"] == counts["frames_out"] == 1000


def test_fragments_with_pings_between_are_one_message(dial: Any, server: Any) -> None:
    """The library's path through real sockets: three fragments and a ping are one delivery."""
    line = dial(f"{server.url}/fragments").open()
    for n in range(20):
        line.say(f"piece by piece {n} " + "é" * 5000)
    assert line.wait(lambda: line.stage.session.heard_count == 20)
    rows = line.stage.journal.rows()
    assert not rows[rows["kind"] == Kind.DELIVER]["flags"].any()


def test_pings_are_answered(dial: Any, server: Any) -> None:
    """The server waits for our pong before it goes on."""
    line = dial(f"{server.url}/ping").open()
    line.say("ping me")
    assert line.wait(lambda: line.stage.session.frames_recorded == 1)


def test_the_greeting_is_awaited_and_everything_offered_arrives(dial: Any, server: Any) -> None:
    """Headers, subprotocols and first frames reach the server; `open` returns when the greeting was heard."""
    told: list[Any] = []
    line = dial(
        f"{server.url}/welcome/first",
        welcome=True,
        headers={"Authorization": "Bearer secret"},
        subprotocols=("chat.v1", "bearer.secret"),
        first=(json.dumps({"resume": 7}),),
    )
    line.stage.session.on_welcome = told.append
    line.open()
    assert line.connection.usable
    (info,) = told
    assert (info["authorization"], info["subprotocol"], info["first"]) == ("Bearer secret", "chat.v1", {"resume": 7})
    assert line.kinds() == [Kind.CONNECT, Kind.IDENTITY]
    assert line.stage.journal.rows()["author"][0] == line.stage.journal.names["replica-1"]


def test_no_greeting_in_time_is_a_refusal(dial: Any, server: Any) -> None:
    """The socket is not left open; its end is recorded as ours."""
    line = dial(f"{server.url}/silent", welcome=True, timeout_s=0.4)
    with pytest.raises(Refused, match="no greeting within"):
        line.open()
    assert line.kinds() == [Kind.CONNECT, Kind.DISCONNECT]
    assert line.stage.journal.rows()["flags"][-1] == Flag.OWN
    assert not line.connection.open_now


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_refused_upgrade_tells_its_status(dial: Any, server: Any, status: int) -> None:
    """HTTP status and words; nothing is recorded, because there never was a connection."""
    line = dial(f"{server.url}/refuse/{status}")
    with pytest.raises(Refused, match="no guests today") as caught:
        line.open()
    assert caught.value.status == status
    assert line.kinds() == []
    assert line.connection.transport.refused == 1


@pytest.mark.parametrize("code", [1000, 1008, 1012, 4401, 4429])
def test_a_close_by_the_platform_is_recorded_with_its_code(dial: Any, server: Any, code: int) -> None:
    """The open message becomes INFO, then DISCONNECT with the code, not ours."""
    line = dial(f"{server.url}/close_after/{code}").open()
    line.say("last words")
    assert line.wait(lambda: not line.connection.open_now)
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.INFO, Kind.DISCONNECT]
    disconnect = line.stage.journal.rows()[-1]
    assert (disconnect["counter"], disconnect["flags"]) == (code, 0)
    assert disconnect["author"] == line.stage.journal.names["as asked"]
    assert line.stage.session.unanswered() == ["run1-3-1"]


def test_a_frame_over_our_own_limit_is_our_ending(dial: Any, server: Any) -> None:
    """1009 with the limit's reason, and the flag that says that the platform did not do it."""
    line = dial(f"{server.url}/echo")
    line.connection.wire = Wire(replace(line.connection.handshake, network=Network(frame_bytes=100)))
    line.open()
    line.say("x" * 200)
    assert line.wait(lambda: not line.connection.open_now)
    disconnect = line.stage.journal.rows()[-1]
    assert (disconnect["kind"], disconnect["counter"], disconnect["flags"]) == (Kind.DISCONNECT, TOO_BIG, Flag.OWN)
    [reason] = [name for name, number in line.stage.journal.names.items() if number == disconnect["author"]]
    assert "100" in reason


def test_a_close_instead_of_the_greeting_is_a_refusal_with_its_code(dial: Any, server: Any) -> None:
    """4401 after the upgrade: `open` raises it; connection and end are in the record."""
    line = dial(f"{server.url}/close/4401", welcome=True)
    with pytest.raises(Refused, match="as asked") as caught:
        line.open()
    assert (caught.value.code, caught.value.status) == (4401, 0)
    assert line.kinds() == [Kind.CONNECT, Kind.DISCONNECT]


@pytest.mark.parametrize("role", ["reset", "cut"])
def test_an_abrupt_end_is_1006(dial: Any, server: Any, role: str) -> None:
    """A reset, or a stream that ends inside a frame: INFO for what was open, 1006, nothing raised."""
    line = dial(f"{server.url}/{role}").open()
    line.say("last words")
    assert line.wait(lambda: not line.connection.open_now)
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.INFO, Kind.DISCONNECT]
    disconnect = line.stage.journal.rows()[-1]
    assert (disconnect["counter"], disconnect["flags"]) == (NO_CLOSE, 0)
    assert line.connection.error is None


def test_a_frame_that_breaks_the_protocol_ends_the_connection_with_1002(dial: Any, server: Any) -> None:
    """We fail the connection as the protocol wants it, and the record says with what."""
    line = dial(f"{server.url}/wrong").open()
    line.say("say something wrong")
    assert line.wait(lambda: not line.connection.open_now)
    assert line.stage.journal.rows()["counter"][-1] == 1002


def test_more_than_the_kernel_takes_is_sent_in_the_end(dial: Any, server: Any) -> None:
    """8 MB to a server that does not read yet: partial sends, nothing lost, nothing out of order."""
    line = dial(f"{server.url}/slow/400").open()
    for _ in range(400):
        line.say("x" * 20_000)
    if line.shell.name == "gevent":
        assert line.connection.backlog > 0
    counted: list[Any] = []
    line.stage.session._hear = lambda data: counted.append(json.loads(data)) or ()
    assert line.wait(lambda: bool(counted))
    assert counted[0]["count"] == 400
    assert counted[0]["size"] > 8_000_000


def test_a_flood_is_recorded_completely(dial: Any, server: Any) -> None:
    """5,000 frames as fast as the server can, cut anywhere by the network: each is one record."""
    line = dial(f"{server.url}/flood/5000").open()
    line.say("y" * 300)
    assert line.wait(lambda: line.stage.session.heard_count == 5000)
    rows = line.stage.journal.rows()
    assert not rows[rows["kind"] == Kind.DELIVER]["flags"].any()
    assert line.connection.transport.frames_in == line.stage.session.frames_recorded == 5000


def test_a_close_that_is_not_answered_ends_at_its_deadline(dial: Any, server: Any) -> None:
    """The peer never answers the close frame: the socket goes after the deadline, recorded as our own 1006."""
    line = dial(f"{server.url}/stubborn").open()
    line.say("you will not answer")
    assert line.wait(lambda: line.stage.session.frames_recorded == 1)
    begin = time.monotonic()
    line.close(timeout_s=0.3)
    assert 0.25 < time.monotonic() - begin < 3
    disconnect = line.stage.journal.rows()[-1]
    assert (disconnect["counter"], disconnect["flags"]) == (NO_CLOSE, Flag.OWN)


def test_an_abort_says_nothing_and_is_our_own(dial: Any, server: Any) -> None:
    """Dropping the socket: INFO for the open message, DISCONNECT by us; sending afterwards does nothing."""
    line = dial(f"{server.url}/silent").open()
    line.say("unheard")
    line.connection.abort()
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.INFO, Kind.DISCONNECT]
    assert line.stage.journal.rows()["flags"][-1] == Flag.OWN
    line.connection.send("into the void")
    assert line.connection.transport.frames_out == 1


def test_a_fault_in_a_callback_ends_the_connection_and_is_kept(dial: Any, server: Any) -> None:
    """A hook that raises cannot leave a connection that is open but deaf."""
    line = dial(f"{server.url}/echo").open()

    def broken(_: Any) -> None:
        raise ZeroDivisionError("in a hook")

    line.stage.session.on_message = broken
    line.say("boom")
    assert line.wait(lambda: line.connection.over)
    assert isinstance(line.connection.error, ZeroDivisionError)
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.DELIVER, Kind.INFO, Kind.DISCONNECT]
    assert line.stage.journal.rows()["flags"][-1] == Flag.OWN
    assert line.connection.transport.failed == 1
    assert line.connection.transport.frames_in == line.stage.session.frames_recorded + 1


def test_wss_with_an_own_authority(dial: Any, server: Any, certificates: Any) -> None:
    """TLS with SNI and an own CA: greeting, a burst, fragments of TLS records, and the closing handshake."""
    line = dial(
        f"{server.secure_url}/welcome",
        welcome=True,
        network=Network(ca_file=certificates.authority),
        session={"ack_by_echo": True},
    ).open()
    for n in range(200):
        line.say(f"secret {n} " + "z" * 2000)
    assert line.wait(lambda: line.stage.session.acked == 200)
    line.close()
    assert line.stage.journal.rows()["counter"][-1] == 1000


def test_more_than_the_kernel_takes_is_sent_over_tls_too(dial: Any, server: Any, certificates: Any) -> None:
    """Partial sends under encryption keep the stream whole."""
    line = dial(f"{server.secure_url}/slow/200", network=Network(ca_file=certificates.authority)).open()
    for _ in range(200):
        line.say("x" * 20_000)
    assert line.wait(lambda: line.stage.session.frames_recorded == 1)


def test_wss_without_the_authority_is_refused_by_us(dial: Any, server: Any) -> None:
    """A certificate nobody vouches for: an OSError that says so, no connection, no record."""
    line = dial(f"{server.secure_url}/echo")
    with pytest.raises(OSError, match="certificate verify failed"):
        line.open()
    assert line.kinds() == []
    assert not line.connection.open_now


def test_a_wrong_authority_file_is_the_users_mistake(dial: Any, server: Any, tmp_path: Any) -> None:
    """One sentence that names the file."""
    path = tmp_path / "no.pem"
    line = dial(f"{server.secure_url}/echo", network=Network(ca_file=str(path)))
    with pytest.raises(TargetError, match=r"no\.pem"):
        line.open()


def test_nobody_listens(dial: Any) -> None:
    """Connection refused by the kernel is an OSError, and nothing is recorded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        line = dial(f"ws://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(ConnectionRefusedError):
            line.open()
    assert line.kinds() == []


def test_a_server_that_never_answers_the_upgrade(dial: Any) -> None:
    """It accepts and is silent: refused at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        line = dial(f"ws://127.0.0.1:{mute.getsockname()[1]}/", timeout_s=0.3)
        with pytest.raises(Refused, match="no answer to the upgrade"):
            line.open()
    assert line.kinds() == []


def test_a_device_keeps_its_memory_across_connections(dial: Any, shell: Any, server: Any) -> None:
    """Cut, reconnect, send again: the same message id, the next attempt, the next epoch."""
    line = dial(f"{server.url}/reset", session={"ack_by_echo": True}).open()
    line.say("once more")
    assert line.wait(lambda: not line.connection.open_now)
    again = dial(f"{server.url}/echo")
    again.connection.session = line.stage.session
    again.open()
    (message_id,) = line.stage.session.unanswered()
    again.connection.send(line.stage.session.retry(time.monotonic_ns(), message_id))
    assert again.wait(lambda: line.stage.session.acked == 1)
    rows = line.stage.journal.rows()
    invokes = rows[rows["kind"] == Kind.INVOKE]
    assert list(invokes["attempt"]) == [1, 2]
    assert list(invokes["conn"]) == [1, 2]
    assert list(invokes["counter"]) == [1, 1]


def test_a_second_connection_of_a_device_leaves_the_first_alone(dial: Any, server: Any) -> None:
    """Opening another one beside it fails there; the first goes on hearing and recording."""
    line = dial(f"{server.url}/echo", session={"ack_by_echo": True}).open()
    other = dial(f"{server.url}/echo")
    other.connection.session = line.stage.session
    with pytest.raises(RuntimeError, match="connected already"):
        other.open()
    line.say("still here")
    assert line.wait(lambda: line.stage.session.acked == 1)
    assert line.kinds() == [Kind.CONNECT, Kind.INVOKE, Kind.DELIVER, Kind.OK]
