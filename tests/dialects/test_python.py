"""Dialects in Python: found by file, by name and by entry point; what goes wrong in one is a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earwitness.dialects import MESSAGE, WELCOME, Credentials, ManyDialogues, Person, Refused, Room
from earwitness.harness.client.flow import FlowError, HttpResponse
from earwitness.harness.dialects.guarded import DialectError, GuardedDialogue, event_fault
from earwitness.harness.dialects.registry import load_target, shipped
from earwitness.harness.errors import EarwitnessError, SettingsError, TargetError

ANN = Person(number=0, name="ann", email="ann@people.example")
ROOM = Room(number=0, label="r0", members=(ANN,))
GOOD = """
from earwitness.dialects import *
PROMISES = {"sequence": "none", "history": False}
SETTINGS = {"urls": {"socket": "ws://127.0.0.1:1/ws"}}
class Chat(BaseDialect):
    def dialogue(self, credentials, rooms, resume=None, previous=None):
        return Said(Handshake(url=self.settings.socket, network=self.network), ["hi"])
class Said(BaseDialogue):
    def received(self, data):
        return [(MESSAGE, "r0", data, -1, "bob", None, None)]
    def send(self, label, message_id, text):
        return text
def open_dialect(settings):
    return Chat(settings)
"""


@pytest.fixture
def dialect(tmp_path: Path) -> Callable[..., Any]:
    def make(text: str = GOOD, *replaced: tuple[str, str]) -> Any:
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "chat.py").write_text(text)
        return load_target(tmp_path / "chat.py")

    return make


def said(target: Any) -> Any:
    return target.dialogue(Credentials(person=ANN, user_id="ann", token=""), [ROOM])


def test_a_file_with_its_settings(dialect: Callable[..., Any]) -> None:
    """Name, promises, guard and network come from SETTINGS and PROMISES; the dialogue is the module's."""
    target = dialect()
    assert (target.name, target.contract.sequence, target.allow_load) == ("chat", "none", True)
    dialogue = said(target)
    dialogue.opened()
    assert dialogue.out == ["hi"]
    assert dialogue.received("x") == [(MESSAGE, "r0", "x", -1, "bob", None, None)]


def test_several_sockets_and_a_refusal(dialect: Callable[..., Any]) -> None:
    """Each socket has a guard of its own; a refusal while a connection is opened is no mistake of the dialect."""
    each = "return ManyDialogues({'r0': Said(self.settings.socket), 'r1': Said(self.settings.socket)})"
    target = dialect(
        GOOD,
        ('return Said(Handshake(url=self.settings.socket, network=self.network), ["hi"])', each),
        (
            "    def received",
            "    def __init__(self, url):\n        super().__init__(Handshake(url=url))\n    def received",
        ),
        (
            'return [(MESSAGE, "r0", data',
            'if data == "no": raise Refused("go away")\n        return [(MESSAGE, "r0", data',
        ),
        ("        return text", "        return None if text == 'x' else text"),
    )
    many = said(target)
    assert isinstance(many, ManyDialogues)
    assert [type(one) for one in many.by_room.values()] == [GuardedDialogue, GuardedDialogue]
    with pytest.raises(Refused, match="go away"):
        many.received("no")
    with pytest.raises(DialectError, match="send returned None"):
        many.send("r1", "m1", "x")
    again = target.dialogue(Credentials(person=ANN, user_id="ann", token=""), [ROOM], {}, many)
    assert isinstance(again, ManyDialogues)


