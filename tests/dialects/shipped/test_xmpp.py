"""The dialect xmpp, frame by frame: those of RFC 7395, RFC 6120, XEP-0045, 0077, 0198, 0313 (xmpp.org/extensions)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from mutated_frames import COUNT, mutated_texts

from earwitness.dialects import (
    ACK,
    BEAT,
    JOINED,
    LEFT,
    MESSAGE,
    NACK,
    OTHER,
    REPLAYED,
    WELCOME,
    Credentials,
    Person,
    Room,
    StoredRow,
)
from earwitness.harness.client.bounds import bounds, use
from earwitness.harness.dialects.registry import load_target
from earwitness.harness.dialects.shipped._xmpp_stanzas import DEEPEST, Stanzas
from earwitness.harness.errors import Exceeded, SettingsError, TargetError

WITCH = Person(number=0, name="Thirdwitch", email="thirdwitch.t@people.example", secret="fire burn")
COVEN = Room(number=0, label="Coven", members=(WITCH,))
HEATH = Room(number=1, label="heath", members=(WITCH,))
ME = Credentials(person=WITCH, user_id="thirdwitch", token="fire burn")
FILE = """dialect = "xmpp"
[urls]
socket = "ADDRESS"
[options]
domain = "shakespeare.lit"
rooms = "chat.shakespeare.lit"
"""
# RFC 7395 section 3.4 (https://www.rfc-editor.org/rfc/rfc7395#section-3.4) and RFC 6120 sections 6 and 7
OPEN = (
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='shakespeare.lit' id='++TR84Sm6A3hnt3Q065SnAbbk3Y=' "
    "version='1.0'/>"
)
PLAIN = (
    "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-"
    "sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)
BINDS = (
    "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
    "<sm xmlns='urn:xmpp:sm:3'/></stream:features>"
)
SUCCESS = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
BOUND = (
    "<iq xmlns='jabber:client' id='bind' type='result'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    "<jid>thirdwitch@shakespeare.lit/4db06f06-1ea4-11dc-aca3-000bcd821bfb</jid></bind></iq>"
)
# https://xmpp.org/extensions/xep-0198.html, examples 3, 8 and 10
ENABLED = "<enabled xmlns='urn:xmpp:sm:3' id='some-long-sm-id' resume='true'/>"
RESUMED = "<resumed xmlns='urn:xmpp:sm:3' h='7' previd='some-long-sm-id'/>"
FAILED = "<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
ASKS = "<r xmlns='urn:xmpp:sm:3'/>"
# https://xmpp.org/extensions/xep-0045.html, examples 24 (own presence), 46 and 82
PRESENT = (
    "<presence xmlns='jabber:client' from='coven@chat.shakespeare.lit/thirdwitch' to='hag66@shakespeare.lit/pda'><x "
    "xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/><status code='100'/>"
    "<status code='110'/></x></presence>"
)
OTHERS = PRESENT.replace("/thirdwitch'", "/firstwitch'").replace("<status code='110'/>", "")
CREATED = PRESENT.replace("code='100'", "code='201'")
GONE = PRESENT.replace("<presence ", "<presence type='unavailable' ")
LOCKED = (
    "<presence xmlns='jabber:client' from='coven@chat.shakespeare.lit/thirdwitch' type='error'><error type='cancel'>"
    "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
)
SAID = (
    "<message xmlns='jabber:client' from='coven@chat.shakespeare.lit/thirdwitch' id='hysf1v37' "
    "to='crone1@shakespeare.lit/desktop' type='groupchat'><body>Harpier cries: &apos;tis time, &lt;b&gt; 🧵</body>"
    "</message>"
)
TEXT = "Harpier cries: 'tis time, <b> 🧵"
OLD = SAID.replace("</message>", "<delay xmlns='urn:xmpp:delay' from='coven@chat.shakespeare.lit'/></message>")
AGAIN = SAID.replace("</message>", "<delay xmlns='urn:xmpp:delay' from='shakespeare.lit'/></message>")
SUBJECT = SAID.replace("<body>", "<subject>").replace("</body>", "</subject>")
REFUSED = (
    "<message xmlns='jabber:client' from='coven@chat.shakespeare.lit' id='hysf1v37' type='error'><body>x</body><error "
    "type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
)
# https://xmpp.org/extensions/xep-0199.html, example 1, and https://xmpp.org/extensions/xep-0077.html, example 5
PING = "<iq xmlns='jabber:client' from='shakespeare.lit' id='s2c1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
TAKEN = (
    "<iq xmlns='jabber:client' type='error' id='register'><error code='409' type='cancel'><conflict xmlns='urn:ietf:"
    "params:xml:ns:xmpp-stanzas'/></error></iq>"
)
# https://xmpp.org/extensions/xep-0313.html, section 4.2, and its example of a last page
FOUND = (
    "<message xmlns='jabber:client' id='aeb213' to='juliet@capulet.lit/chamber' from='coven@chat.shakespeare.lit'>"
    "<result xmlns='urn:xmpp:mam:2' queryid='ew' id='28482-98726-73623'><forwarded xmlns='urn:xmpp:forward:0'><delay "
    f"xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/>{SAID}</forwarded></result></message>"
)
PAGE = (
    "<iq xmlns='jabber:client' type='result' id='page-1'><fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/"
    "protocol/rsm'><first index='0'>1</first><last>09af3-cc343-b409f</last></set></fin></iq>"
)
LAST = PAGE.replace("page-1", "page-2").replace("<fin ", "<fin complete='true' ")
FRAMES = (OPEN, PLAIN, SUCCESS, BINDS, BOUND, ENABLED, RESUMED, FAILED, ASKS, PRESENT, CREATED, GONE, LOCKED, SAID, OLD)
FRAMES += (SUBJECT, REFUSED, PING, TAKEN, FOUND, PAGE, LAST)


@pytest.fixture
def chat(tmp_path: Path) -> Callable[..., Any]:
    """Return the dialect of a target file without its guard; `more`: further options."""

    def make(more: str = "register = false\n", address: str = "ws://127.0.0.1:1/ws") -> Any:
        file = tmp_path / "chat.toml"
        file.write_text(FILE.replace("ADDRESS", address) + more)
        target: Any = load_target(file)
        return target.target

    return make


def up_to_bound(dialogue: Any) -> None:
    dialogue.opened()
    for frame in (OPEN, PLAIN, SUCCESS, OPEN, BINDS):
        dialogue.received(frame)


def ready(dialogue: Any) -> Any:
    up_to_bound(dialogue)
    for frame in (BOUND, ENABLED):
        dialogue.received(frame)
    dialogue.out.clear()
    return dialogue


def kinds(events: Any) -> list[int]:
    return [event[0] for event in events]


def test_from_the_first_frame_to_the_room(chat: Callable[..., Any]) -> None:
    """Open, log in, open anew, bind, enable, join: each step waits for the answer to the one before."""
    dialogue = chat().dialogue(ME, [COVEN])
    steps: list[tuple[str, str]] = [
        (OPEN, ""), (PLAIN, "<auth"), (SUCCESS, "<open"), (OPEN, ""), (BINDS, "<bind"), (BOUND, "<enable"),
        (ENABLED, "to='coven@chat.shakespeare.lit/thirdwitch'".replace("'", '"')),
    ]  # fmt: skip
    assert dialogue.opened() == ()
    assert dialogue.handshake.subprotocols == ("xmpp",)
    assert "to=\"shakespeare.lit\" version='1.0'" in dialogue.out.pop()
    for frame, wanted in steps:
        assert list(dialogue.received(frame)) == []
        said = "".join(dialogue.out)
        dialogue.out.clear()
        assert wanted in said
        assert bool(said) == bool(wanted)
        if wanted == "<auth":
            assert b64decode(said.partition(">")[2].partition("<")[0]) == b"\0thirdwitch\0fire burn"
    assert not dialogue.received(OTHERS)
    joined, welcome = dialogue.received(PRESENT)
    assert joined == (JOINED, "Coven", None, -1, None, None, None)
    assert (welcome[0], welcome[6]) == (WELCOME, {"user": "thirdwitch"})
    assert dialogue.received(GONE) == [(LEFT, "Coven", None, -1, None, None, None)]


def test_an_account_is_registered_first(chat: Callable[..., Any]) -> None:
    """In-band, unless the device was connected before; a name that is taken is an account that exists."""
    dialogue = chat("").dialogue(ME, [COVEN])
    dialogue.opened()
    dialogue.received(PLAIN)
    assert "<username>thirdwitch</username><password>fire burn</password>" in dialogue.out[-1]
    assert not dialogue.received(TAKEN)
    assert "<auth" in dialogue.out[-1]
    again = chat("").dialogue(ME, [COVEN], resume={})
    again.received(PLAIN)
    assert "<auth" in again.out[-1]


def test_messages(chat: Callable[..., Any]) -> None:
    """The own message that comes back is its acknowledgement, once; what the room delayed is old; errors refuse."""
    dialogue = ready(chat().dialogue(ME, [COVEN]))
    frame = dialogue.send("Coven", "hysf1v37", TEXT + '\r\n\t"\x07')
    sent = ElementTree.fromstring(frame)
    assert (sent.get("to"), sent.get("type"), sent.get("id")) == (
        "coven@chat.shakespeare.lit", "groupchat", "hysf1v37",
    )  # fmt: skip
    assert sent.findtext("{jabber:client}body") == TEXT + '\r\n\t"\ufffd'
    message = (MESSAGE, "Coven", TEXT, -1, "thirdwitch", "hysf1v37", None)
    assert dialogue.received(SAID) == [message, (ACK, "Coven", None, -1, None, "hysf1v37", None)]
    assert dialogue.received(SAID.encode()) == [message]
    assert dialogue.received(AGAIN) == [message], "delayed by the server, as it resends after a cut"
    assert kinds(dialogue.received(OLD)) == [REPLAYED]
    assert not dialogue.received(SUBJECT)
    assert dialogue.received(REFUSED) == [(NACK, "Coven", None, -1, None, "hysf1v37", (406, None))]
    stray = dialogue.received(SAID.replace("coven@", "other@"))
    assert [event[1] for event in stray] == ["other"], "the label of a room that was not joined is its name"


def test_stream_management(chat: Callable[..., Any]) -> None:
    """Stanzas are counted and acknowledged; after a cut the session goes on, or is gone and the rooms are joined."""
    target = chat()
    first = ready(target.dialogue(ME, [COVEN, HEATH]))
    for frame in (PRESENT, SAID, PING):
        first.received(frame)
    assert kinds(first.received(ASKS)) == [BEAT]
    assert first.out[-1] == "<a xmlns='urn:xmpp:sm:3' h='3'/>"
    second = target.dialogue(ME, [COVEN, HEATH], {}, first)
    up_to_bound(second)
    assert second.out[-1] == "<resume xmlns='urn:xmpp:sm:3' h='3' previd=\"some-long-sm-id\"/>"
    assert second.received(RESUMED) == [(JOINED, "Coven", None, -1, None, None, True)]
    assert 'to="heath@chat.shakespeare.lit/thirdwitch"' in second.out[-1], "it was not in this room when it was cut"
    second.received(SAID)
    third = target.dialogue(ME, [COVEN], {}, second)
    up_to_bound(third)
    assert "h='4'" in third.out[-1]
    assert not third.received(FAILED)
    assert "<bind" in third.out[-1]
    assert not third.received(BOUND)
    assert not third.received(ENABLED)
    assert third.received(PRESENT)[0] == (JOINED, "Coven", None, -1, None, None, False)
    third.closing()
    assert "<close" in third.out[-1]
    assert "resume" not in "".join(_sent_by(target.dialogue(ME, [COVEN], {}, third)))


def _sent_by(dialogue: Any) -> list[str]:
    up_to_bound(dialogue)
    return list(dialogue.out)


def test_without_stream_management(chat: Callable[..., Any]) -> None:
    """Where the server has none, or the file wants none, binding is all; nothing is counted."""
    for more, features in (("register = false\nresume = false\n", BINDS), ("register = false\n", PLAIN)):
        dialogue = chat(more).dialogue(ME, [])
        dialogue.opened()
        for frame in (PLAIN, SUCCESS, features):
            dialogue.received(frame)
        assert kinds(dialogue.received(BOUND)) == [WELCOME]
        assert dialogue.managed.id == ""
    refused = chat().dialogue(ME, [])
    up_to_bound(refused)
    refused.received(BOUND)
    assert kinds(refused.received(FAILED)) == [WELCOME]


def test_a_room_that_is_being_made(chat: Callable[..., Any]) -> None:
    """Its maker unlocks it; others try again each second, and nobody waits for it for ever."""
    maker = ready(chat().dialogue(ME, [COVEN]))
    assert JOINED in kinds(maker.received(CREATED))
    assert "muc#roomconfig_persistentroom" in maker.out[-1]
    other = ready(chat().dialogue(ME, [COVEN]))
    assert kinds(other.received(LOCKED)) == [OTHER]
    assert (other.tick(), len(other.out)) == ((), 1)
    assert (other.tick(), len(other.out)) == ((), 1), "not before it was refused again"
    assert [kinds(other.tick()) for _ in range(4)] == [[], [], [WELCOME], []]


def test_what_the_server_asks(chat: Callable[..., Any]) -> None:
    """A ping is answered; any other request is declined, as RFC 6120 8.2.3 wants."""
    dialogue = ready(chat().dialogue(ME, []))
    assert kinds(dialogue.received(PING)) == [BEAT]
    assert dialogue.out.pop() == "<iq xmlns='jabber:client' type='result' id=\"s2c1\" to=\"shakespeare.lit\"></iq>"
    dialogue.received(PING.replace("ping", "pong"))
    assert "<service-unavailable" in dialogue.out.pop()


def test_the_archive(chat: Callable[..., Any], tmp_path: Path) -> None:
    """Page after page, until the server says that it was the last; a refusal is a sentence."""
    target = chat("register = false\npage = 2\n")
    reader = ready(target.parts.reads_by_socket.reader(ME, COVEN))
    assert reader.rows is None
    reader.received(FOUND)
    reader.received(PAGE)
    assert "<max>2</max><after>09af3-cc343-b409f</after>" in reader.out[-1]
    assert 'to="coven@chat.shakespeare.lit"' in reader.out[-1]
    reader.received(FOUND.replace(TEXT[:7], "Second "))
    assert reader.rows is None
    reader.received(LAST)
    row = StoredRow(text=TEXT, sender="thirdwitch", message_id="hysf1v37", conversation="Coven")
    assert reader.rows is not None
    assert [reader.rows[0], len(reader.rows)] == [row, 2]
    refused = ready(target.parts.reads_by_socket.reader(ME, COVEN))
    with pytest.raises(TargetError, match="the archive of coven@chat"):
        refused.received(TAKEN.replace("register", "page-1"))


def test_an_archive_without_end(chat: Callable[..., Any]) -> None:
    """It ends at the bounds of the target file."""
    target = chat("register = false\n[bounds]\nhistory_rows = 3\n")
    before = bounds()
    try:
        reader = ready(target.parts.reads_by_socket.reader(ME, COVEN))
        for _ in range(3):
            reader.received(FOUND)
        with pytest.raises(Exceeded):
            reader.received(FOUND)
    finally:
        use(before)


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_tcp_stream_however_it_is_cut(chat: Callable[..., Any], step: int) -> None:
    """One document from login to login; characters are cut in the middle too."""
    dialogue = chat(address="tcp://127.0.0.1:5222").dialogue(ME, [COVEN])
    head = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    dialogue.opened()
    events: list[Any] = []
    for text in (head + PLAIN + SUCCESS, head + BINDS + BOUND + ENABLED + PRESENT + SAID + " " + SAID):
        data = text.encode()
        for at in range(0, len(data), step):
            events += dialogue.received(data[at : at + step])
    assert kinds(events) == [JOINED, WELCOME, MESSAGE, MESSAGE]
    assert events[-1][2] == TEXT
    assert dialogue.out[0].startswith("<?xml version='1.0'?><stream:stream ")
    dialogue.closing()
    assert dialogue.out[-1] == "</stream:stream>"


@pytest.mark.parametrize(
    "bad",
    [
        "<!DOCTYPE a [<!ENTITY b 'bomb'>]><message xmlns='jabber:client'>&b;</message>",
        "<?xml version='1.0'?><!DOCTYPE a><a/>",
        "<message xmlns='jabber:client'>&undefined;</message>",
        "<a>" * (DEEPEST + 2) + "</a>" * (DEEPEST + 2),
        "<a>" * 200_000,
        "<a/><b/>",
        "<a>",
        "",
        b"\xff\xfe",
        "just text",
    ],
)
def test_frames_that_are_no_stanza(chat: Callable[..., Any], bad: str | bytes) -> None:
    """They are OTHER, and the next frame is read as usual."""
    dialogue = ready(chat().dialogue(ME, [COVEN]))
    events = dialogue.received(bad)
    assert OTHER in kinds(events) or not bad
    assert kinds(dialogue.received(SAID)) == [MESSAGE]


def test_a_tcp_stream_that_never_ends_a_stanza() -> None:
    """Its length is bounded, also before the stream's root; a document type is refused in pieces too."""
    stream = Stanzas(framed=False, most=1000)
    assert list(stream.feed("<s><a>" + "x" * 900)) == []
    with pytest.raises(Exceeded):
        list(stream.feed("x" * 200))
    silent = Stanzas(framed=False, most=100_000)
    with pytest.raises(ValueError, match="no root"):
        [list(silent.feed(" " * 100)) for _ in range(100)]
    typed = Stanzas(framed=False, most=1000)
    with pytest.raises(ValueError, match="document type"):
        [list(typed.feed(one)) for one in "<!DOCTYPE a>"]
    busy = Stanzas(framed=False, most=1000)
    assert sum(len(list(busy.feed(one))) for one in ["<s>", *["<a>" + "x" * 100 + "</a>"] * 30]) == 30
    with pytest.raises(ValueError, match="too deep"):
        list(Stanzas(framed=True, most=1000).feed("<a>" * (DEEPEST + 2) + "</a>" * (DEEPEST + 2)))
    with pytest.raises(ValueError, match="broken before"):
        list(typed.feed("<a/>"))


@pytest.mark.parametrize("address", ["ws://127.0.0.1:1/ws", "tcp://127.0.0.1:1"])
def test_mutated_frames_never_raise(chat: Callable[..., Any], address: str) -> None:
    """Two thousand broken frames: events or nothing, and no more answers than frames."""
    target = chat(address=address)
    heard = 0
    for number, frame in enumerate(mutated_texts(FRAMES, COUNT)):
        if number % 20 == 0:
            dialogue = target.dialogue(ME, [COVEN])
            if address.startswith("ws"):
                ready(dialogue)
            else:
                dialogue.received(
                    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
                )
        heard += len(dialogue.received(frame))
        assert len(dialogue.out) < 100
    assert heard > (1000 if address.startswith("ws") else 300)


def test_a_file_without_a_socket(tmp_path: Path) -> None:
    """One sentence names the key."""
    file = tmp_path / "chat.toml"
    file.write_text('dialect = "xmpp"\n[urls]\nhttp = "http://127.0.0.1:1"\n')
    with pytest.raises(SettingsError, match=r"urls\.socket"):
        load_target(file)
