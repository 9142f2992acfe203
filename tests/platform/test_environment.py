"""Settings of the test environment as what a platform is made of."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from earwitness.harness.errors import PlatformError, SettingsError
from earwitness.harness.platform.environment import check_fits, settings_missing, with_settings
from earwitness.harness.platform.stack import Stack, StackOptions
from earwitness.harness.settings import AuthServiceSettings, BackendSettings, FrontendSettings, Settings

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