def test_a_target_file_names_its_dialect(tmp_path: Path) -> None:
    """By file, with keys of its own, which are checked like all others; the contract of the file goes first."""
    (tmp_path / "mine.py").write_text(
        GOOD.replace("return Chat(settings)", 'settings.own.whole("depth", 1, example="2")\n    return Chat(settings)')
    )
    file = tmp_path / "chat.toml"
    head = 'dialect = "mine.py"\n[urls]\nsocket = "ws://127.0.0.1:1/ws"\n'
    file.write_text(head + '[options]\ndepth = 2\n[contract]\nsequence = "increasing"\n')
    assert load_target(file).contract.sequence == "increasing"
    file.write_text(head + '[options]\ndept = 2\n[contract]\nsequenc = "none"\n')
    with pytest.raises(SettingsError) as caught:
        load_target(file)
    assert "options.dept" in str(caught.value)
    assert "contract.sequenc" in str(caught.value)
    file.write_text(head.replace("mine.py", "socketoi"))
    with pytest.raises(TargetError, match="There is no dialect 'socketoi'"):
        load_target(file)
    file.write_text(head.replace("mine.py", "other.py"))
    with pytest.raises(TargetError, match=r"There is no dialect .*other\.py"):
        load_target(file)


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package offers a dialect by name."""
    (tmp_path / "chat_of_a_package.py").write_text(GOOD)
    info = tmp_path / "chat_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chat-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[earwitness.dialects]\nourchat = chat_of_a_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "chat.toml").write_text('dialect = "ourchat"\n[urls]\nsocket = "ws://127.0.0.1:1/ws"\n')
    assert said(load_target(tmp_path / "chat.toml")).send("r0", "m", "text") == "text"


@pytest.mark.parametrize("name", shipped())
def test_shipped_dialects_offer_what_is_needed(name: str, tmp_path: Path) -> None:
    """Each opens from a file with addresses alone, or says which key it needs."""
    file = tmp_path / "chat.toml"
    file.write_text(f'dialect = "{name}"\n[urls]\nhttp = "http://127.0.0.1:1"\nsocket = "ws://127.0.0.1:1/ws"\n')
    missing = ""
    try:
        load_target(file)
    except SettingsError as error:
        missing = str(error)
    assert not missing or "options." in missing


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def open_dialect", "def open_it", "no function open_dialect"),
        ("return Chat(settings)", "return 1 / 0", "open_dialect failed with ZeroDivisionError"),
        ("PROMISES =", "import nothing_of_this_name\nPROMISES =", "importing it failed with ModuleNotFoundError"),
        ("SETTINGS =", "SETTING =", "has no table SETTINGS"),
        ("ws://127.0.0.1:1/ws", "ws://chat.example/ws", "is not this machine"),
        ("class Chat(BaseDialect):", "class Chat(BaseDialect)", "importing it failed with SyntaxError"),
    ],
)
def test_a_module_that_is_wrong(dialect: Callable[..., Any], old: str, new: str, words: str) -> None:
    """One sentence, before the first request."""
    with pytest.raises(EarwitnessError, match=words):
        dialect(GOOD, (old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'return [(MESSAGE, "r0", data, -1, "bob", None, None)]',
            "raise KeyError('room')",
            "received failed with KeyError",
        ),
        ('return [(MESSAGE, "r0", data, -1, "bob", None, None)]', "return 7", "which is no list of events"),
        ('(MESSAGE, "r0", data, -1, "bob", None, None)', "'x'", "a tuple of seven values"),
        (
            '(MESSAGE, "r0", data, -1, "bob", None, None)',
            '(MESSAGE, 5, data, -1, "bob", None, None)',
            "its room is no text",
        ),
        ('data, -1, "bob"', 'data, 1 << 63, "bob"', "its number is no whole number"),
        ("MESSAGE, ", "99, ", "there is no kind of event 99"),
        ("def received(self, data):", "def received(self, data):\n        self.out.append(5)", "out has 5"),
    ],
)
def test_a_dialogue_that_is_wrong(dialect: Callable[..., Any], old: str, new: str, words: str) -> None:
    """It raises DialectError, which ends the connection from our side."""
    with pytest.raises(DialectError, match=words):
        said(dialect(GOOD, (old, new))).received("x")


def test_other_methods_that_are_wrong(dialect: Callable[..., Any]) -> None:
    """A frame that is none, a dialogue that cannot be made, a login that raises; a goodbye is only left out."""
    with pytest.raises(DialectError, match="send returned None"):
        said(dialect(GOOD, ("return text", "return None"))).send("r0", "m", "x")
    with pytest.raises(DialectError, match="dialogue failed with AttributeError"):
        said(dialect(GOOD, ("self.settings.socket", "self.nothing.socket")))
    wrong = dialect(GOOD, ("class Said", "    def login(self, person):\n        yield 1 / 0\nclass Said"))
    with pytest.raises(FlowError, match="login failed with ZeroDivisionError"):
        next(wrong.login(ANN))
    rude = said(dialect(GOOD, ("    def send(", "    def closing(self):\n        raise OSError\n    def send(")))
    rude.closing()
    assert rude.out == []


STREAMED = """
from earwitness.dialects import *
SETTINGS = {"urls": {"http": "http://127.0.0.1:1"}}
class Chat(BaseDialect):
    def dialogue(self, credentials, rooms, resume=None, previous=None):
        return SilentDialogue([room.label for room in rooms])
    def ask(self, credentials, label, message_id, text, happened):
        def event(lines):
            happened([(AGENT, label, parse_event(lines).data, -1, None, message_id, (message_id, "chunk", 0))])
        try:
            yield StreamedRequest("POST", "http://127.0.0.1:1", on_event=event)
        except FlowError:
            return [(NACK, label, None, -1, None, message_id, (1, None))]
        return ()
def open_dialect(settings):
    chat = Chat(settings, Parts())
    chat.parts = Parts(streams_answers=chat)
    return chat
