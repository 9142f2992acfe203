"""STOMP: frames of the specification, escaping, receipts, damage, and real servers if they are installed.

Frames: https://stomp.github.io/stomp-specification-1.2.html
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from brokers import coilmq, rabbitmq
from planted_faults import planted
from server_trials import finds, passes, planter_of
from spoken_dialect import BODIES, damaged, dialect, dialogue, in_pieces, taken, whole
from story_runs import CHAT, CUTS, example_file

from earwitness.dialects import ACK, BEATS, JOINED, MESSAGE, NACK, OTHER, WELCOME, ByteStream
from earwitness.harness.dialects.shipped import _stomp_frames as stomp
from earwitness.harness.errors import SettingsError

CONNECTED = b"CONNECTED\nversion:1.2\nsession:s1\nheart-beat:10000,10000\n\n\0"


def receipt(number: int) -> bytes:
    return b"RECEIPT\nreceipt-id:%d\n\n\0" % number


def message(text: str, destination: str = "/topic/earwitness.r1", number: str = "0") -> bytes:
    about = {"subscription": number, "message-id": "007", "destination": destination, "content-type": "text/plain"}
    return stomp.frame("MESSAGE", {**about, "earwitness-id": "id-1", "earwitness-sender": "bob"}, text).encode()


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    return dialect(tmp_path, "stomp")


def joined(broker: Any) -> Any:
    """Return a dialogue that has joined r1 and r2."""
    one = dialogue(broker, ("r1", "r2"))
    one.opened()
    whole(one, CONNECTED + receipt(1) + receipt(2))
    taken(one)
    return one


def test_frames_of_the_specification() -> None:
    """Heartbeats between, both ends of lines, repeated headers, a body with a NUL; in pieces of any size."""
    data = (
        b"\n\r\nMESSAGE\r\nfoo:World\r\nfoo:Hello\r\n\r\nhello queue a\0\n\n"
        b"MESSAGE\nsubscription:0\nmessage-id:007\ncontent-length:3\n\na\0b\0"
        b"RECEIPT\nreceipt-id:message-12345\n\n\0"
        b"ERROR\nmessage: malformed\\c frame\n\nThe message:\0"
    )
    expected = [
        ("MESSAGE", {"foo": "World"}, b"hello queue a"),
        ("MESSAGE", {"subscription": "0", "message-id": "007", "content-length": "3"}, b"a\0b"),
        ("RECEIPT", {"receipt-id": "message-12345"}, b""),
        ("ERROR", {"message": " malformed: frame"}, b"The message:"),
    ]
    assert stomp.split(data, 100) == (expected, b"")
    for size in range(1, len(data)):
        found, rest = [], b""
        for at in range(0, len(data), size):
            frames, rest = stomp.split(rest + data[at : at + size], 100)
            found += frames
        assert (found, rest) == (expected, b"")


@pytest.mark.parametrize(
    ("plain", "written"),
    [("a:b", r"a\cb"), ("a\nb", r"a\nb"), ("a\rb", r"a\rb"), ("a\\b", r"a\\b"), (r"a\c:\n", r"a\\c\c\\n")],
)
def test_escaping(plain: str, written: str) -> None:
    """§ Value Encoding, both ways; CONNECT and CONNECTED are not escaped."""
    assert (stomp.escaped(plain), stomp.unescaped(written)) == (written, plain)
    assert stomp.frame("SEND", {"a": plain}) == f"SEND\na:{written}\n\n\0"
    assert stomp.frame("CONNECT", {"a": "x:y"}) == "CONNECT\na:x:y\n\n\0"
    assert stomp.split(b"CONNECTED\na:x\\cy\n\n\0", 9)[0][0][1] == {"a": r"x\cy"}
    assert stomp.unescaped(r"a\tb") == r"a\tb"


def test_joining(broker: Any) -> None:
    """CONNECT, CONNECTED, a SUBSCRIBE for each room, whose RECEIPT joins it."""
    one = dialogue(broker, ("r1", "r2"))
    one.opened()
    assert taken(one) == b"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:10000,10000\n\n\0"
    events = whole(one, CONNECTED)
    assert (events[0][0], events[0][6]) == (WELCOME, {"session": "s1"})
    first, second = stomp.split(taken(one), 100)[0]
    assert first == (
        "SUBSCRIBE", {"id": "0", "destination": "/topic/earwitness.r1", "ack": "auto", "receipt": "1"}, b"",
    )  # fmt: skip
    assert second[1]["id"] == "1"
    assert whole(one, receipt(2)) == [(JOINED, "r2", None, -1, None, None, None)]
    assert whole(one, receipt(2))[0][0] == OTHER


@pytest.mark.parametrize(("said", "beats"), [("10000,10000", b"\n"), ("10000,0", b""), ("nonsense", b"")])
def test_heartbeats(broker: Any, said: str, beats: bytes) -> None:
    """They are sent if the server wants any."""
    one = dialogue(broker)
    one.tick()
    whole(one, CONNECTED.replace(b"10000,10000", said.encode()))
    taken(one)
    one.tick()
    assert taken(one) == beats
    assert [one.received(data) for data in ("\n", b"\r\n")] == [BEATS, BEATS]
    one.received(b"MESSAGE\n")
    assert one.received(b"\n") == [], "the end of a head is no heartbeat"


def test_messages_and_answers(broker: Any) -> None:
    """A RECEIPT acknowledges, an ERROR with its receipt refuses; texts arrive unchanged, in pieces of any size."""
    one = joined(broker)
    for text in BODIES:
        command, headers, body = stomp.split(one.send("r1", "id-1", text).encode(), 1000)[0][0]
        assert (command, headers["destination"], body) == ("SEND", "/topic/earwitness.r1", text.encode())
        assert (headers["earwitness-id"], headers["earwitness-sender"]) == ("id-1", "ann")
    data = b"".join(message(text) for text in BODIES) + receipt(3) + b"ERROR\nreceipt-id:4\n\nno\0"
    expected = [(MESSAGE, "r1", text, -1, "bob", "id-1", None) for text in BODIES] + [
        (ACK, "r1", None, -1, None, "id-1", None), (NACK, "r1", None, -1, None, "id-1", (400, None)),
    ]  # fmt: skip
    assert in_pieces(one, data, 7) == expected
    assert whole(one, b"ERROR\nmessage:bad\n\n\0")[0][0] == OTHER
    one.closing()
    assert taken(one) == b"DISCONNECT\n\n\0"


def test_the_room_of_a_delivery(broker: Any) -> None:
    """Its destination names it; where the broker has renamed it, the subscription does."""
    one = joined(broker)
    assert whole(one, message("x", "/topic/earwitness.r9"))[0][1] == "r9"
    assert whole(one, message("x", "/queue/made-up", "1"))[0][1] == "r2"
    assert whole(one, message("x", "/queue/made-up", "2"))[0][1] is None


def test_frames_that_are_too_long() -> None:
    """A head without end, a body over the limit, with and without a length: nothing of them is kept."""
    for data in (b"A" * 70_000, b"MESSAGE\ncontent-length:1000\n\n", b"MESSAGE\n\n" + b"x" * 200):
        frames, rest = stomp.split(data, 100)
        assert (frames[-1][0], rest) == (stomp.BROKEN, b"")


def test_options(tmp_path: Path) -> None:
    """TCP, users, no heartbeats; mistakes are named."""
    more = '[options]\nauth = "person"\nheart_beat_s = 0\nhost = "h"\n'
    one = dialogue(dialect(tmp_path, "stomp", more, "tcp://127.0.0.1:1"))
    assert isinstance(one.handshake, ByteStream)
    assert one.beat_s == 0
    one.opened()
    assert taken(one) == (
        b"CONNECT\naccept-version:1.2\nhost:h\nheart-beat:0,0\nlogin:ann\npasscode:secret-of-ann\n\n\0"
    )
    with pytest.raises(SettingsError) as caught:
        dialect(tmp_path, "stomp", '[options]\ndestination = "/topic/{room}{room}"\nauth = "everybody"\n')
    assert "options.destination" in str(caught.value)
    assert "options.auth" in str(caught.value)


def test_one_account_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its password comes from the environment; one that is written out is a mistake."""
    monkeypatch.setenv("CHAT_PASSWORD", "hidden:word")
    shared = '[options]\nauth = "shared"\nuser = "guest"\npassword = '
    one = dialogue(dialect(tmp_path, "stomp", f'{shared}"env:CHAT_PASSWORD"\n'))
    one.opened()
    assert b"\nlogin:guest\npasscode:hidden:word\n" in taken(one)
    with pytest.raises(SettingsError, match=r"options\.password"):
        dialect(tmp_path, "stomp", f'{shared}"hidden"\n')


