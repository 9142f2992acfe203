"""SignalR: frames of its documentation, opening, answers, pings, and a small server of our own.

No server can be installed here; the real client of SignalR checks ours (tests/dialects/shipped/test_servers.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutated_frames import COUNT, mutated_texts
from our_servers import python_server
from planted_faults import Planter, planted
from server_processes import ROOT
from story_runs import CHAT, CUTS, EXAMPLES, example_file, probe, run_story

from earwitness.dialects import ACK, BEATS, JOINED, MESSAGE, NACK, OTHER, WELCOME, Credentials, Person, Room
from earwitness.harness.dialects.guarded import event_fault
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.errors import SettingsError

ANN = Person(number=0, name="ann", email="ann@people.example")
ROOMS = [Room(number=n, label=f"r{n}", members=(ANN,)) for n in range(2)]
ASK = Credentials(person=ANN, user_id="ann", token="secret token")
END = "\x1e"
TEXT = 'naïve "quotes" \\ {text} 🧵\u2028'
Opens = Callable[..., Any]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    """Open the example's dialect, with changes of its text."""
    return lambda *changes: load_target(example_file(tmp_path, "signalr", *changes))


def said(target: Any, resume: Any = None) -> Any:
    """Return the dialogue itself, without its guard."""
    return target.dialogue(ASK, ROOMS, resume).dialogue


def begun(target: Any) -> Any:
    """Return a dialogue whose handshake was accepted; what it sent is taken away."""
    dialogue = said(target)
    dialogue.opened()
    assert dialogue.received("{}" + END)[0][0] == WELCOME
    dialogue.out.clear()
    return dialogue


def test_opening(opens: Opens) -> None:
    """The handshake comes first; rooms after its answer, each joined when its invocation is completed."""
    dialogue = said(opens())
    assert dialogue.handshake.url == "ws://127.0.0.1:5000/chat?access_token=ann"
    assert (list(dialogue.opened()), dialogue.out) == ([], ['{"protocol":"json","version":1}' + END])
    dialogue.out.clear()
    assert dialogue.received("{}" + END) == [(WELCOME, None, None, -1, None, None, None)]
    first, second = dialogue.out
    assert first == '{"type":1,"target":"Join","arguments":["r0"],"invocationId":"0"}' + END
    assert second == '{"type":1,"target":"Join","arguments":["r1"],"invocationId":"1"}' + END
    assert dialogue.received('{"type":3,"invocationId":"1","result":4}' + END) == [
        (JOINED, "r1", None, 4, None, None, None)
    ]
    assert dialogue.received('{"type":3,"invocationId":"0","error":"No."}' + END)[0][0] == OTHER


def test_a_connection_that_returns_may_have_missed_something(opens: Opens) -> None:
    dialogue = said(opens(), resume={})
    dialogue.received("{}" + END)
    joined = dialogue.received('{"type":3,"invocationId":"0"}' + END)
    assert joined == [(JOINED, "r0", None, -1, None, None, False)]


def test_a_handshake_that_is_refused(opens: Opens) -> None:
    """The server closes the connection; nothing is joined."""
    dialogue = said(opens())
    frame = '{"error":"Requested protocol \'messagepack\' is not available."}'
    assert dialogue.received(frame + END) == [(OTHER, None, None, -1, None, None, frame)]
    assert dialogue.out == []


def test_messages_and_answers_in_one_frame(opens: Opens) -> None:
    """The text arrives as it was sent; several records of a frame are read in their order."""
    dialogue = begun(opens(('["Send", ', '["Said", '), ('text = "0.text", ', 'text = "2", ')))
    sent = dialogue.send("r0", "m-7", TEXT)
    got = dialogue.received(
        sent.replace(',"invocationId":"2"', "") + '{"type":3,"invocationId":"2","result":{"seq":5}}' + END
    )
    assert got == [
        (MESSAGE, None, TEXT, -1, None, None, None),
        (ACK, "r0", None, 5, None, "m-7", None),
    ]
    dialogue.send("r0", "m-8", TEXT)
    refused = '{"type":3,"invocationId":"3","error":"It didn\'t work!"}'
    assert dialogue.received(refused + END) == [(NACK, "r0", None, -1, None, "m-8", (0, None))]


