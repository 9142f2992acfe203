"""Files of tests are mixed, so that those that wait and those that compute run at the same time."""

from __future__ import annotations

from itertools import pairwise

from file_order import BEFORE, mixed


def test_files_that_wait_lie_among_the_others() -> None:
    """Nothing is lost, the order of each kind is kept, and no long file comes last."""
    waiting, computing = [f"run-{n}" for n in range(5)], [f"sum-{n}" for n in range(50)]
    queue = sorted(waiting + computing, key=mixed(waiting, computing).__getitem__)
    assert [file for file in queue if file in waiting] == waiting
    assert [file for file in queue if file in computing] == computing
    places = [queue.index(file) for file in waiting]
    gaps = [later - place for place, later in pairwise(places)]
    assert set(gaps) <= {8, 9, 10}
    assert places[-1] < BEFORE * len(queue)


def test_one_kind_alone_keeps_its_order() -> None:
    """A run of one folder is in the order of its files."""
    assert sorted("cab", key=mixed("", "cab").__getitem__) == list("cab")
    assert sorted("cab", key=mixed("cab", "").__getitem__) == list("cab")
