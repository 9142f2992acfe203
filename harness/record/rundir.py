"""Directory of one run: creation, description (`run.json`) and tables. See docs/architecture.md for its files.

`run.json`, `roster.json` and the tables have one writing process each. `run.json` is replaced atomically, so a reader
sees the complete old file or the complete new one. It ends with a `checksum` of its other content. Every verdict
depends on `run.json` and on the roster, so both have a copy in `spare/`, which is read if they are damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from earwitness.checks.roster import Origin, Roster
from earwitness.harness.described import from_json
from earwitness.harness.errors import RecordError

PRIVATE: Final = 0o700
"""Mode of a run directory: messages, names and the passwords of generated users are private."""
FREE_MB_MIN: Final = 64
"""Free disk space in MB below which a run is refused before it starts: a disk that fills up would end it."""

LATEST: Final = "latest"
RUN_FILE: Final = "run.json"
ROSTER_FILE: Final = "roster.json"
CHECKSUM: Final = "checksum"
SPARE: Final = "spare"
_SOUND_TABLE = re.compile(r"[a-z][a-z0-9_-]*")


class RunDirectory:
    """Directory of one run.

    `run` is the content of `run.json`; change it with `update` only.
    """

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        """Store the path and the content of its `run.json`. Callers use the class methods `create`, `at` and `open`."""
        self.path, self.run = path, run

    @classmethod
    def create(cls, root: Path, story: str, seed: int, *, free_mb_min: int = FREE_MB_MIN) -> Self:
        """Make `root/<UTC time>-<story>-<seed>/` and point `root/latest` to it.

        The name is unique even for two runs in one second. Raises RecordError if `root` is not writable, or has less
        than `free_mb_min` MB free.
        """
        stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{re.sub(r'[^A-Za-z0-9_.]+', '_', story) or 'story'}-{seed}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            _require_space(root, free_mb_min)
            path = _make_unique(root, stem)
            run = cls.at(path)
            _point_latest(root, path.name)
        except OSError as error:
            raise RecordError(
                f"Cannot make a run directory in {root}: {error.strerror}. Name another place."
            ) from error
        run.update(story=story, seed=seed, created=datetime.now(UTC).isoformat(timespec="milliseconds"))
        return run

    @classmethod
    def check_root(cls, root: Path, *, free_mb_min: int = FREE_MB_MIN) -> None:
        """Raise RecordError, as `create` would, if no run directory could be made in `root`.

        For use before any service is started. A missing `root` is created.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            _require_space(root, free_mb_min)
            trial = root / f".trial.{os.getpid()}"
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            raise RecordError(
                f"Cannot make a run directory in {root}: {error.strerror}. Name another place."
            ) from error

    @classmethod
    def at(cls, path: Path) -> Self:
        """Make a run directory at exactly this path and return it. A directory that exists there must be empty.

        Raises RecordError if it is not empty, or cannot be made.
        """
        cls.require_free(path)
        try:
            for folder in ("journals", "tables", SPARE):
                (path / folder).mkdir()
        except OSError as error:
            raise RecordError(f"Cannot make the run directory {path}: {error.strerror}.") from error
        return cls(path, {})

    @classmethod
    def require_free(cls, path: Path) -> None:
        """Make the directory `path` with mode PRIVATE, unless it exists and is empty.

        Raises RecordError if it is not empty, or cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
            if any(path.iterdir()):
                raise RecordError(f"{path} is not empty: a run needs a directory of its own.")
            path.chmod(PRIVATE)
        except OSError as error:
            raise RecordError(f"Cannot make the run directory {path}: {error.strerror}.") from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return an existing run directory. Raises RecordError if `path` is no run directory."""
        return cls(path, read_run(path)[0])

    @property
    def journals(self) -> Path:
        """Return the directory in which `Journal.create` makes this run's journals."""
        return self.path / "journals"

    def update(self, **values: object) -> None:
        """Merge `values` into `run.json`, which is replaced atomically. Raises RecordError if it cannot be written."""
        self.run = {**self.run, **values}
        self.run.pop(CHECKSUM, None)
        self._write(RUN_FILE, {**self.run, CHECKSUM: checksum(self.run)})

    def write_roster(self, roster: Roster, origin: Origin | None = None) -> None:
        """Write `roster.json`, and the roster's origin and digest (H6) into `run.json`, before anything is recorded.

        `origin` None: unknown.
        """
        self._write(ROSTER_FILE, roster.to_dict())
        self.update(roster={"origin": origin, "sha256": roster.digest()})

    def _write(self, name: str, value: Mapping[str, object]) -> None:
        """Write a JSON file and its copy in `spare/`: first the copy, so that it is never older than the file.

        Raises RecordError if one of them cannot be written.
        """
        try:
            (self.path / SPARE).mkdir(exist_ok=True)  # an earlier version made none
        except OSError as error:
            raise RecordError(f"Cannot write {self.path / SPARE}: {error.strerror}.") from error
        write_json(self.path / SPARE / name, value)
        write_json(self.path / name, value)

    def append(self, table: str, row: Mapping[str, object]) -> None:
        """Add one line to `tables/TABLE.jsonl`. After the call the line survives the death of this process.

        Raises RecordError if it cannot be written.
        """
        path = self._table(table)
        line = json.dumps(row, separators=(",", ":"), default=str).encode() + b"\n"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                written = os.write(fd, line)
            finally:
                os.close(fd)
        except OSError as error:
            raise RecordError(f"Cannot write {path}: {error.strerror}.") from error
        if written < len(line):
            raise RecordError(f"Cannot write {path}: the disk is full.")

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a table in order; none if the table was not written.

        Raises RecordError, which names the first line that is no JSON.
        """
        path = self._table(table)
        if not path.exists():
            return
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield from_json(line)
                except ValueError as error:
                    raise RecordError(f"{path}:{number} is no JSON: {error}.") from None

    def _table(self, name: str) -> Path:
        if not _SOUND_TABLE.fullmatch(name):
            raise RecordError(f"{name!r} is no name for a table: use lower-case letters, digits, '_' and '-'.")
        return self.path / "tables" / f"{name}.jsonl"


def checksum(run: Mapping[str, object]) -> str:
    """Return the SHA-256 of the content of a `run.json` without its checksum.

    Blanks and the order of keys do not matter.
    """
    content = json.loads(json.dumps({key: run[key] for key in run if key != CHECKSUM}, default=str))
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_run(path: Path) -> tuple[dict[str, Any], str]:
    """Return (content of the `run.json` in `path`, a sentence about what is wrong with that file or "").

    If the file is damaged, the content is that of its copy. Raises RecordError if `path` is no run directory, or if
    both file and copy are unreadable or damaged: every verdict depends on the contract and the plan in it. A file
    without a checksum is accepted if there is no undamaged copy: an earlier version or a person wrote it.
    """
    try:
        run, trouble = read_json(path / RUN_FILE), None
    except RecordError as error:
        run, trouble = {}, error
    if run.get(CHECKSUM) == checksum(run):
        return run, ""
    if (spare := _spare_run(path)) is not None:
        return spare, f"{RUN_FILE} is missing or not what was written; its copy in {SPARE}/ is whole"
    if trouble is not None:
        raise trouble
    if CHECKSUM in run:
        raise RecordError(
            f"{path / RUN_FILE} is damaged: its content is not the one that its checksum was made of. "
            "Nothing can be judged by it; restore it from a copy."
        )
    return run, ""


def _spare_run(path: Path) -> dict[str, Any] | None:
    """Return the content of the copy of `run.json`, None if it is missing or damaged."""
    try:
        run = read_json(path / SPARE / RUN_FILE)
    except RecordError:
        return None
    return run if run.get(CHECKSUM) == checksum(run) else None


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Replace `path` by `value` as indented JSON.

    Raises RecordError if it cannot be written.
    """
    write_whole(path, json.dumps(value, indent=1, default=str).encode() + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, so that a reader sees the complete old file or the complete new one.

    Raises RecordError if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")  # two processes may judge the same run
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RecordError(f"Cannot write {path}: {error.strerror}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises RecordError in one sentence if the file is missing, unreadable, or no JSON object.
    """
    try:
        value = from_json(path.read_bytes())
    except FileNotFoundError:
        raise RecordError(f"{path.parent} is no run directory: it has no {path.name}.") from None
    except OSError as error:
        raise RecordError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise RecordError(f"{path} is damaged, it is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path} is damaged: expected a JSON object, not a {type(value).__name__}.")
    return value


def _require_space(root: Path, free_mb_min: int) -> None:
    free_mb = shutil.disk_usage(root).free // 1_000_000
    if free_mb < free_mb_min:
        raise RecordError(
            f"Only {free_mb} MB are free at {root}, a run needs {free_mb_min} MB: "
            "free some space or name another place."
        )


def _make_unique(root: Path, stem: str) -> Path:
    for attempt in range(1, 1000):
        path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            path.mkdir(mode=PRIVATE)
        except FileExistsError:
            continue
        return path
    raise RecordError(f"{root} has a thousand runs called {stem}: name another place.")


def _point_latest(root: Path, name: str) -> None:
    draft = root / f".{LATEST}.{name}"
    draft.symlink_to(name)
    try:
        draft.replace(root / LATEST)
    except OSError:
        draft.unlink()
        raise RecordError(f"{root / LATEST} is in the way: it must be a link that earwitness may replace.") from None