def test_damaged_frames(broker: Any) -> None:
    """Nothing that a server could send raises."""
    real = [
        CONNECTED, receipt(1), receipt(3), message(BODIES[2]), message("x") * 2, b"\n\n\r\n",
        b"ERROR\nreceipt-id:3\nmessage:a\\cb\n\nbody\0", b"MESSAGE\r\ncontent-length:2\r\n\r\nab\0",
    ]  # fmt: skip

    def asked() -> Any:
        one = joined(broker)
        one.send("r1", "m", "text")
        return one

    damaged(real, asked)


def test_a_real_server(tmp_path: Path) -> None:
    """Probe and a run; coilmq answers no frame that follows a heartbeat, so it is spoken to without them."""
    with coilmq(tmp_path) as port:
        passes(of_coilmq(tmp_path, port))


@pytest.mark.servers
@pytest.mark.parametrize("story", [CHAT, CUTS])
def test_rabbitmq(tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over WebSocket, with an account, in order, longer than two heartbeats, with and without cuts."""
    monkeypatch.setenv("BROKER_PASSWORD", "guest")
    with rabbitmq(tmp_path) as (_, ws):
        file = example_file(
            tmp_path, "stomp", socket=f'"ws://127.0.0.1:{ws}/ws"', auth='"shared"', user='"guest"',
            password='"env:BROKER_PASSWORD"', ordered="true", heart_beat_s="2.0",
        )  # fmt: skip
        passes(file, story, unknown=True)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        pytest.param("lose", "I5b", marks=pytest.mark.campaign),
        pytest.param("duplicate", "I6", marks=pytest.mark.campaign),
        ("swap", "I1"),
        pytest.param("leak", "I12", marks=pytest.mark.campaign),
    ],
)
def test_a_planted_fault(tmp_path: Path, fault: str, check: str) -> None:
    """It is found by the check for it."""
    planter = planter_of(fault)
    with coilmq(tmp_path) as server, planted("stomp", f"127.0.0.1:{server}", planter) as port:
        finds(planter, {check}, of_coilmq(tmp_path, port))


def of_coilmq(folder: Path, port: int) -> Path:
    return example_file(folder, "stomp", port=port, host=f'"{socket.getfqdn()}"', heart_beat_s="0", ordered="true")
