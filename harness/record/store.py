"""Object stores for the records of large runs: `file:///DIR`, and `s3://BUCKET/PREFIX` and others by `obstore`.

The objects of a run have names by which a part of it can be read alone:

    run=NAME/files/run.json, roster.json       description of the run; written again every ten seconds, and at its end
    run=NAME/files/journals/…, tables/…        files that the master wrote, at the end of the run
    run=NAME/shard=0001/journal=load-1/000001  pieces of a load process's journal (`harness.record.shipping.Piece`)

A shard is a load process. Credentials come from the environment, as in the tools of the store (`AWS_…`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from earwitness.harness.errors import RecordError, SettingsError

SCHEMES: Final = ("file", "s3", "gs", "az")
_PIECE: Final = re.compile(r"run=[^/]+/shard=(\d+)/journal=([A-Za-z0-9._-]+)/(\d+)")


class Store(Protocol):
    """Protocol of a store: objects of bytes under names like `run=NAME/files/run.json`.

    All methods block, and raise RecordError if the store does not answer.
    """

    def put(self, name: str, data: bytes) -> None:
        """Write an object. An object of the same name is replaced as a whole."""

    def get(self, name: str) -> bytes | None:
        """Return the bytes of an object, None if there is no object of this name."""

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of objects that begin with `prefix`, which ends with a slash, in any order."""


def open_store(url: str) -> Store:
    """Return the store at `url`. Raises SettingsError for an invalid URL, or if its package is not installed."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or (parts.scheme == "file" and (parts.netloc or not parts.path.strip("/"))):
        raise SettingsError("--store", [f"{url!r} is no store: give one like file:///DIR or s3://BUCKET/PREFIX"])
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    try:
        stores: Any = import_module("obstore.store")
    except ImportError:
        need = f"{parts.scheme}:// needs the package obstore; install it with: pip install 'earwitness[store]'"
        raise SettingsError("--store", [need]) from None
    try:
        return ObjectStore(url, stores.from_url(url))
    except Exception as error:  # each store has errors of its own
        raise SettingsError("--store", [f"{url} cannot be opened: {error}"]) from None


class FolderStore:
    """Store in a folder, for example of a network file system."""

    def __init__(self, folder: Path) -> None:
        """Store objects in `folder`, which is made with the first object."""
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        """Implement `Store.put`: write a temporary file in the same folder, and rename it."""
        path = self._folder / name
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
        except OSError as error:
            raise RecordError(f"Cannot write {path}: {error.strerror}.") from error

    def get(self, name: str) -> bytes | None:
        """Implement `Store.get`: read a file."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordError(f"Cannot read {self._folder / name}: {error.strerror}.") from error

    def names(self, prefix: str) -> Iterator[str]:
        """Implement `Store.names`: list the files in a folder and its subfolders, except those being written."""
        for path in (self._folder / prefix).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self._folder).as_posix()


class ObjectStore:
    """Store of the package `obstore`."""

    def __init__(self, url: str, store: Any) -> None:
        """Use `store`, an object of `obstore.store`. Errors name `url`."""
        self._url, self._store = url, store

    def put(self, name: str, data: bytes) -> None:
        """Implement `Store.put` by the method `put` of the package."""
        try:
            self._store.put(name, data)
        except Exception as error:
            raise RecordError(f"Cannot write {name} to {self._url}: {_short(error)}") from None

    def get(self, name: str) -> bytes | None:
        """Implement `Store.get` by the method `get` of the package."""
        try:
            return bytes(self._store.get(name).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise RecordError(f"Cannot read {name} from {self._url}: {_short(error)}") from None

    def names(self, prefix: str) -> Iterator[str]:
        """Implement `Store.names` by the method `list` of the package."""
        try:
            for some in self._store.list(prefix.rstrip("/")):
                yield from (str(one["path"]) for one in some)
        except Exception as error:
            raise RecordError(f"Cannot list {prefix} of {self._url}: {_short(error)}") from None


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def piece_name(run: str, shard: int, journal: str, number: int) -> str:
    """Return the object name of the piece `number` (from 1) of a journal. `shard`: number of the load process."""
    return f"run={run}/shard={shard:04}/journal={journal}/{number:06}"


def file_name(run: str, file: str) -> str:
    """Return the object name of a file that the master writes. `file`: its path in the run directory."""
    return f"run={run}/files/{file}"


def pieces_of(names: Iterator[str]) -> dict[str, list[str]]:
    """Return journal → names of its pieces in their order, from `names` of objects. Other objects are left out."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if match := _PIECE.fullmatch(name):
            found.setdefault(match[2], []).append((int(match[3]), name))
    return {journal: [name for _, name in sorted(rows)] for journal, rows in sorted(found.items())}
