"""Server-sent events: cut into events however the bytes arrive, and read into fields."""

from __future__ import annotations

import random

import pytest

from earwitness.harness.client.server_events import EventSplitter, ServerEvent, parse_event

# The example of the HTML standard, "9.2.6 Interpreting an event stream" (html.spec.whatwg.org), with all line ends.
STREAM = (
    ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\nevent: add\ndata: 73 \U0001f9f5\ndata: é\n\n"
)
EVENTS = [
    ServerEvent("message", "", ""),
    ServerEvent("message", "first event", "1"),
    ServerEvent("message", "second event", ""),
    ServerEvent("add", "73 \U0001f9f5\né", ""),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("seed", range(5))
def test_events_are_the_same_however_they_are_cut(end: str, seed: int) -> None:
    """Each end of line, cut at random places, also in the middle of a character and of CR LF."""
    rng, data = random.Random(seed), STREAM.replace("\n", end).encode()
    splitter, events = EventSplitter(), []
    while data:
        size = rng.choice((1, 2, 3, 50))
        events += [parse_event(event) for event in splitter.feed(data[:size])]
        data = data[size:]
    rest = splitter.rest()
    events += [parse_event(rest)] if rest is not None else []
    assert events == EVENTS


def test_what_follows_the_last_event() -> None:
    """It is returned once; bytes that are no UTF-8 stay bytes."""
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: \xff\n\ndata: half")) == [b"data: \xff"]
    assert splitter.waiting == 10
    assert (splitter.rest(), splitter.rest()) == ("data: half", None)