@pytest.mark.parametrize(
    ("record", "events"),
    # https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md, "JSON Encoding"
    [
        ('{"type":1,"invocationId":"123","target":"Send","arguments":[42,"Test Message"]}', None),
        ('{"type":1,"target":"Send","arguments":[42,"Test Message"]}', None),
        ('{"type":1,"invocationId":"123","target":"Send","arguments":[42],"streamIds":["1"]}', None),
        (
            '{"type":1,"headers":{"Foo":"Bar"},"target":"Note","arguments":[42,"Test Message"]}',
            [(MESSAGE, "42", "Test Message", -1, None, None, None)],
        ),
        ('{"type":2,"invocationId":"123","item":42}', None),
        ('{"type":3,"invocationId":"123"}', None),
        ('{"type":3,"invocationId":"123","result":42}', None),
        ('{"type":4,"invocationId":"123","target":"Send","arguments":[42,"Test Message"]}', None),
        ('{"type":5,"invocationId":"123"}', None),
        ('{"type":6}', list(BEATS)),
        ('{"type":7}', None),
        ('{"type":7,"error":"Connection closed because of an error!","allowReconnect":true}', None),
        ('{"type":8,"sequenceId":1394}', None),
        ('{"type":9,"sequenceId":1234}', None),
    ],
)
def test_records_of_the_documentation(opens: Opens, record: str, events: Any) -> None:
    """None: nothing that the target file names, so the record is shown to whoever probes."""
    old = '{ event = "Said", room = "0.room", text = "0.text", sender = "0.from", id = "0.id", seq = "0.seq" }'
    dialogue = begun(opens((old, '{ event = "Note", room = "0", text = "1" }')))
    got = list(dialogue.received(record + END))
    assert got == ([(OTHER, None, None, -1, None, None, record)] if events is None else events)


def test_pings_results_and_the_end(opens: Opens) -> None:
    """A ping every 15 s; an invocation of the server with an id is completed; the end is said."""
    dialogue = begun(opens())
    assert dialogue.beat_s == 15.0
    assert list(dialogue.tick()) == []
    dialogue.received('{"type":1,"invocationId":"7","target":"Said","arguments":[{"text":"x"}]}' + END)
    dialogue.closing()
    assert dialogue.out == [
        '{"type":6}' + END,
        '{"type":3,"invocationId":"7","result":null}' + END,
        '{"type":7}' + END,
    ]
    assert said(opens(("[options] ", "[options]\nkeep_alive_s = 3 "))).beat_s == 3.0


@pytest.mark.parametrize("frame", ["{}", '{"type":6}', "", b"{}\x1e", '{"type":6}\x1e{"ty'])
def test_a_frame_without_an_end(opens: Opens, frame: str | bytes) -> None:
    assert begun(opens()).received(frame) == [(OTHER, None, None, -1, None, None, frame)]


def test_mistakes_in_the_file(opens: Opens) -> None:
    with pytest.raises(SettingsError, match=r"options\.keep_alive_s"):
        opens(("[options] ", '[options]\nkeep_alive_s = "x" '))


REAL = (
    "{}" + END, '{"type":6}' + END, '{"type":7,"error":"x"}' + END, '{"type":3,"invocationId":"0","result":4}' + END,
    '{"type":3,"invocationId":"2","error":"x"}' + END,
    '{"type":1,"target":"Said","arguments":[{"room":"r0","text":"a","from":"bob","id":"m","seq":1}]}' + END,
    '{"type":6}' + END + '{"type":1,"invocationId":"5","target":"Said","arguments":[{"room":"r0","text":"a"}]}' + END,
)  # fmt: skip


def test_mutated_frames(opens: Opens) -> None:
    """2,000 frames: each gives events that are events; nothing is raised."""
    target = opens()
    dialogue = begun(target)
    for n, frame in enumerate(mutated_texts(REAL, COUNT, seed=6)):
        if n % 50 == 0:
            dialogue = said(target)
        assert all(event_fault(event) is None for event in dialogue.received(frame)), frame
        assert all(isinstance(one, str) for one in dialogue.out)
        dialogue.out.clear()


def test_our_server_passes(tmp_path: Path) -> None:
    """Cut sockets and three times its deadline for silent clients: nothing is broken."""
    with python_server(tmp_path, "signalr_hub.py", "--keep-alive-s", "1") as port:
        file = example_file(tmp_path, "signalr", ("[options] ", "[options]\nkeep_alive_s = 1 "), port=port)
        code, out = probe(file)
        assert code == 0, out
        judged = run_story(CUTS, file, 6)
    assert judged.code == 0, judged.out
    assert all(judged.examined(name) > 0 for name in ("I1", "I2", "I4", "I5a", "I5b", "I6", "I10", "I12", "I15"))


def test_a_doubled_message_is_found(tmp_path: Path) -> None:
    """One delivery in 40 comes twice: FAIL by the check of duplicates."""
    with (
        python_server(tmp_path, "signalr_hub.py") as port,
        planted("ws", f"ws://127.0.0.1:{port}", Planter("duplicate", 40), '"Said"') as proxy,
    ):
        judged = run_story(CHAT, example_file(tmp_path, "signalr", port=proxy), 4)
    assert (judged.code, judged.broken) == (1, {"I6"}), judged.out


def test_the_page_shows_the_file_to_copy() -> None:
    """The same keys and values as in the example, which these tests use."""
    page = (ROOT / "docs" / "dialects" / "signalr.md").read_text("utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(shown) == tomllib.loads((EXAMPLES / "signalr.toml").read_text("utf-8"))
