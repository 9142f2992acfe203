"""Locust's web UI: start, stop, a second run; each run has its own verdict, in our own tab; `/metrics`."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tied import tied
from web_form import answers, until, web_ui

from earwitness.checks.history.record import Kind
from earwitness.harness.record.history import open_history

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """
from locust import events, task
from earwitness import ChatUser, story


@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--colour", default="red")  # the story's own: for the form too


class Plain(ChatUser):
    host = "http://127.0.0.1:9"

    @task
    def talk(self):
        self.say()


story(__file__, judged_by=("I1",))
"""

FORGOTTEN = """
from argparse import Namespace
from types import SimpleNamespace
from earwitness.harness.load.run_settings import RunOptions
from earwitness.harness.load.declaration import Story

options = Namespace(
    seed="5", faults="", arrivals="", shape="", threshold="", keep_frames=False, target="", run_time=30, num_users=4,
    spawn_rate=4.0, headless=False, autostart=False, class_picker=False, drain_s=1.0, metrics_port=0, web_port=1,
    master_port=1, master_bind_port=1,
)
environment = SimpleNamespace(parsed_options=options, user_classes=[], shape_class=None, web_ui=None)
settings = RunOptions(environment, Story(name="s", judged_by=(), room_sizes=(2,)))
form = {"seed": "42", "shape": "ramp", "run_time": "7s", "user_count": "3"}
settings.await_form(settings.of_form(form))
options.seed, options.run_time = "42", 7  # as Locust does
run = settings.next()
assert (environment.shape_class.peak, run.seed, run.seconds) == (3, 42, 7.0), run
settings.await_form(settings.of_form(form))
options.seed, options.run_time = "42", 7
settings.forget_form()
assert (environment.shape_class, options.seed, options.run_time) == (None, "5", 30), options
run = settings.next()
assert (run.seed, run.seconds, run.shape) == (5, None, None), run
"""


def test_two_runs_from_the_web_ui(
    command: Callable[..., list[str]],
    runs: Path,
    platform: Any,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """Each run gets its own directory, tag and verdict, all of them told in our tab; the process exits with its worst
    run."""
    with web_ui(command(), environment(platform), port, tmp_path / "locust.log", 0) as ui:
        index = ui.get("/").text
        assert '"title": "Verdict"' in index
        assert '<script src="./verdict/tab.js">' in index
        assert "attachShadow" in ui.get("/verdict/tab.js").text
        assert "earwitnessPage" in ui.get("/verdict/page.js").text
        assert "<title>Verdict" in ui.get("/verdict").text
        assert ui.get("/verdict/live").json() == {"live": None, "runs": [], "progress": {}}
        seen: list[Path] = []
        for _ in range(2):
            started = ui.post("/swarm", data={"user_count": 10, "spawn_rate": 10})
            assert started.json()["success"] is True, started.text
            until(lambda: len(_runs(runs)) == len(seen) + 1, 10)
            (newest,) = _runs(runs) - set(seen)
            seen.append(newest)
            live = until(lambda: _live(ui, lambda told: told["messages"]["heard"] > 1010), 30)
            assert (live["state"], live["outcome"], live["findings"]) == ("running", "UNKNOWN", [])
            progress = ui.get("/verdict/live").json()["progress"]
            assert (progress["stage"], progress["planned"], progress["faults"]) == ("", None, [])
            assert 0 < progress["seconds"] < 30
            assert {row["id"] for row in live["checks"] if row["outcome"] == "PASS"} >= {"I1", "I2", "I4", "I6", "I12"}
            until(lambda run=newest: _recorded(run, Kind.PROBE), 30)
            assert ui.post("/stop").json()["success"] is True
            until(lambda: _live(ui, lambda told: told["state"] == "finished"), 30)
        told = ui.get("/verdict/live").json()
        assert [(run["run"], run["outcome"], run["judged"]) for run in told["runs"]] == [
            (run.name, "PASS", True) for run in reversed(seen)
        ]
        assert told["live"]["exit_code"] == 0
        for run in seen:
            assert ui.get(f"/verdict/runs/{run.name}").text == (run / "verdict.txt").read_text()
            assert ui.get(f"/verdict/runs/{run.name}/report.html").content == (run / "report.html").read_bytes()
            assert ui.get(f"/verdict/runs/{run.name}/witnesses/..%2frun.json").status_code == 404
        assert ui.get("/verdict/runs/another").status_code == 404
    described = [json.loads((run / "run.json").read_text()) for run in seen]
    assert len({run["tag"] for run in described}) == 2
    assert [json.loads((run / "verdict.json").read_text())["outcome"] for run in seen] == ["PASS", "PASS"]


def test_foreign_pages_and_fixed_options_are_refused(
    command: Callable[..., list[str]],
    runs: Path,
    platform: Any,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """A foreign Host or Origin gets 403 from Locust's routes and from ours; the form changes no option that names a
    file, a host or a command."""
    (plain := tmp_path / "plain.py").write_text(PLAIN)
    arguments = command("--web-names", "load.example.test", story=str(plain))
    own, load = f"http://127.0.0.1:{port}", {"user_count": "1", "spawn_rate": "1"}
    with web_ui(arguments, environment(platform), port, tmp_path / "locust.log", 0) as ui:
        foreign = [
            {"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Host": "127.0.0.1.evil.example"},
            {"Host": "[::1"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
            {"Origin": f"http://127.0.0.1:{port + 1}"}, {"Origin": f"http://127.0.0.1:{port}.evil.example"},
            {"Origin": f"ftp://127.0.0.1:{port}"},
        ]  # fmt: skip
        for headers in foreign:
            for route in ("/", "/verdict/live", "/metrics", "/stats/requests"):
                assert ui.get(route, headers=headers).status_code == 403, (route, headers)
            for route in ("/swarm", "/stop", "/stats/reset", "/user"):
                answer = ui.post(route, data=load, headers=headers)
                assert answer.status_code == 403, (route, headers)
                assert "--web-names" in answer.text
        for headers in ({"Origin": own}, {"Host": f"localhost:{port}"}, {"Origin": "https://load.example.test"},
                        {"Host": "Load.example.test", "Origin": "https://load.example.test"}):  # fmt: skip
            assert ui.post("/stats/reset", headers=headers).status_code == 200, headers
        for field in ("html_file", "json_file", "csv_prefix", "logfile", "tls_key", "locustfile", "host", "master_host",
                      "config_users", "runs", "target", "defect", "metrics_port", "drain_s", "web_names"):  # fmt: skip
            answer = ui.post("/swarm", data={**load, field: "written"}).json()
            assert (answer["success"], answer["message"].partition(":")[0]) == (False, field)
        for settings in ({"host": "http://evil.example"}, {"wait_time": 1}, {"start": None}):
            answer = ui.post("/user", json={"user_class_name": "Plain", "weight": 2, **settings})
            assert (answer.status_code, *settings) == (400, answer.json()["message"].partition(":")[0])
        assert ui.post("/user", content=b"[").status_code == ui.post("/user", json={}).status_code == 400
        assert ui.post("/user", json={"user_class_name": "Plain", "host": "http://127.0.0.1:9", "weight": 2}).is_success
        unchanged = {"host": "http://127.0.0.1:9", "headless": "false", "html_file": "", "colour": "blue"}
        answer = ui.post("/swarm", data={**unchanged, "user_count": "many"}, headers={"Origin": own}).json()
        assert answer["message"].startswith("Invalid user_count value")  # Locust's word: it was asked
    assert _runs(runs) == set()


WRONG = {
    "seed": ("lucky", "'lucky' is no whole number; give one like --seed 42"),
    "arrivals": ("often", "'often' is no rate; write 50/s"),
    "shape": ("stairs", "there is no shape 'stairs'"),
    "faults": ("kill:nobody@1s", "there is no service nobody"),
    "threshold": ("errors < 1 %; ack < 5 ms", "'ack < 5 ms': ack is many times"),
    "keep_frames": ("maybe", "'maybe' is neither true nor false"),
    "run_time": ("1s", "pause:auth@1s+1s begins after the run of 1 s"),
    "user_count": ("0", "--users 0 is not possible"),
    "spawn_rate": ("0", "--spawn-rate 0 is not possible"),
}
"""Values of the form that cannot be, and words of the sentence for each."""


def test_the_form_sets_our_options(
    command: Callable[..., list[str]],
    runs: Path,
    platform: Any,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """A wrong value starts nothing; a run uses and records the form's values; the next one has the process's again."""
    own = ("--seed", "5", "--threshold", "errors < 60 %", "--threshold", "ack p50 < 9 s")
    arguments = command(*own, story="tests/load/stories/talking.py")
    load = {"user_count": "4", "spawn_rate": "4", "run_time": "60s"}
    given = {
        "seed": "42", "faults": "pause:auth@1s+1s", "arrivals": "poisson 20/s", "shape": "spike:0.5",
        "threshold": "fan-out p99 < 9 s; errors < 50 %", "keep_frames": "true",
    }  # fmt: skip
    with web_ui(arguments, environment(platform), port, tmp_path / "locust.log", 3) as ui:
        before = {"seed": "5", "faults": "", "arrivals": "", "shape": "", "keep_frames": False}
        assert _shown(ui) == {**before, "threshold": "errors < 60 %; ack p50 < 9 s"}
        _refuse_wrong_values(ui, {**load, **given})
        assert (ui.get("/stats/requests").json()["state"], _runs(runs)) == ("ready", set())
        assert ui.post("/swarm", data={**load, **given}).json()["success"] is True
        until(lambda: _live(ui, lambda told: told["messages"]["heard"] > 0), 60)
        assert _shown(ui) == {**given, "keep_frames": True}
        refused = ui.post("/swarm", data={**load, **given, "seed": "43"}).json()
        assert refused["message"].partition(";")[0] == "seed: fixed while a run is in progress"
        assert ui.post("/swarm", data={**load, **given}).json()["success"] is True
        (first,) = _runs(runs)
        until(lambda: _recorded(first, Kind.FAULT) == 2, 30)  # on and off
        assert ui.post("/stop").json()["success"] is True
        until(lambda: _live(ui, lambda told: told["state"] == "finished"), 60)
        assert ui.post("/swarm", data={"user_count": "4", "spawn_rate": "4"}).json()["success"] is True
        until(lambda: _live(ui, lambda told: told["state"] == "running" and told["messages"]["heard"] > 0), 60)
        ui.post("/stop")
    (second,) = _runs(runs) - {first}
    assert _used(first) == {
        "seed": 42, "planned_faults": ["pause:auth@1s+1s"], "keep_frames": True,
        "thresholds": ["fan-out p99 < 9 s", "errors < 50 %"], "users": 4, "seconds": 60.0, "spawn_rate": 4.0,
        "shape": "spike:0.5", "arrivals": "poisson 20/s",
    }  # fmt: skip
    assert [(run / "journals" / "load-0.frames").exists() for run in (first, second)] == [True, False]
    assert _used(second) == {
        "seed": 5, "planned_faults": [], "keep_frames": False,
        "thresholds": ["errors < 60 %", "ack p50 < 9 s"], "users": 4, "seconds": None, "spawn_rate": 4.0,
        "shape": "", "arrivals": "",
    }  # fmt: skip


def test_faults_of_the_form_are_names(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    other_chat: Callable[..., Path],
    port: int,
    tmp_path: Path,
) -> None:
    """Faults of another platform are those that its target file names; a path is refused, also of a valid schedule."""
    target, schedule = other_chat(), tmp_path / "faults.txt"
    schedule.write_text("slow@0.1s+1s\n")
    target.write_text(target.read_text() + '\n[faults.slow]\non = "true"\noff = "true"\n')
    arguments = command("--target", str(target), "--faults", str(schedule), story="tests/load/stories/talking.py")
    load = {"user_count": "2", "spawn_rate": "2", "run_time": "60s"}
    with web_ui(arguments, environment(), port, tmp_path / "locust.log", 3) as ui:
        copy = tmp_path / "copy.txt"
        copy.write_text(schedule.read_text())
        for text, sentence in (
            (str(copy), "a file can be named only when the process starts"),
            (f" {copy} ", "a file can be named only when the process starts"),
            (f"{copy}@1s", "is not available on this target, other chat (known: slow)"),
            ("rm -rf ~@1s", "is not available on this target, other chat (known: slow)"),
        ):
            answer = ui.post("/swarm", data={**load, "faults": text}).json()
            assert (answer["success"], sentence in answer["message"]) == (False, True), answer
        assert _runs(runs) == set()
        planned = []
        for text in (str(schedule), "slow@0.2s+1s", None):
            done = _runs(runs)
            sent = load if text is None else {**load, "faults": text}
            assert ui.post("/swarm", data=sent).json()["success"] is True
            until(lambda done=done: _runs(runs) - done, 10)
            until(lambda: _live(ui, lambda told: told["state"] == "running" and told["messages"]["heard"] > 0), 60)
            planned.append(*(_used(run)["planned_faults"] for run in _runs(runs) - done))
            ui.post("/stop")
        assert planned == [["slow@0.1s+1s"], ["slow@0.2s+1s"], ["slow@0.1s+1s"]]


def test_a_form_that_locust_refuses_is_forgotten() -> None:
    """A run that no form has started has the settings of the process, shape included."""
    command = [sys.executable, "-c", FORGOTTEN]  # Locust patches the standard library of whoever imports it
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _refuse_wrong_values(ui: httpx.Client, form: dict[str, str]) -> None:
    """Send the form with one wrong value at a time."""
    for field, (value, sentence) in WRONG.items():
        answer = ui.post("/swarm", data={**form, field: value}).json()
        assert (answer["success"], sentence in answer["message"]) == (False, True), answer


def _shown(ui: httpx.Client) -> dict[str, Any]:
    """Our options in the page's form, with their values."""
    found = re.search(r"window\.templateArgs = (\{.*\})", ui.get("/").text)
    assert found is not None
    shown: dict[str, Any] = json.loads(found[1])["extra_options"]
    return {name: option["default_value"] for name, option in shown.items()}


