"""Platforms that answer anything but what they should: memory stays bounded, and the sentence is true."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.cli import main
from earwitness.harness.client.events import MESSAGE, OTHER, WELCOME, Heard
from earwitness.harness.dialects.protocol import Credentials, Person
from earwitness.harness.probe.rehearsal import KEPT_BYTES, KEPT_FRAMES, SHORT_CHARS, Voice

OTHER_CHAT = Path(__file__).parents[1] / "support" / "other_chat"
ANN = Person(number=0, name="ann-0", email="ann@people.example", secret="s")
HEADER = b"x-more: " + b"y" * 1000 + b"\r\n"


@pytest.fixture
def endless_headers() -> Iterator[int]:
    """A port at which each request is answered by a head that does not end, as long as somebody reads."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, suppress(OSError):
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\n")
                    while True:
                        client.sendall(HEADER)

    thread = threading.Thread(target=answer)
    thread.start()
    yield int(listening.getsockname()[1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def test_a_head_without_an_end(endless_headers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Something answers, so "nobody answered" would be untrue."""
    file = tmp_path / "target.toml"
    file.write_text((OTHER_CHAT / "target.toml").read_text().replace("8765", str(endless_headers)))
    assert main(["probe", str(file), "--timeout", "5"]) == 2
    error = capsys.readouterr().err
    assert "an answer came that cannot be read (RemoteProtocolError: Receive buffer too long)" in error
    assert "nobody answered" not in error


def voice() -> Voice:
    return Voice(person=ANN, credentials=Credentials(person=ANN, token="t", user_id="u"))


def said(text: str, sender: str = "bob") -> Heard:
    return (MESSAGE, "room", text, 1, sender, "id", None)


@pytest.mark.parametrize(
    "event",
    [
        said("hi", "s" * 5_000_000),
        (OTHER, None, None, -1, None, None, {"all": "of it"}),
        (WELCOME, None, None, -1, "me", None, {"user": "me", "replica": "r" * 5_000_000}),
    ],
    ids=["a long name", "a frame that no rule knows", "a long greeting"],
)
def test_long_frames_without_an_end(event: Heard) -> None:
    """Two users keep some of them before a load, and count the others."""
    ann = voice()
    for _ in range(50):
        ann.keep("x" * 5_000_000, [event])
    held = sum(len(frame.data) for frame in ann.frames)
    assert held <= ann.kept <= KEPT_BYTES


def test_short_messages_in_long_frames() -> None:
    """What is needed to see that a message came is kept of each frame: its words, not what stands around them."""
    ann = voice()
    for number in range(50):
        ann.keep("x" * 1_000_000, [said(f"message {number}")])
    assert [event[2] for event in ann.events(MESSAGE)] == [f"message {number}" for number in range(50)]
    assert {len(frame.data) for frame in ann.frames if not frame.whole} == {SHORT_CHARS}
    assert 6 <= sum(frame.whole for frame in ann.frames) <= 8


def test_short_frames_without_an_end() -> None:
    """They have an end here."""
    ann = voice()
    data: Any = "x" * 2_000
    for _ in range(KEPT_FRAMES + 10):
        ann.keep(data, [said("hi")])
    assert len(ann.frames) == KEPT_FRAMES


ELSEWHERE = """
[urls]
socket = "ws://127.0.0.1:{port}/live"
[login]
by = "tokens"
file = "tokens.json"
[send]
frame = {{ text = "{{text}}" }}
[frames]
kind = "type"
message = {{ is = "message", text = "text" }}
[contract]
history = false
sequence = "none"
acknowledges = false
names_sender = false
"""


def test_a_socket_that_is_redirected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The library would follow it to any host, with the first frames of the login; it is named, without its query."""
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        there = f"ws://127.0.0.1:{elsewhere.getsockname()[1]}/other"
        answer = f"HTTP/1.1 302 Found\r\nlocation: {there}?code=1\r\ncontent-length: 0\r\n\r\n".encode()

        def redirect() -> None:
            client, _ = here.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=redirect)
        thread.start()
        file = tmp_path / "target.toml"
        file.write_text(ELSEWHERE.format(port=here.getsockname()[1]))
        (tmp_path / "tokens.json").write_text('[{"token": "a", "user_id": "a"}, {"token": "b", "user_id": "b"}]')
        assert main(["probe", str(file), "--timeout", "5"]) == 2
        thread.join()
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert f"HTTP status 302: Found, a redirect to {there}, which is not followed" in capsys.readouterr().err
