"""`earwitness clean`: what dead processes left is listed and removed, and nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from reported import failed_run

from earwitness.harness import cli
from earwitness.harness.platform.clean_up import DIRECTORY_VARIABLE, KEPT, PlatformDirectory, is_alive
from earwitness.harness.platform.control import STATE_FILE
from earwitness.harness.record.drafts import drafted
from earwitness.harness.record.journal import Journal
from earwitness.harness.record.rundir import RunDirectory
from earwitness.harness.record.shard_folder import shard_folder
from earwitness.harness.report import clean

DIES = """
import os, signal, sys
from pathlib import Path
from earwitness.harness.platform.clean_up import PlatformDirectory
from earwitness.harness.record.drafts import drafted

Path("runs").mkdir()
directory = PlatformDirectory()
(directory.path / "data").write_bytes(bytes(100_000))
with drafted(Path("history.parquet")) as file, drafted(Path("imported/import"), folder=True) as folder:
    (folder / "journals").mkdir()
    print(directory.path, file.absolute(), folder.absolute(), os.getpid(), sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder, with folders of its own for temporary files and for the cache."""
    for name in ("work", "temporary", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def dead(place: Path) -> list[Path]:
    """What a process left that was killed in the midst of an export and of an import, and while it had a platform."""
    Path("imported").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", DIES], stdout=subprocess.PIPE, text=True, env=environment, check=False)
    *left, pid = done.stdout.split()
    killed = RunDirectory.create(Path("runs"), "killed", 1)
    killed.update(state="running", process=int(pid), process_started=time.time())
    draft = killed.path / f".run.json.{pid}"
    draft.write_text("{")
    kept = place / "temporary" / "earwitness-kept"
    kept.mkdir()
    (kept / "lock").touch()
    (kept / KEPT).touch()
    cache = place / "cache" / "earwitness"
    (cache / ".building-x" / "data").mkdir(parents=True)
    (cache / ".lock").touch()
    Path(STATE_FILE).write_text(json.dumps({"control": "earwitness://127.0.0.1:9/none"}))
    Path(STATE_FILE).chmod(0o600)
    return [Path(path) for path in left] + [kept, cache / ".building-x", Path(STATE_FILE).absolute(), draft.absolute()]


def grow_old(folder: Path) -> None:
    """As if all of it had been written two minutes ago."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - 120,) * 2, follow_symlinks=False)


def test_what_the_dead_left_is_listed_then_removed(
    place: Path, dead: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial lists everything with its size and changes nothing; then it is gone. A killed run is evidence, which
    only --unfinished removes."""
    grow_old(place)
    assert cli.main(["clean", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path) in said for path in dead)
    assert "kept on purpose" in said
    assert "run that was killed; judge it with `earwitness check runs/" in said
    assert all(path.exists() for path in dead)
    assert cli.main(["clean"]) == 0
    assert f"removed: {len(dead)}, 0.1 MB" in capsys.readouterr().out
    assert not any(path.exists() for path in dead)
    assert not Path("imported").exists()
    grow_old(place)
    assert cli.main(["clean"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert Path("runs/latest/run.json").exists()
    assert cli.main(["clean", "--unfinished"]) == 0
    assert os.listdir("runs") == []


def test_what_lives_or_is_not_ours_stays(place: Path, dead: list[Path]) -> None:
    """A living platform, run, export and import; what is too young to be judged; files that only look like ours."""
    living = RunDirectory.create(Path("runs"), "living", 1)
    living.update(state="running", process=os.getpid(), process_started=psutil.Process().create_time())
    done = RunDirectory.create(Path("runs"), "done", 1)
    done.update(state="collected", process=1 << 22, process_started=0.0)
    RunDirectory.create(Path("runs"), "elsewhere", 1).update(state="running")  # a process of another machine
    directory = PlatformDirectory()
    (place / "temporary" / "earwitness-no-lock").mkdir()
    (place / "temporary" / "earwitness-link").symlink_to(place / "work")
    foreign = (".vimrc.4194000", ".notes.4194000.part", ".run.json.4194000", "run.json.4194000")
    for name in foreign:
        Path(name).touch()
    with drafted(Path("other.parquet")) as file, drafted(Path("runs/import"), folder=True) as folder:
        elsewhere = file.rename(".other.parquet.4194000.part")  # its pid means nothing here, but its lock is held
        young = Path(".young.parquet.4194000.part")
        grow_old(place)
        young.touch()
        stays = [path for path in place.rglob("*") if not any(path.is_relative_to(one) for one in dead)]
        assert cli.main(["clean", "--unfinished"]) == 0
        gone = {path for path in stays if not os.path.lexists(path)}
        killed = {path for path in gone if "-killed-" in str(path)}
        assert gone - killed == {place / "work" / "imported"}
        assert {elsewhere, young, folder} <= set(Path().rglob("*"))
    directory.close()


def part_of(run: str, pid: int, host: str) -> Path:
    """What a worker without the master's disk recorded, as a process of some machine."""
    path = Path("runs") / f"{run}.load-1"
    Journal.create(path / "journals", "load-1", meta={"host": host, "pid": pid}).close({})
    grow_old(path)
    return path


def test_what_a_dead_worker_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the command that collects it, and removed only with --unfinished; not that of a living worker,
    of another machine, or of a folder that only has such a name."""
    here = socket.gethostname()
    with subprocess.Popen(["true"]) as ended:
        pass
    dead, living = part_of("dead", ended.pid, here), part_of("living", os.getpid(), here)
    elsewhere = part_of("elsewhere", ended.pid, f"not-{here}")
    os.utime(living / "journals" / "load-1.names.jsonl")
    young = part_of("young", ended.pid, here)
    (young / "journals" / "load-1.ewj").touch()
    other = Path("runs") / "notes.load-1"
    other.mkdir()
    assert cli.main(["clean"]) == 0
    said = capsys.readouterr().out
    assert f"`earwitness collect runs/dead {dead}`" in said
    assert not any(str(path) in said for path in (living, elsewhere, young, other))
    assert dead.exists()
    assert cli.main(["clean", "--unfinished"]) == 0
    assert sorted(Path("runs").iterdir()) == sorted([living, elsewhere, young, other])


def test_a_worker_whose_number_another_process_has(place: Path) -> None:
    """The number of a dead process may be given out again; the other process began after its last line."""
    part = part_of("dead", os.getpid(), socket.gethostname())
    os.utime(part / "journals" / "load-1.names.jsonl", (psutil.Process().create_time() - 120,) * 2)
    assert cli.main(["clean", "--unfinished"]) == 0
    assert not part.exists()


KILLED = """
import os, signal, sys
from concurrent.futures import Executor
from pathlib import Path
from earwitness.harness.report.judging import judge_run
from earwitness.harness.report.sharded import Way

class Dies(Executor):
    def submit(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

judge_run(Path(sys.argv[1]), way=Way(2, Dies, Path(sys.argv[2]) if sys.argv[2:] else None))
"""


def killed_check(*arguments: Path) -> None:
    """Judge a run by shards in a process that gets SIGKILL when they are laid out."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


def test_shards_of_a_killed_check(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL leaves a folder as large as the journals: `clean` removes it, and so does the next check by shards in the
    same place. One that is still judged stays."""
    failed_run(place / "run")
    temporary, named = place / "temporary", place / "shards"
    named.mkdir()
    with shard_folder() as living, shard_folder(named) as other:
        killed_check(place / "run")
        killed_check(place / "run")
        (left,) = set(temporary.glob("earwitness-shards-*")) - {living}  # the second check removed that of the first
        assert (left / "shard-001.records").stat().st_size
        assert cli.main(["clean"]) == 0
        assert f"{left}: shards of a check that was killed" in capsys.readouterr().out
        assert set(temporary.glob("earwitness-*")) == {living}
        killed_check(place / "run", named)
        assert len(list(named.iterdir())) == len({left, other})
        copy = shutil.copytree(next(path for path in named.iterdir() if path != other), named / "earwitness-shards-2")
        cli.main(["check", str(place / "run"), "--shards", "2", "--shard-dir", str(named)])
        assert set(named.iterdir()) == {other}
        copy = shutil.copytree(other, copy)
        assert cli.main(["clean"]) == 0
        assert copy.exists()
        assert cli.main(["clean", "--shard-dir", str(named)]) == 0
        assert set(named.iterdir()) == {other}
    assert not [*named.iterdir(), *temporary.glob("earwitness-*")]


def test_a_process_of_a_dead_platform_is_ended(place: Path) -> None:
    """Also where nobody has done so since."""
    left = place / "temporary" / "earwitness-dead"
    left.mkdir()
    (left / "lock").touch()
    environment = {**os.environ, DIRECTORY_VARIABLE: str(left)}
    with subprocess.Popen(["sleep", "60"], cwd=left, env=environment) as sleeper:
        try:
            assert cli.main(["clean"]) == 0
            assert not is_alive(psutil.Process(sleeper.pid)) or sleeper.wait(5)
        finally:
            sleeper.kill()
    assert not left.exists()


def test_what_cannot_be_removed_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 2, and the rest is removed all the same."""
    stubborn, other = place / "stubborn", place / "other"
    stubborn.touch()
    other.touch()
    both = [clean.Left(stubborn, "stubborn", lambda path: None), clean.Left(other, "other")]
    monkeypatch.setattr(clean, "found", lambda *_, **__: iter(both))
    assert cli.main(["clean"]) == 2
    assert "could not be removed: it is still there" in capsys.readouterr().out
    assert not other.exists()
    assert cli.main(["clean", "--runs", str(stubborn)]) == 2
    assert "is no folder" in capsys.readouterr().err
