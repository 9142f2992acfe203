"""Stores: objects come back as they were put, and what cannot be a store is refused in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from earwitness.harness.errors import RecordError, SettingsError
from earwitness.harness.record.store import Store, file_name, open_store, piece_name, pieces_of


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


def test_objects_come_back(store: Store) -> None:
    """Whole, replaced as a whole, and listed below a folder only."""
    one, other = piece_name("a", 3, "load-3", 12), file_name("a", "run.json")
    for name, data in ((one, b"old"), (one, b"\0" * 2_000_000), (other, b"{}"), (file_name("ab", "run.json"), b"1")):
        store.put(name, data)
    assert store.get(one) == b"\0" * 2_000_000
    assert store.get(piece_name("a", 3, "load-3", 13)) is None
    assert sorted(store.names("run=a/")) == sorted([one, other])
    assert list(store.names("run=none/")) == []
    for number in range(20, 25):  # more than a page of a list
        store.put(piece_name("a", 3, "load-3", number), b"x")
    assert len(list(store.names("run=a/"))) == 7


@pytest.mark.parametrize("store_url", ["s3"], indirect=True)
def test_a_store_that_refuses(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of using it says so in a sentence."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    store = open_store(store_url)
    with pytest.raises(RecordError, match=r"Cannot write run=a/files/run\.json to s3://loads/some: "):
        store.put(file_name("a", "run.json"), b"{}")
    with pytest.raises(RecordError, match=r"Cannot read run=a/files/run\.json from s3://loads/some: "):
        store.get(file_name("a", "run.json"))
    with pytest.raises(RecordError, match="Cannot list run=a/ of s3://loads/some: "):
        list(store.names("run=a/"))


def test_pieces_come_in_their_order() -> None:
    """Of each journal by their numbers, whatever the order of the listing; other objects are none."""
    names = [piece_name("a", shard, f"load-{shard}", n) for n in (11, 2, 1_000_000) for shard in (1, 0)]
    found = pieces_of(iter([*names, file_name("a", "run.json"), "run=a/shard=0001/other"]))
    numbers = {journal: [int(name.rpartition("/")[2]) for name in rows] for journal, rows in found.items()}
    assert numbers == {"load-0": [2, 11, 1_000_000], "load-1": [2, 11, 1_000_000]}


@pytest.mark.parametrize("url", ["", "runs", "ftp://x/y", "file://", "file:///", "file://host/dir"])
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(SettingsError, match="is no store: give one like file:///DIR"):
        open_store(url)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SettingsError, match=r"pip install 'earwitness\[store\]'"):
        open_store("s3://bucket/x")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match="Cannot write"):
        open_store((tmp_path / "file").as_uri()).put("run=a/files/run.json", b"{}")
