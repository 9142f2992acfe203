"""Several sockets of one user are one connection: one CONNECT, one DISCONNECT, messages on the socket of their room."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.client.dialogue import BaseDialogue, ManyDialogues
from earwitness.harness.client.events import Handshake, Heard
from earwitness.harness.client.wire import NO_CLOSE, Refused
from tests.client.spoken import dialogue


def both(server: Any, a: str, b: str) -> dict[str, str]:
    return {"a": f"{server.url}/{a}", "b": f"{server.url}/{b}"}


def sockets(line: Any) -> dict[str, Any]:
    found: dict[str, Any] = line.connection.links
    return found


def test_each_message_goes_to_the_socket_of_its_room(dial: Any, server: Any) -> None:
    """Both echo; the records are of one connection, and the counts are those of both sockets (H1)."""
    line = dial(both(server, "echo", "echo"), session={"ack_by_echo": True}).open()
    for n in range(5):
        line.say(f"to a, {n}", "a")
    line.say("to b", "b", soon=True)
    assert line.wait(lambda: line.stage.session.acked == 6)
    assert [link.wire.opened for link in sockets(line).values()] == [True, True]
    line.close()
    kinds = line.kinds()
    assert [kinds.count(kind) for kind in (Kind.CONNECT, Kind.DISCONNECT, Kind.DELIVER)] == [1, 1, 6]
    rows = line.stage.journal.rows()
    assert set(rows["conn"]) == {1}
    assert (rows[-1]["kind"], rows[-1]["counter"], rows[-1]["flags"]) == (Kind.DISCONNECT, 1000, Flag.OWN)
    counts = line.connection.transport.snapshot()
    assert (counts["frames_in"], counts["frames_out"], counts["opened"], counts["failed"]) == (6, 6, 2, 0)
    assert line.stage.session.frames_recorded == 6


def test_a_frame_is_sent_on_no_other_socket(dial: Any, server: Any) -> None:
    """The silent socket gets what is said in its room, so nothing comes back."""
    line = dial(both(server, "echo", "silent"), session={"ack_by_echo": True}).open()
    line.say("into the void", "b")
    line.say("to a", "a")
    assert line.wait(lambda: line.stage.session.acked == 1)
    rows = line.stage.journal.rows()
    assert list(rows[rows["kind"] == Kind.DELIVER]["conv"]) == [0]
    assert line.stage.session.pending == 1


def test_every_socket_must_be_greeted(dial: Any, server: Any) -> None:
    """`open` returns after the last greeting; the connection ends where one is missing, and the error says so."""
    line = dial(both(server, "welcome", "welcome"), welcome=True).open()
    assert line.connection.usable
    assert line.connection.dialogue.greeted == {"a", "b"}
    before = len(line.kinds())
    line = dial(both(server, "welcome", "silent"), welcome=True, timeout_s=1.0)
    with pytest.raises(Refused, match="no greeting within"):
        line.open()
    assert [kind for kind in line.kinds()[before:] if kind != Kind.IDENTITY] == [Kind.CONNECT, Kind.DISCONNECT]
    assert not line.stage.session.connected_now
    assert not any(link.open_now for link in sockets(line).values())


def test_a_refused_socket_refuses_all(dial: Any, server: Any) -> None:
    """What was open is closed from our side; a socket that was not tried is not counted as refused."""
    line = dial({"a": f"{server.url}/echo", "b": f"{server.url}/refuse/403", "c": f"{server.url}/echo"})
    with pytest.raises(Refused) as refused:
        line.open()
    assert refused.value.status == 403
    counts = line.connection.transport.snapshot()
    assert (counts["opened"], counts["refused"]) == (1, 1)
    assert line.kinds() == [Kind.CONNECT, Kind.DISCONNECT]
    assert line.stage.journal.rows()[-1]["flags"] == Flag.OWN


@pytest.mark.parametrize(("path", "code"), [("close_after/4002", 4002), ("reset", NO_CLOSE), ("cut", NO_CLOSE)])
def test_one_end_is_the_end_of_all(dial: Any, server: Any, path: str, code: int) -> None:
    """The platform ended one socket: the record has its code and no blame on us, and the other one is closed."""
    line = dial(both(server, "echo", path)).open()
    ended: list[bool] = []
    line.stage.session.on_closed = lambda: ended.append(True)
    line.say("once", "b")
    assert line.wait(lambda: line.connection.over)
    rows = line.stage.journal.rows()
    assert list(rows["kind"]) == [Kind.CONNECT, Kind.INVOKE, Kind.INFO, Kind.DISCONNECT]
    assert (rows[-1]["counter"], rows[-1]["flags"]) == (code, 0)
    assert line.connection.wire.close_code == code
    assert ended == [True]
    assert not any(link.open_now for link in sockets(line).values())
    line.connection.send(line.connection.dialogue.frame_to("a", "after the end"))
    assert line.connection.transport.frames_out == 1


def test_one_that_ends_while_another_is_opened(dial: Any, server: Any) -> None:
    """The error is that of the socket that ended, not of the one that was being opened."""
    line = dial(both(server, "close/4003", "silent"), welcome=True, timeout_s=5.0)
    begin = time.monotonic()
    with pytest.raises(Refused, match="4003: as asked"):
        line.open()
    assert time.monotonic() - begin < 4
    assert not line.stage.session.connected_now


def test_an_abort_ends_all(dial: Any, server: Any) -> None:
    line = dial(both(server, "echo", "echo")).open()
    line.connection.abort()
    assert line.wait(lambda: line.connection.over)
    assert line.kinds() == [Kind.CONNECT, Kind.DISCONNECT]
    assert line.stage.journal.rows()[-1]["flags"] == Flag.OWN


def test_a_frame_that_cannot_be_recorded_ends_all(dial: Any, server: Any) -> None:
    """An error of ours on one socket is an error of the connection."""
    line = dial(both(server, "echo", "echo"), session={"ack_by_echo": True}).open()

    def fail(heard: object) -> None:
        raise RuntimeError("no disk")

    line.stage.session.on_message = fail
    line.say("boom", "b")
    assert line.wait(lambda: line.connection.over)
    assert str(line.connection.error) == "no disk"
    assert line.connection.transport.failed == 1


def test_frames_say_where_they_belong() -> None:
    """Text stays text, bytes stay bytes; the mark is not part of either."""
    many = ManyDialogues({"a": dialogue(), "b": dialogue()})
    frame = many.send("b", "m1", "hello")
    assert frame.label == "b"
    assert json.loads(frame) == {"c": "b", "i": "m1", "t": "hello"}
    assert many.frame_to("a", b"\x00").label == "a"
    assert many.frame_to("a", b"\x00") == b"\x00"


class Choosy(BaseDialogue):
    """Dialogue that takes each frame before the greeting as a refusal, or waits for a greeting that does not come."""

    awaited = "answer to the riddle"

    def __init__(self, url: str, refuses: bool) -> None:
        super().__init__(Handshake(url=url, welcome=True), ["knock"])
        self._refuses = refuses

    def received(self, data: str | bytes) -> Sequence[Heard]:
        if self._refuses:
            raise Refused(f"it said {data!r}")
        return ()

    def send(self, label: str, message_id: str, text: str) -> str:
        return text


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_frame_refuses_a_connection(make_stage: Any, shell: Any, server: Any, many: bool) -> None:
    """No error of ours: `open` says the dialogue's reason, the platform ended the connection, and the counts agree."""
    stage, url = make_stage(), f"{server.url}/echo"
    spoken = ManyDialogues({"a": dialogue(url), "b": Choosy(url, True)}) if many else Choosy(url, True)
    connection = shell.connection(stage.session, spoken, 5.0)
    with pytest.raises(Refused) as refused:
        shell.run(connection.open())
    assert str(refused.value) == "connection refused: it said 'knock'"
    assert (connection.error, connection.transport.failed) == (None, 0)
    assert connection.transport.frames_in == stage.session.frames_recorded == 0
    last = stage.journal.rows()[-1]
    assert (last["kind"], last["flags"]) == (Kind.DISCONNECT, 0)
    assert stage.journal.names["it said 'knock'"] == last["author"]


def test_what_did_not_come_in_time_is_named(make_stage: Any, shell: Any, server: Any) -> None:
    connection = shell.connection(make_stage().session, Choosy(f"{server.url}/echo", False), 0.3)
    with pytest.raises(Refused, match=r"no answer to the riddle within 0\.3 s"):
        shell.run(connection.open())
