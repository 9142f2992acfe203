"""Raw frames beside a journal: found again by record number, whatever happened to their writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.harness.errors import RecordError
from earwitness.harness.record.frames import BLOT, FRAME_MAX, Frames, FrameStore, frames_of
from earwitness.harness.record.journal import STEP_BYTES


def test_a_frame_is_found_by_each_of_its_records(tmp_path: Path) -> None:
    """A frame of several records is theirs alike; a record without one has none; text and bytes come back as shown."""
    store = FrameStore.create(tmp_path, "load-0")
    store.hearing(2, "höre")
    store.heard(4)
    store.hearing(5, "nothing was recorded of it")
    store.heard(4)
    store.said(7, b"\x00\xff")
    assert store.close() == {"kept": 2, "lost": 0}
    frames = frames_of(tmp_path / "load-0.ewj")
    assert [frame.text() if (frame := frames.of(n)) else None for n in range(9)] == [
        None, None, "höre", "höre", "höre", None, None, "00 ff", None,
    ]  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 70_000)), min_size=1, max_size=60))
def test_frames_of_any_size_over_many_steps(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, int, int]]
) -> None:
    """Entries never cross a step, and the halving over steps finds each; longer frames are cut and say so."""
    folder = tmp_path_factory.mktemp("frames")
    store = FrameStore.create(folder, "j")
    record, expected = 0, {}
    for number, (count, gap, size) in enumerate(told):
        data = bytes([number]) * size
        store.hearing(record + 1, data)
        store.heard(record + count)
        expected |= dict.fromkeys(range(record + 1, record + count + 1), data)
        record += count + gap
    store.close()
    frames = Frames(folder / "j.frames")
    for n in range(record + 2):
        found, data = frames.of(n), expected.get(n)
        assert (found is None) == (data is None)
        if found is not None and data is not None:
            assert found.data == data[:FRAME_MAX]
            assert found.cut == (len(data) > FRAME_MAX)


def test_an_answer_in_the_midst_of_hearing(tmp_path: Path) -> None:
    """What a hook says while a frame is being heard has its own frame; the heard one stays with its records before and
    after."""
    store = FrameStore.create(tmp_path, "j")
    store.hearing(1, "heard")
    store.said(3, "said")
    store.said(4, "said again")
    store.heard(5)
    store.said(6, "later")
    store.close()
    frames = Frames(tmp_path / "j.frames")
    told = [frame.text() if (frame := frames.of(n)) else None for n in range(1, 8)]
    assert told == ["heard", "heard", "said", "said again", "heard", "later", None]


def test_secrets_are_blotted_out(tmp_path: Path) -> None:
    """A token that the platform sends back is not in the file, wherever it stands in the frame."""
    store = FrameStore.create(tmp_path, "j")
    store.said(1, '{"you":"eyJ.abc.def","again":"eyJ.abc.def"}', (b"eyJ.abc.def", b"other-token-of-mine"))
    store.close()
    assert b"eyJ" not in (tmp_path / "j.frames").read_bytes()
    assert Frames(tmp_path / "j.frames").of(1).data.count(BLOT) == 2  # type: ignore[union-attr]


def test_what_was_kept_survives_the_death_of_the_process(tmp_path: Path) -> None:
    """After SIGKILL every frame that was kept is there; what follows is zeros, not an error."""
    code = (
        "import os, signal, sys; from pathlib import Path; from earwitness.harness.record.frames import FrameStore\n"
        "store = FrameStore.create(Path(sys.argv[1]), 'j')\n"
        "for n in range(1, 20001): store.said(n, f'frame {n} ' + 'x' * 100)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    frames = Frames(tmp_path / "j.frames")
    assert (tmp_path / "j.frames").stat().st_size % STEP_BYTES == 0
    for n in (1, 2, 9_999, 20_000):
        assert frames.of(n).text().startswith(f"frame {n} ")  # type: ignore[union-attr]
    assert frames.of(20_001) is None


def test_a_half_written_tail_is_no_frame(tmp_path: Path) -> None:
    """A file that was cut anywhere gives what is whole and nothing else."""
    store = FrameStore.create(tmp_path, "j")
    for n in range(1, 4):
        store.said(n, f"frame {n}")
    store.close()
    whole = (tmp_path / "j.frames").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "j.frames").write_bytes(whole[:size])
        for n in range(1, 4):
            found = Frames(tmp_path / "j.frames").of(n)
            assert found is None or found.text() == f"frame {n}"
    assert Frames(tmp_path / "nowhere.frames").of(1) is None


def test_a_full_disk_costs_frames_and_nothing_else(tmp_path: Path) -> None:
    """What has no room is counted and said; nothing is raised into the callback that records."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = FrameStore.create(tmp_path, "j")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(store.path).st_size, before[1]))
        for n in range(1, 201):
            store.said(n, "x" * FRAME_MAX)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    told = store.close()
    assert told["kept"] + told["lost"] == 200
    assert told["lost"] > 0
    assert "cannot grow" in told["why"]
    assert Frames(store.path).of(1) is not None
    assert Frames(store.path).of(200) is None


def test_a_store_needs_its_own_place(tmp_path: Path) -> None:
    """One that exists already is refused in a sentence."""
    FrameStore.create(tmp_path, "j").close()
    with pytest.raises(RecordError, match=r"j\.frames: File exists"):
        FrameStore.create(tmp_path, "j")
