from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
import redis
from tied import tied

from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.platform.clean_up import FOLDERS, processes_in
from earwitness.harness.platform.launch import Platform, attach, launch, offered
from earwitness.harness.platform.ports import ReservedPort
from earwitness.harness.platform.stack import Stack, StackOptions, check_fits, settings_missing, with_settings
from earwitness.harness.settings import AuthServiceSettings, BackendSettings, FrontendSettings, Settings

OWNER = Path(__file__).with_name("owner.py")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One whole reference platform for this module, with its logs in a folder that we name."""
    with launch(log_dir=tmp_path_factory.mktemp("logs"), settings={"backend": {"rate_burst": 77}}) as running:
        yield running


def ports_of(endpoints: dict[str, Any]) -> list[int]:
    urls = [endpoints[name] for name in ("edge", "auth", "frontend", "provider", "main_dsn", "redis", "control")]
    return [urlsplit(url).port or 0 for url in [*urls, *endpoints["backends"].values()]]


def status_of(url: str) -> int:
    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    try:
        with urllib.request.build_opener(NoRedirect).open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_every_endpoint_answers_what_it_is_for(platform: Platform) -> None:
    """Pages, login, both databases, Valkey, each replica and the edge in front of them."""
    endpoints = platform.endpoints
    assert set(endpoints) == {
        "edge", "auth", "frontend", "provider", "backends", "auth_dsn", "main_dsn", "redis", "control", "settings",
            "links",
    }  # fmt: skip
    assert (endpoints["settings"]["backend"]["rate_burst"], endpoints["settings"]["auth"]["rate_burst"]) == (77, 2000)
    assert list(endpoints["backends"]) == ["backend-1", "backend-2"]
    for url in (endpoints["edge"], endpoints["auth"], endpoints["frontend"], *endpoints["backends"].values()):
        assert await asyncio.to_thread(status_of, f"{url}/ready") == 200
    assert await asyncio.to_thread(status_of, f"{endpoints['auth']}/auth/google") == 302
    assert await asyncio.to_thread(status_of, f"{endpoints['edge']}/api/me") == 401
    with urllib.request.urlopen(endpoints["frontend"], timeout=5) as answer:
        assert b'<body data-mode="test">' in answer.read()
    for name in ("auth", "main"):
        connection = await asyncpg.connect(endpoints[f"{name}_dsn"])
        assert await connection.fetchval("SELECT current_database()") == f"test_{name}_db"
        await connection.close()
    with redis.Redis.from_url(endpoints["redis"]) as client:
        assert "test_redis" in {each["name"] for each in client.client_list()}


def test_the_edge_answers_while_one_replica_is_killed_and_comes_back(platform: Platform) -> None:
    """SIGKILL of backend-1: every GET through the edge is answered 200; after its restart it answers too."""
    edge, one = platform.endpoints["edge"], platform.endpoints["backends"]["backend-1"]
    platform.control.kill("backend-1")
    with pytest.raises(urllib.error.URLError, match="Connection refused"):
        status_of(f"{one}/ready")
    assert {status_of(f"{edge}/ready") for _ in range(20)} == {200}
    platform.control.start("backend-1")
    assert status_of(f"{one}/ready") == 200
    assert platform.control.deaths() == []


def test_logs_are_where_the_run_wants_them(platform: Platform) -> None:
    """Every service has its log in the folder that was named."""
    for name, service in platform.control.status().items():
        assert service["log"].endswith(f"/{name}.log")
        assert "logs" in service["log"]
    assert "started" in platform.control.logs("auth")


def test_a_second_platform_does_not_meet_the_first_and_dies_with_its_owner(
    platform: Platform, until: Any, alive: Any, listening: Any, temporary: Path
) -> None:
    """An owner under gevent with a forked child is killed by SIGKILL: within 5 s all of its platform is gone,
    though the child lives; the first platform is as it was."""
    with owner("gevent", "fork") as (process, about):
        assert about["ticks"] > about["seconds"] * 20  # other greenlets ran while it waited
        assert not set(ports_of(about["endpoints"])) & set(ports_of(platform.endpoints))
        assert len(list(temporary.glob(f"{FOLDERS.prefix}*"))) == 1
        process.kill()
        process.wait()

        def gone() -> bool:
            left = any(alive(pid) for pid in about["pids"]) or list(temporary.glob(f"{FOLDERS.prefix}*"))
            return not left and not any(listening(port) for port in ports_of(about["endpoints"]))

        until(gone, 5)
        assert alive(about["child"])
        os.kill(about["child"], signal.SIGKILL)
    assert {service["state"] for service in platform.control.status().values()} == {"ready"}


def test_up_prints_json_is_found_and_ends_on_ctrl_c(
    tmp_path: Path, until: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`earwitness up --json` prints one line when ready; others find it by its state file; SIGINT cleans all up.
    It is as the file of settings and the environment say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EARWITNESS_PLATFORM", raising=False)
    frontend, edge = free_ports(2)
    (tmp_path / "earwitness.toml").write_text(
        '[test_environment.auth_service]\ndatabase = "user"\n'
        f"[test_environment.frontend]\nport = {frontend}\ntest_mode = false\napi_url = 'http://localhost:{edge}'\n"
        "[test_environment.backend]\nport = 1\n"
    )
    monkeypatch.setenv("EARWITNESS_BACKEND_PORT", str(edge))
    command = [sys.executable, "-m", "earwitness.harness.cli", "up", "--json", "--replicas", "1"]
    with tied(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        endpoints = json.loads(up.stdout.readline())
        found = offered()
        assert found is not None
        assert found.endpoints == endpoints
        assert [urlsplit(endpoints[name]).port for name in ("frontend", "edge")] == [frontend, edge]
        assert urlsplit(endpoints["auth_dsn"]).path == "/user"
        with urllib.request.urlopen(f"{endpoints['frontend']}/config.json", timeout=5) as answer:
            assert json.load(answer)["ws_url"] == f"ws://localhost:{edge}/ws"
        with urllib.request.urlopen(endpoints["frontend"], timeout=5) as answer:
            assert b'data-mode="test"' not in answer.read()
        monkeypatch.setenv("EARWITNESS_BACKEND_PORT", "1")
        with pytest.raises(SettingsError, match=rf"backend.port is 1, but it answers at .*:{edge}; stop it"):
            offered()
        assert attach(endpoints["control"]).endpoints == endpoints
        assert found.stop() is None  # it is not ours
        (directory,) = temporary.glob(f"{FOLDERS.prefix}*")
        assert len(processes_in(directory)) > 6
        up.send_signal(signal.SIGINT)
        assert up.wait(10) == 0
        assert up.stdout.read() == ""
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "earwitness.toml"]


def test_a_fixed_port_that_is_taken_is_told_before_anything_starts(platform: Platform, temporary: Path) -> None:
    """One sentence, exit at once, and no directory left."""
    taken = urlsplit(platform.endpoints["edge"]).port or 0
    with pytest.raises(PlatformError, match=rf"auth cannot use port {taken} of 127.0.0.1: caddy .* listens there"):
        launch(ports={"auth": taken})
    assert list(temporary.iterdir()) == []


def test_a_service_that_cannot_start_is_told_with_its_last_words(temporary: Path) -> None:
    """A setting that a backend refuses ends it; the launcher hears why and nothing is left running."""
    with pytest.raises(PlatformError, match=r"backend-1 ended with exit status 2\. Its last output:\n.*rate_per_s"):
        launch(settings={"backend-1": {"rate_per_s": -1}})
    assert list(temporary.iterdir()) == []


def test_all_faults_of_the_options_are_told_at_once(tmp_path: Path) -> None:
    """Replicas, names of services: one error with each."""
    options = StackOptions(replicas=0, defects={"backnd": ["Z1"]}, settings={"postgres": {}}, ports={"edgy": 1})
    with pytest.raises(SettingsError) as caught:
        Stack(options, tmp_path)
    assert len(caught.value.faults) == 4


def test_settings_and_defects_reach_the_replicas_that_they_name(tmp_path: Path) -> None:
    """`backend` means every replica, `backend-2` one; the more exact setting wins."""
    options = StackOptions(
        settings={"backend": {"rate_per_s": 5}, "backend-2": {"rate_per_s": 6}},
        defects={"backend": ["Z1:0.5"], "backend-2": ["Z2:1"]},
    )
    with contextlib.closing(Stack(options, tmp_path)) as stack:
        specs = {spec.name: spec for spec in stack.specs()}
    assert [(specs[n].settings or {})["rate_per_s"] for n in ("backend-1", "backend-2")] == [5, 6]
    assert specs["backend-1"].argv[-2:] == ("--defect", "Z1:0.5")
    assert specs["backend-2"].argv[-4:] == ("--defect", "Z1:0.5", "--defect", "Z2:1")
    assert "--defect" not in specs["auth"].argv


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(contextlib.closing(ReservedPort("test"))).number for _ in range(count)]


@contextlib.contextmanager
def owner(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A program that owns a platform, and what it says about it."""
    process = tied([sys.executable, str(OWNER), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    about: dict[str, Any] = {}
    try:
        about = json.loads(process.stdout.readline())
        yield process, about
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(psutil.NoSuchProcess):
            if about.get("child"):
                psutil.Process(about["child"]).kill()
        process.stdin.close()
        process.stdout.close()


ALL = Settings(
    auth_service=AuthServiceSettings(port=7001, database="a", test_mode=False),
    backend=BackendSettings(port=7002, database="m", redis="r", test_mode=False),
    frontend=FrontendSettings(port=7003, api_url="http://api", test_mode=False),
)


def test_every_setting_arrives() -> None:
    """Ports, databases, Redis' name, the frontend's backend, and each service's test mode."""
    options = with_settings(StackOptions(), ALL)
    assert options.ports == {"auth": 7001, "edge": 7002, "frontend": 7003}
    assert (options.databases, options.redis, options.api_url) == ({"auth": "a", "main": "m"}, "r", "http://api")
    assert options.settings == {name: {"test_mode": False} for name in ("auth", "backend", "frontend")}


def test_the_command_line_wins() -> None:
    """A port or a setting that was given there is not changed by the file."""
    given = StackOptions(ports={"edge": 8000}, settings={"auth": {"test_mode": True, "rate_per_s": 5}})
    options = with_settings(given, ALL)
    assert options.ports == {"auth": 7001, "edge": 8000, "frontend": 7003}
    assert "edge" not in options.port_words
    assert options.settings["auth"] == {"test_mode": True, "rate_per_s": 5}


def test_the_services_are_told(tmp_path: Path) -> None:
    """What each process reads in its environment."""
    options = with_settings(
        StackOptions(), Settings(backend=ALL.backend, frontend=FrontendSettings(api_url="http://x"))
    )
    with contextlib.closing(Stack(options, tmp_path)) as stack:
        told: dict[str, Any] = {spec.name: spec.settings or {} for spec in stack.specs()}
    assert [told[name]["test_mode"] for name in ("auth", "backend-1", "frontend")] == [True, False, True]
    assert told["frontend"]["backend_url"] == "http://x"
    assert "/m?" in told["backend-2"]["dsn"]
    assert told["auth"]["redis_url"].endswith("/0?client_name=r")


async def test_a_redis_that_exists_is_used_instead_of_our_own(tmp_path: Path) -> None:
    """No Valkey among the services; one that does not answer is told without its password."""
    with contextlib.closing(Stack(StackOptions(redis="redis://:hidden@127.0.0.1:9/1"), tmp_path)) as stack:
        specs = {spec.name: spec for spec in stack.specs()}
        assert "valkey" not in specs
        assert (specs["auth"].settings or {})["redis_url"] == stack.endpoints["redis"]
        with pytest.raises(PlatformError, match=r"backend.redis names \(127.0.0.1:9/1\) is not there") as caught:
            await stack.check_outside()
    assert "hidden" not in str(caught.value)


def test_all_taken_ports_are_told_at_once(tmp_path: Path) -> None:
    """One sentence each, with the setting that chose it."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"auth": one.getsockname()[1], "edge": two.getsockname()[1]}
        options = StackOptions(ports=ports, port_words={"edge": "EARWITNESS_BACKEND_PORT=NUMBER"})
        with pytest.raises(PlatformError) as caught:
            Stack(options, tmp_path)
    first, second = str(caught.value).split("NUMBER. ")
    assert f"port {ports['auth']} " in first
    assert first.endswith("--port auth=")
    assert f"port {ports['edge']} " in second
    assert second.endswith("EARWITNESS_BACKEND_PORT=NUMBER.")


def test_one_port_for_two_services(tmp_path: Path) -> None:
    """Found before anything is bound: the second one could only fail later."""
    with pytest.raises(SettingsError, match="port 7001 is named for auth and edge"):
        Stack(StackOptions(ports={"auth": 7001, "edge": 7001}), tmp_path)


ENDPOINTS = {
    "edge": "http://127.0.0.1:5002", "auth": "http://127.0.0.1:7001", "frontend": "http://127.0.0.1:7003",
    "auth_dsn": "postgresql://auth:x@127.0.0.1:1/a?sslmode=disable", "redis": "redis://127.0.0.1:2/0",
    "main_dsn": "postgresql://main:x@127.0.0.1:1/test_main_db?sslmode=disable",
}  # fmt: skip


def test_a_platform_that_is_up_must_fit_what_was_set() -> None:
    """What nobody has set fits anyway; each setting that it does not have is a fault."""
    check_fits(ENDPOINTS, Settings())
    check_fits(ENDPOINTS, Settings(auth_service=ALL.auth_service))
    with pytest.raises(SettingsError) as caught:
        check_fits(ENDPOINTS, ALL)
    assert [fault.split(" is ")[0] for fault in caught.value.faults] == ["backend.port", "backend.database"]


def test_settings_that_a_running_platform_lacks() -> None:
    """Each as the option that would give it to one; nothing where it has them all."""
    has = {**ENDPOINTS, "settings": {"backend": {"rate_per_s": 5, "rate_burst": 40}}}
    assert settings_missing(has, {}) == settings_missing(has, {"backend": {"rate_per_s": 5}}) == []
    wanted = {"backend": {"rate_per_s": 6}, "auth": {"access_ttl_s": 30}}
    assert settings_missing(has, wanted) == ["backend.rate_per_s=6", "auth.access_ttl_s=30"]
    assert settings_missing(ENDPOINTS, wanted) == ["backend.rate_per_s=6", "auth.access_ttl_s=30"]