def _used(run: Path) -> dict[str, Any]:
    """What run.json says of the settings of a run."""
    described = json.loads((run / "run.json").read_text())
    settings = {name: described[name] for name in ("seed", "planned_faults", "thresholds")}
    return settings | described["planned"] | {"keep_frames": described["options"]["keep_frames"]}


@pytest.mark.parametrize(
    ("autostart", "workers"),
    [
        pytest.param(True, (), id="autostart", marks=pytest.mark.campaign),
        pytest.param(False, ("--processes", "2"), id="form, two workers"),
    ],
)
def test_a_stop_before_the_planned_end(
    command: Callable[..., list[str]],
    runs: Path,
    platform: Any,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
    autostart: bool,
    workers: tuple[str, ...],
) -> None:
    """Stop is pressed after some seconds of 60: never PASS, whatever was seen. The first line says it, what was
    recorded is judged, and the process ends with the code of that run."""
    options = ("--autostart", "-u", "6", "-r", "6", "-t", "60s") if autostart else ()
    arguments = command(*options, *workers, story="tests/load/stories/talking.py")
    log = tmp_path / "locust.log"
    with web_ui(arguments, environment(platform), port, log, 3) as ui:
        if not autostart:
            started = ui.post("/swarm", data={"user_count": 6, "spawn_rate": 6, "run_time": "60s"})
            assert started.json()["success"] is True, started.text
        until(lambda: _live(ui, lambda told: told["messages"]["heard"] > 0), 60)
        assert ui.post("/stop").json()["success"] is True
        live = until(lambda: _live(ui, lambda told: told["state"] == "finished"), 60)
        assert (live["outcome"], live["exit_code"]) == ("UNKNOWN", 3)
    verdict = json.loads((runs / "latest" / "verdict.json").read_text())
    assert re.fullmatch(r"UNKNOWN \(stopped after \d+ of 60 s\)", verdict["headline"])
    assert verdict["exit_code"] == 3
    checks = {check["id"]: check for check in verdict["checks"] + verdict["harness"]}
    assert checks["H4"]["outcome"] == "UNKNOWN"
    assert checks["H4"]["why"].startswith("stopped after ")
    assert (checks["H1"]["outcome"], checks["I12"]["outcome"]) == ("PASS", "PASS")
    assert verdict["headline"] in log.read_text()


