from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.harness.errors import PlatformError
from earwitness.harness.platform.discovery import STATE_FILE, VARIABLE, find_offer, remove_state, write_state


@pytest.fixture
def address() -> Iterator[str]:
    """A control address at which somebody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"earwitness://token@127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_offer_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_running_platform_is_found_until_it_takes_its_file_away(tmp_path: Path, address: str) -> None:
    """The file is private, leads to the platform, and goes with it."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    assert path.stat().st_mode & 0o777 == 0o600
    assert find_offer(tmp_path) == address
    remove_state(path, "earwitness://other@127.0.0.1:1")
    assert path.exists()
    remove_state(path, address)
    assert find_offer(tmp_path) is None


def test_the_environment_stands_over_the_folder(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`none` hides a running platform, an address or a path names one, and one that is away is an error."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    monkeypatch.setenv(VARIABLE, "none")
    assert find_offer(tmp_path) is None
    for place in (address, str(path)):
        monkeypatch.setenv(VARIABLE, place)
        assert find_offer(tmp_path / "elsewhere") == address
    monkeypatch.setenv(VARIABLE, "earwitness://token@127.0.0.1:1")
    with pytest.raises(PlatformError, match="does not answer"):
        find_offer(tmp_path)


def test_an_address_that_is_not_of_this_machine_is_not_tried(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control addresses are 127.0.0.1; the environment leads nowhere else, not even to see who answers."""
    monkeypatch.setenv("EARWITNESS_PLATFORM", address.replace("127.0.0.1", "localhost"))
    with pytest.raises(PlatformError, match="names a platform that does not answer"):
        find_offer()


def test_a_file_left_behind_is_no_offer_and_is_written_over(tmp_path: Path, address: str) -> None:
    """A stale file is replaced; a living platform's is not."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": "earwitness://token@127.0.0.1:1"})
    assert find_offer(tmp_path) is None
    write_state(path, {"control": address})
    with pytest.raises(PlatformError, match="A platform runs here already"):
        write_state(path, {"control": address})


def test_a_file_that_others_may_read_is_refused(tmp_path: Path, address: str) -> None:
    """Who can read it can kill the platform; who can write it can lead us elsewhere."""
    path = tmp_path / STATE_FILE
    write_state(path, {"control": address})
    path.chmod(0o644)
    with pytest.raises(PlatformError, match="chmod 600"):
        find_offer(tmp_path)


def test_a_file_that_is_something_else_is_a_sentence(tmp_path: Path) -> None:
    """Not JSON, or JSON without a control address."""
    path = tmp_path / STATE_FILE
    for text in ("hello", "[]", "{}"):
        path.touch(0o600)
        path.write_text(text)
        with pytest.raises(PlatformError, match="is not the state file of a platform"):
            find_offer(tmp_path)