"""


def asked(target: Any, told: list[Any]) -> Any:
    credentials = Credentials(person=ANN, user_id="ann", token="")
    return target.parts.streams_answers.ask(credentials, "r0", "m1", "text", told.extend)


def test_a_dialect_that_streams(dialect: Callable[..., Any]) -> None:
    """Guarded, it does what it did: events, errors of the request, the result."""
    told: list[Any] = []
    flow = asked(dialect(STREAMED), told)
    next(flow).on_event("data: hello")
    assert told == [(8, "r0", "hello", -1, None, "m1", ("m1", "chunk", 0))]
    with pytest.raises(StopIteration) as end:
        flow.throw(FlowError("question", "an answer"))
    assert end.value.value == [(3, "r0", None, -1, None, "m1", (1, None))]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def event(lines):", "def event(lines):\n            {}['x']", "ask failed with KeyError"),
        ('"chunk", 0)', '"chunk")', "an agent's event"),
        ("return ()", "return 7", "which is no list of events"),
        ("        try:\n", "        1 / 0\n        try:\n", "ask failed with ZeroDivisionError"),
    ],
)
def test_a_dialect_that_streams_wrongly(dialect: Callable[..., Any], old: str, new: str, words: str) -> None:
    """Each mistake is a sentence that blames the dialect."""
    flow = asked(dialect(STREAMED, (old, new)), [])
    with pytest.raises(DialectError, match=words):  # noqa: PT012 (which step fails depends on the mistake)
        next(flow).on_event("data: hello")
        flow.send(HttpResponse(200, {}, b""))


POSTS = """
from earwitness.dialects import *
SETTINGS = {"urls": {"http": "http://127.0.0.1:1"}}
class Chat(BaseDialect):
    def dialogue(self, credentials, rooms, resume=None, previous=None):
        return SilentDialogue([room.label for room in rooms])
    def post(self, credentials, label, message_id, text):
        response = yield HttpRequest("POST", "http://127.0.0.1:1")
        return [(ACK, label, None, -1, None, message_id, None)]
    def existing_rooms(self, people):
        return [Room(number=0, label="lobby", members=tuple(people))]
def open_dialect(settings):
    chat = Chat(settings, Parts())
    chat.parts = Parts(sends_by_http=chat, has_rooms=chat)
    return chat
"""


def posted(target: Any) -> Any:
    """Post a message with an answer of 200, and return the events."""
    flow = target.parts.sends_by_http.post(Credentials(person=ANN, user_id="ann", token=""), "r0", "m1", "text")
    next(flow)
    with pytest.raises(StopIteration) as end:
        flow.send(HttpResponse(200, {}, b""))
    return end.value.value


def test_a_dialect_that_posts_and_has_rooms(dialect: Callable[..., Any]) -> None:
    """Guarded, it returns the same events and rooms."""
    target = dialect(POSTS)
    assert posted(target) == [(2, "r0", None, -1, None, "m1", None)]
    assert [room.label for room in target.parts.has_rooms.existing_rooms([ANN])] == ["lobby"]


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("return [(ACK,", "return [(99,", DialectError, "there is no kind of event 99"),
        (
            "        return [(ACK",
            "        response.nothing\n        return [(ACK",
            FlowError,
            "post failed with Att",
        ),
    ],
)
def test_a_dialect_that_posts_wrongly(
    dialect: Callable[..., Any], old: str, new: str, error: type[Exception], words: str
) -> None:
    """Each mistake is a sentence that blames the dialect."""
    with pytest.raises(error, match=words):
        posted(dialect(POSTS, (old, new)))


@pytest.mark.parametrize(
    ("new", "words"),
    [("return [1 / 0]", "existing_rooms failed with ZeroDivisionError"), ("return ['lobby']", "which is no Room")],
)
def test_a_dialect_with_wrong_rooms(dialect: Callable[..., Any], new: str, words: str) -> None:
    """It is refused by a sentence before the run."""
    target = dialect(POSTS, ('return [Room(number=0, label="lobby", members=tuple(people))]', new))
    with pytest.raises(DialectError, match=words):
        target.parts.has_rooms.existing_rooms([ANN])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ((WELCOME, None, None, -1, None, None, 5), "a greeting"),
        ((3, None, None, -1, None, "m", None), "a refusal"),
        ((5, "r", None, -1, None, None, "yes"), "joining"),
        ((8, "r", "x", -1, None, None, ("run", "chunk")), "an agent's event"),
        ((12, "r", None, -1, None, None, None), "presence"),
    ],
)
def test_the_last_value_of_an_event(event: object, words: str) -> None:
    """Each kind has its own."""
    assert words in str(event_fault(event))


def test_the_text_of_this_file_is_valid() -> None:
    """The example above is what its tests change."""
    compile(textwrap.dedent(GOOD), "chat.py", "exec")
