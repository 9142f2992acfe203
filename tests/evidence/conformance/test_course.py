"""What a run had besides promises: heartbeats, cuts, resumes, history, and the longest connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from journaled import Journaled
from literal import Told

from earwitness.checks.history.record import Flag, Kind
from earwitness.harness.evidence.conformance.course import Course, course_of


def told(path: Path, footer: dict[str, Any], **promises: Any) -> Course:
    """A first user who is cut and resumes one of two rooms; a second who is not cut; a third whom the server drops."""
    said = Told(rooms=((0, 1, 2), (0, 1, 2)), **promises)
    for client in range(3):
        said.join(client, client + 1)  # at 1 µs, 3 µs, 5 µs; each join 1 µs later
    said.write(Kind.DISCONNECT, client=0, conn=1, counter=1006, flags=int(Flag.OWN))
    said.join(0, 4, flags=int(Flag.CONTINUED))
    said.write(Kind.JOIN, client=0, conn=4, conv=1)
    said.write(Kind.DISCONNECT, client=2, conn=3, counter=1006)
    said.join(2, 5)
    for client, conn in ((0, 4), (1, 2), (2, 5)):
        said.write(Kind.DISCONNECT, client=client, conn=conn, flags=int(Flag.OWN))
    said.write(Kind.READ_END, conv=0, counter=0)
    run = said.run()
    run.infos[0].footer.update(footer)
    journaled = Journaled(path, run)
    journaled.write(0, len(said.rows))
    journaled.close()
    return course_of(path)


def test_a_course(tmp_path: Path) -> None:
    """A cut is an end that we made and after which the device came back; not the end of the run, nor one of theirs."""
    course = told(tmp_path / "run", {"heartbeats": 7, "pings": 4}, resume=True)
    assert (course.heartbeats, course.cuts, course.resumed, course.anew, course.read) == (11, 1, 1, 2, 1)
    assert course.resumes
    assert round(course.longest_s * 1e6) == 12, "of the user who was not cut"


def test_a_footer_of_others(tmp_path: Path) -> None:
    """Older runs count no heartbeats; a count that is none counts as none."""
    course = told(tmp_path / "run", {"pings": "many"})
    assert (course.heartbeats, course.resumes) == (0, False)
