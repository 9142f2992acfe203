"""NATS: literal messages of the documentation, joining and resuming, damage, and a real server if it is installed.

Literal messages: https://docs.nats.io/reference/reference-protocols/nats-protocol and
https://docs.nats.io/reference/reference-protocols/nats_api_reference; answers of JetStream: nats-server 2.15.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from brokers import nats_server
from planted_faults import planted
from server_trials import finds, passes, planter_of
from spoken_dialect import BODIES, credentials, damaged, dialect, dialogue, in_pieces, taken, whole
from story_runs import CUTS, example_file

from earwitness.dialects import ACK, BEATS, JOINED, MESSAGE, NACK, OTHER, WELCOME
from earwitness.harness.dialects.protocol import Room
from earwitness.harness.dialects.shipped import _nats_frames as frames
from earwitness.harness.errors import SettingsError

INFO = b'INFO {"server_id":"Zk0GQ3JBSrg3oyxCRRlE09","server_name":"n1","version":"1.2.0","proto":1}\r\n'
ROOM = Room(number=0, label="r1", members=())


def msg(subject: str, body: bytes, reply: str = "", head: bytes = b"", sid: int = 1) -> bytes:
    """Return MSG, or HMSG with headers."""
    where = f"{subject} {sid} {reply}".rstrip()
    if head:
        return b"HMSG %b %d %d\r\n%b%b\r\n" % (where.encode(), len(head), len(head) + len(body), head, body)
    return b"MSG %b %d\r\n%b\r\n" % (where.encode(), len(body), body)


def delivery(seq: int, text: str, label: str = "r1", left: int = 0) -> bytes:
    reply = f"$JS.ACK.EARWITNESS_{label}.c1.1.{seq}.{seq}.1796037586720981162.{left}"
    return msg(f"earwitness.{label}", text.encode(), reply, b"NATS/1.0\r\nNats-Msg-Id: id-%d\r\n\r\n" % seq, sid=2)


def state(first: int, last: int) -> bytes:
    return orjson.dumps(
        {"type": "io.nats.jetstream.api.v1.stream_create_response", "state": {"first_seq": first, "last_seq": last}}
    )


def made(head: int, left: int = 0) -> bytes:
    return orjson.dumps({"name": "c1", "delivered": {"consumer_seq": 0, "stream_seq": head}, "num_pending": left})


def opened(one: Any, first: int = 0, last: int = 0, left: int = 0) -> list[Any]:
    """Let a dialogue of one room open, with a stream that has the numbers `first` to `last`; return its events."""
    one.opened()
    assert whole(one, INFO) == []
    assert taken(one).startswith(b"CONNECT {")
    assert whole(one, b"PONG\r\n") == []
    inbox = one._inbox
    assert b"PUB $JS.API.STREAM.CREATE.EARWITNESS_r1 " in taken(one)
    events = whole(one, msg(f"{inbox}.answer.1", state(first, last)))
    asked = taken(one)
    assert b"PUB $JS.API.CONSUMER.CREATE.EARWITNESS_r1 " in asked
    one.consumer = orjson.loads(asked[asked.index(b"{") : asked.rindex(b"}") + 1])["config"]
    return events + whole(one, msg(f"{inbox}.answer.2", made(one.consumer.get("opt_start_seq", last + 1) - 1, left)))


@pytest.fixture
def nats(tmp_path: Path) -> Any:
    return dialect(tmp_path, "nats")


def test_literal_messages() -> None:
    """Messages of the documentation, whole and in pieces of each size."""
    data = (
        b"MSG FOO.BAR 9 11\r\nHello World\r\nMSG FOO.BAR 9 GREETING.34 11\r\nHello World\r\n"
        b"HMSG FOO.BAR 1 34 45\r\nNATS/1.0\r\nFoodGroup: vegetable\r\n\r\nHello World\r\n"
        b"HMSG FOO.BAR 9 BAZ.69 34 45\r\nNATS/1.0\r\nFoodGroup: vegetable\r\n\r\nHello World\r\n"
        b"PING\r\n+OK\r\n-ERR 'Unknown Protocol Operation'\r\n"
    )
    head = b"NATS/1.0\r\nFoodGroup: vegetable\r\n\r\n"
    expected = [
        ("MSG", ["FOO.BAR", "9"], b"", b"Hello World"), ("MSG", ["FOO.BAR", "9", "GREETING.34"], b"", b"Hello World"),
        ("HMSG", ["FOO.BAR", "1"], head, b"Hello World"), ("HMSG", ["FOO.BAR", "9", "BAZ.69"], head, b"Hello World"),
        ("PING", [""], b"", b""), ("+OK", [""], b"", b""), ("-ERR", ["'Unknown Protocol Operation'"], b"", b""),
    ]  # fmt: skip
    assert frames.split(data, 1000) == (expected, b"")
    for size in range(1, len(data)):
        items, rest = [], b""
        for at in range(0, len(data), size):
            found, rest = frames.split(rest + data[at : at + size], 1000)
            items += found
        assert (items, rest) == (expected, b"")
    assert frames.header(head, "foodgroup") == "vegetable"


def test_numbers_in_reply_subjects() -> None:
    """With and without the domain and account that newer servers put in front."""
    old, new = "$JS.ACK.S.c.1.7.8.179.3", "$JS.ACK.hub.AB12.S.c.1.7.8.179.3.tok"
    assert frames.place_of(["s", "1", old]) == frames.place_of(["s", "1", new]) == (7, 3)
    assert frames.place_of(["s", "1", "$JS.ACK.S.c.1.x.8.179.3"]) is None
    assert frames.place_of(["s", "1", "_INBOX.a.answer.1"]) is None
    assert frames.place_of(["s", "1"]) is None


def test_joining(nats: Any) -> None:
    """INFO, CONNECT, PONG, the stream, then the greeting, the consumer, and the room is joined at its last number."""
    one = dialogue(nats)
    events = opened(one, 1, 4)
    assert [event[0] for event in events] == [WELCOME, JOINED]
    assert events[1] == (JOINED, "r1", None, 4, None, None, None)
    assert one.consumer["deliver_policy"] == "new"
    assert whole(one, b"PING\r\n") == list(BEATS)
    assert taken(one) == b"PONG\r\n"
    one.tick()
    assert taken(one) == b"PING\r\n"
    assert whole(one, b"PONG\r\n") == list(BEATS)


def test_messages_and_answers(nats: Any) -> None:
    """A PubAck has the number, a refusal its code, 503 without a stream; texts arrive unchanged, in any pieces."""
    one = dialogue(nats)
    opened(one)
    for number, text in enumerate(BODIES, start=3):
        sent = one.send("r1", f"id-{number}", text)
        assert (
            frames.split(sent.replace(b"HPUB earwitness.r1", b"HMSG earwitness.r1 9"), 1000)[0][0][3] == text.encode()
        )
    inbox = one._inbox
    data = (
        delivery(1, BODIES[1])
        + msg(f"{inbox}.answer.3", b'{"stream":"EARWITNESS_r1","seq":1}')
        + delivery(2, BODIES[2])
    )
    expected = [
        (MESSAGE, "r1", BODIES[1], 1, None, "id-1", None),
        (ACK, "r1", None, 1, None, "id-3", None),
        (MESSAGE, "r1", BODIES[2], 2, None, "id-2", None),
    ]
    assert in_pieces(one, data, 7) == expected
    refused = msg(
        f"{inbox}.answer.4", b'{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}'
    )
    nobody = msg(f"{inbox}.answer.5", b"", head=b"NATS/1.0 503\r\n\r\n")
    assert whole(one, refused + nobody) == [
        (NACK, "r1", None, -1, None, "id-4", (503, None)), (NACK, "r1", None, -1, None, "id-5", (503, None)),
    ]  # fmt: skip
    assert whole(one, refused)[0][0] == OTHER  # an answer to nothing asked


@pytest.mark.parametrize(
    ("first", "last", "start", "joined"),
    [
        (1, 9, 6, (JOINED, "r1", None, 5, None, None, True)),  # 6 to 9 were missed, and follow
        (1, 5, 6, (JOINED, "r1", None, 5, None, None, True)),  # nothing was missed
        (8, 9, None, (JOINED, "r1", None, 9, None, None, False)),  # the stream no longer has 6 and 7
        (1, 3, None, (JOINED, "r1", None, 3, None, None, False)),  # the stream has lost what was received
    ],
)
def test_resuming(nats: Any, first: int, last: int, start: int | None, joined: Any) -> None:
    """The consumer starts behind the number received, unless the stream cannot continue there."""
    one = dialogue(nats, resume={"r1": 5})
    assert opened(one, first, last)[1] == joined
    assert one.consumer.get("opt_start_seq") == start


def test_a_delivery_before_the_answer_joins(nats: Any) -> None:
    """The server may deliver before it says that the consumer is made; the room is joined once."""
    one = dialogue(nats, resume={"r1": 5})
    one.received(INFO + b"PONG\r\n")
    whole(one, msg(f"{one._inbox}.answer.1", state(1, 9)))
    early = whole(one, delivery(6, "six"))
    assert early == [(JOINED, "r1", None, 5, None, None, True), (MESSAGE, "r1", "six", 6, None, "id-6", None)]
    assert whole(one, msg(f"{one._inbox}.answer.2", made(5))) == []


def test_a_stream_that_is_there_or_missing(nats: Any, tmp_path: Path) -> None:
    """Another configuration is accepted, and its state asked for; a refusal is shown and asked again."""
    one = dialogue(nats)
    one.received(INFO + b"PONG\r\n")
    taken(one)
    assert whole(one, msg(f"{one._inbox}.answer.1", b'{"error":{"code":400,"err_code":10058}}')) == []
    assert taken(one).startswith(b"PUB $JS.API.STREAM.INFO.EARWITNESS_r1 ")
    assert whole(one, msg(f"{one._inbox}.answer.2", b"", head=b"NATS/1.0 503\r\n\r\n"))[0][0] == OTHER
    one.tick()
    assert b"STREAM.INFO.EARWITNESS_r1" in taken(one)
    asks = dialogue(dialect(tmp_path, "nats", "[options]\ncreate = false\n"))
    asks.received(INFO + b"PONG\r\n")
    assert b"STREAM.INFO" in taken(asks)


def test_reading_a_room(nats: Any) -> None:
    """Rows up to the one behind which nothing is left; an empty room has none."""
    one = nats.reader(credentials(), ROOM)
    opened(one, 3, 4, left=2)
    assert (one.consumer["opt_start_seq"], one.rows) == (1, None)
    whole(one, delivery(3, "three", left=1))
    assert one.rows is None
    whole(one, delivery(4, "four"))
    assert [(row.seq, row.text, row.message_id) for row in one.rows] == [(3, "three", "id-3"), (4, "four", "id-4")]
    empty = nats.reader(credentials(), ROOM)
    opened(empty)
    assert empty.rows == []


def test_damaged_messages(nats: Any) -> None:
    """Nothing that a server could send raises, and what is kept of it stays small."""
    real = [
        INFO, b"PING\r\nPONG\r\n", delivery(1, BODIES[2]), delivery(2, "text") * 3, b"+OK\r\n-ERR 'x'\r\n",
        msg("_INBOX.x.answer.1", state(1, 4)), msg("_INBOX.x.answer.2", made(4)),
        msg("_INBOX.x.answer.3", b'{"stream":"S","seq":1,"error":null}'),
        msg("_INBOX.x.answer.4", b"", head=b"NATS/1.0 503\r\n\r\n"),
    ]  # fmt: skip

    def asked() -> Any:
        one = dialogue(nats, resume={"r1": 5})
        one._inbox = "_INBOX.x"
        one.received(INFO + b"PONG\r\n")
        one.send("r1", "m", "text")
        return one

    one = damaged(real, asked)
    assert whole(one, b"x" * (2 << 20))[-1][0] == OTHER
    assert len(one._rest) == 0


def test_options_that_are_wrong(tmp_path: Path) -> None:
    """Each is named, with what would do."""
    with pytest.raises(SettingsError) as caught:
        dialect(tmp_path, "nats", '[options]\nsubject = "chat"\nstream = "CHAT"\nauth = "token"\ntoken = "plain"\n')
    said = str(caught.value)
    assert "options.subject" in said
    assert 'sequence = "increasing"' in said
    assert "options.token" in said
    shared = '[options]\nstream = "CHAT"\nauth = "person"\n[contract]\nsequence = "increasing"\n'
    one = dialogue(dialect(tmp_path, "nats", shared))
    one.received(INFO + b"PONG\r\n")
    said_first = taken(one)
    assert b'"user":"ann","pass":"secret-of-ann"' in said_first
    assert b'{"name":"CHAT","subjects":["earwitness.*"]' in said_first


def test_a_real_server(tmp_path: Path) -> None:
    """Probe, and users whose sockets are cut and resume, longer than two PINGs of the server."""
    with nats_server(tmp_path) as (_, ws):
        judged = passes(example_file(tmp_path, "nats", port=ws), CUTS)
        assert {"I4", "I20", "I5a", "I7"} <= judged.held


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        pytest.param("lose", "I4", marks=pytest.mark.campaign),
        ("leak", "I12"),
        pytest.param("duplicate", "I6", marks=pytest.mark.campaign),
        pytest.param("swap", "I1", marks=pytest.mark.campaign),
    ],
)
def test_a_planted_fault(tmp_path: Path, fault: str, check: str) -> None:
    """It is found by the check for it."""
    planter = planter_of(fault)
    with nats_server(tmp_path) as (tcp, _), planted("nats", f"127.0.0.1:{tcp}", planter) as port:
        finds(planter, {check}, example_file(tmp_path, "nats", socket=f'"tcp://127.0.0.1:{port}"'))