def test_more_users_than_allowed(
    command: Callable[..., list[str]],
    environment: Callable[..., dict[str, str]],
    other_chat: Callable[..., Path],
    port: int,
    tmp_path: Path,
) -> None:
    """`max_users` holds also for whoever raises their number later: the form is refused and changes nothing."""
    file = other_chat()
    file.write_text("max_users = 3\n" + file.read_text())
    arguments = command("--target", str(file), story="tests/load/stories/talking.py")
    with web_ui(arguments, environment(), port, tmp_path / "locust.log", 0) as ui:
        for users, allowed in ((4, False), (3, True), (4, False)):
            answer = ui.post("/swarm", data={"user_count": users, "spawn_rate": 10}).json()
            assert answer["success"] is allowed
            assert allowed or "other chat allows 3 users (max_users), 4 were asked for" in answer["message"]
        until(lambda: _live(ui, lambda told: told["messages"]["heard"] > 30), 60)  # so that I1 has pairs to compare
        assert ui.get("/stats/requests").json()["user_count"] == 3
        assert ui.post("/stop").json()["success"] is True


def test_what_breaks_stands_in_the_tab(
    command: Callable[..., list[str]],
    runs: Path,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """With duplicates the tab says so in words while the run goes on, and so do the metrics; they agree with each other
    and, at the end, with the verdict."""
    arguments = command("--defect", "backend=duplicate-push:0.01")
    with web_ui(arguments, environment(), port, tmp_path / "locust.log", 1) as ui:
        ui.post("/swarm", data={"user_count": 10, "spawn_rate": 10})
        live = until(lambda: _live(ui, lambda told: told["findings"] and told["state"] == "running"), 60)
        assert live["outcome"] == "FAIL"
        assert "again, after it had been delivered there already" in live["findings"][-1]["sentence"]
        assert "earwitness: I6 no-duplication is broken: " in (tmp_path / "locust.log").read_text()
        until(lambda: _metrics(ui).get(("earwitness_loop_lag_seconds", "load-0", "p99")) is not None, 30)
        ui.post("/stop")
        live = until(lambda: _live(ui, lambda told: told["state"] == "finished"), 30)
        found = _metrics(ui)
        rows = {row["id"]: row for row in live["checks"]}
        run = (runs / "latest").resolve().name
        assert found["earwitness_outcome", "FAIL", run] == 1
        assert found["earwitness_outcome", "PASS", run] == 0
        for id in ("H1", "I1", "I5a", "I6"):
            labels = (id, rows[id]["name"], "true", run)
            assert found["earwitness_check_examined_total", *labels] == rows[id]["examined"]
            assert found["earwitness_check_violations_total", *labels] == rows[id]["violations"]
        verdict = json.loads((runs / "latest" / "verdict.json").read_text())
        assert rows["I6"]["violations"] == next(c for c in verdict["checks"] if c["id"] == "I6")["violations"] > 0
        assert found["earwitness_messages_total", "heard", run] == verdict["load"]["messages_delivered"]
        assert found["earwitness_messages_total", "sent", run] == verdict["load"]["messages_sent"]
        assert found["earwitness_connections_opened_total", run] == 10
        acknowledged = found["earwitness_messages_total", "acknowledged", run]
        assert found["earwitness_acknowledged_seconds_count", run] == acknowledged


def test_metrics_without_web_ui(
    command: Callable[..., list[str]],
    platform: Any,
    runs: Path,
    environment: Callable[..., dict[str, str]],
    port: int,
    tmp_path: Path,
) -> None:
    """`--metrics-port`: Prometheus is answered on 127.0.0.1 while a headless run goes on, with two workers too."""
    arguments = command(
        "--headless", "-u", "10", "-r", "10", "-t", "8s", "--processes", "2", "--metrics-port", str(port)
    )
    log = tmp_path / "locust.log"
    with log.open("w") as out:
        process = tied(arguments, stdout=out, stderr=out, env=environment(platform))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            def complete() -> bool:
                found = _metrics(client) if answers(client) else {}
                lags = {key[1] for key in found if key[0] == "earwitness_loop_lag_seconds"}
                heard = [found.get(("earwitness_messages_total", "heard", run.name), 0) for run in _runs(runs)]
                return lags == {"load-0", "load-1"} and sum(heard) > 0

            until(complete, 90)
        assert process.wait(90) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_metrics_port_taken(
    command: Callable[..., list[str]], environment: Callable[..., dict[str, str]], port: int
) -> None:
    """A port that somebody else has is one sentence and exit code 2, before anything is started."""
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            command("--headless", "--metrics-port", str(port)),
            capture_output=True, text=True, env=environment(), timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"--metrics-port: cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting the platform" not in done.stderr


def _metrics(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Name and values of labels, in the order of the labels' names → value, as Prometheus' own parser reads them."""
    text = client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _live(ui: httpx.Client, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any] | None:
    live: dict[str, Any] | None = ui.get("/verdict/live").json()["live"]
    return live if live is not None and wanted(live) else None


def _runs(root: Path) -> set[Path]:
    return {path for path in root.glob("2*") if (path / "run.json").exists()}


def _recorded(run: Path, kind: Kind) -> int:
    if not any(run.glob("journals/load-0.ewj")):
        return 0
    return sum(int((view.records["kind"] == kind).sum()) for view in open_history(run).journals)
