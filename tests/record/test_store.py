"""Stores: objects come back as they were put, and what cannot be a store is refused in a sentence."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.harness.errors import RecordError, SettingsError
from earwitness.harness.record.store import Store, file_name, open_store, piece_name, pieces_of

MOTO = all(importlib.util.find_spec(name) for name in ("obstore", "moto"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty folder of a bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1", "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            import httpx

            end = time.monotonic() + 60
            while True:
                try:
                    httpx.put(f"{address}/loads").raise_for_status()
                    break
                except httpx.TransportError:
                    assert time.monotonic() < end, "the S3 server did not start"
                    time.sleep(0.1)
            yield "s3://loads/some"
        finally:
            server.kill()


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.skipif(not MOTO, reason="obstore, moto"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = (tmp_path / "store").as_uri() if request.param == "file" else request.getfixturevalue("s3")
    return open_store(url)


def test_objects_come_back(store: Store) -> None:
    """Whole, replaced as a whole, and listed below a folder only."""
    one, other = piece_name("a", 3, "load-3", 12), file_name("a", "run.json")
    for name, data in ((one, b"old"), (one, b"\0" * 2_000_000), (other, b"{}"), (file_name("ab", "run.json"), b"1")):
        store.put(name, data)
    assert store.get(one) == b"\0" * 2_000_000
    assert store.get(piece_name("a", 3, "load-3", 13)) is None
    assert sorted(store.names("run=a/")) == sorted([one, other])
    assert list(store.names("run=none/")) == []


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


@pytest.mark.skipif(MOTO, reason="obstore is installed")
def test_the_missing_package_is_named() -> None:
    with pytest.raises(SettingsError, match=r"pip install 'earwitness\[store\]'"):
        open_store("s3://bucket/x")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match="Cannot write"):
        open_store((tmp_path / "file").as_uri()).put("run=a/files/run.json", b"{}")
