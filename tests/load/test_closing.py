"""The end of a load process: whoever closes its part may end the process next."""

from __future__ import annotations

import gevent
from gevent.event import Event

from harness.load.part import Part


def test_who_comes_second_waits_for_the_footer() -> None:
    """A worker that was told to end twice may leave only when its journal is whole, whoever began to close it."""
    part = object.__new__(Part)
    part._closed, part._footer_written = False, Event()
    told: list[str] = []
    begun, go_on = Event(), Event()

    def slowly() -> None:
        begun.set()
        go_on.wait()
        told.append("written")

    def second() -> None:
        begun.wait()
        assert not part.ended
        gevent.spawn(go_on.set)
        part.close()
        told.append("may leave")

    vars(part)["_close"] = slowly
    gevent.joinall([gevent.spawn(part.close), gevent.spawn(second)], timeout=5, raise_error=True)
    assert told == ["written", "may leave"]
    assert part.ended
