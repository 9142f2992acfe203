"""Guesses about the platform of a recording: login, frames, history, addresses. `writing` writes a draft from these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from earwitness.harness.client.network import host_of
from earwitness.harness.draft.chat import Chat, chat_of
from earwitness.harness.draft.evidence import room_values
from earwitness.harness.draft.kinds import Traffic, traffic_of
from earwitness.harness.draft.login import LoginGuess, login_of
from earwitness.harness.draft.recording import Recording, Socket
from earwitness.harness.draft.requests import History, history_of, posts_of
from earwitness.harness.draft.secrets import Secrets
from earwitness.harness.draft.templates import Maker

MOST_SOCKETS: Final = 10
"""Most connections of the drafted address that are examined; later ones are reconnections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """Everything that was guessed from a recording.

    sockets  connections of the drafted address; `others`: further addresses, cleaned
    secrets  secrets of the recording, which clean texts
    history  None if no request lists messages
    base     scheme, host and port of the requests, cleaned: of the login, else of the history, else of any request to
             the socket's host; "" if there is none
    """

    recording: Recording
    sockets: Sequence[Socket]
    others: Sequence[str]
    secrets: Secrets
    login: LoginGuess
    traffic: Traffic
    chat: Chat
    history: History | None
    base: str

    @property
    def maker(self) -> Maker:
        """Return a maker of templates that contain none of this recording's secrets."""
        return Maker(self.secrets)

    @property
    def rooms(self) -> set[str]:
        """Return the rooms that messages name."""
        return room_values(self.chat.sending, self.chat.rules.get("message"))

    @property
    def values(self) -> dict[str, str]:
        """Return value -> placeholder for values that no template may contain: the token, the user's id, the rooms."""
        found = dict.fromkeys(self.rooms, "{room}")
        found |= {value: "{user_id}" for value in [self.chat.own] if value}
        return found | ({self.login.value: "{token}"} if self.login.value else {})


def guess(recording: Recording) -> Guesses:
    """Return the guesses of a recording that has a socket, for the socket address with the most readable frames."""
    secrets = Secrets(recording)
    frames = Counter[str]()
    for socket in recording.sockets:
        frames[socket.address] += 1 + 10 * sum(frame.data is not None for frame in socket.frames)
    address = frames.most_common(1)[0][0]
    sockets = [socket for socket in recording.sockets if socket.address == address][:MOST_SOCKETS]
    login = login_of(recording, sockets)
    traffic = traffic_of(sockets)
    chat = chat_of(traffic, posts_of(recording.exchanges), login.names.keys())
    history = history_of(recording.exchanges, chat)
    used = [one.url for one in (login.exchange, history.exchange if history else None) if one and one.url]
    used += [one.url for one in recording.exchanges if one.url and host_of(one.url) == host_of(address)]
    return Guesses(
        recording=recording,
        sockets=sockets,
        secrets=secrets,
        login=login,
        traffic=traffic,
        chat=chat,
        history=history,
        others=[f"{secrets.origin(one)}{secrets.path(one)}" for one in frames if one != address],
        base=secrets.origin(used[0]) if used else "",
    )
