"""The test environment's settings: defaults, then the file, then variables; every fault at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from earwitness.checks.declared import Text
from earwitness.harness.errors import Exit, SettingsError
from earwitness.harness.settings import AuthServiceSettings, BackendSettings, FrontendSettings, Settings, load_settings


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def make(text: str) -> Path:
        path = tmp_path / "earwitness.toml"
        path.write_text(text)
        return path

    return make


def faults_of(path: Path | None, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ)
    assert caught.value.exit_code == Exit.CANNOT_RUN
    return caught.value.faults


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without file and variables: dynamic ports, the plan's database names, test mode."""
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}) == Settings(
        auth_service=AuthServiceSettings(port=None, database="test_auth_db", test_mode=True),
        backend=BackendSettings(port=None, database="test_main_db", redis="test_redis", test_mode=True),
        frontend=FrontendSettings(port=None, api_url=None, test_mode=True),
    )


def test_the_plan_as_it_was_given(write: Callable[[str], Path]) -> None:
    """The plan's own words are values: dynamic, dynamic_backend_url."""
    path = write("""
[test_environment.auth_service]
port = "dynamic"
database = "test_auth_db"
test_mode = true
[test_environment.backend]
port = "dynamic"
database = "test_main_db"
redis = "test_redis"
test_mode = true
[test_environment.frontend]
port = "dynamic"
api_url = "dynamic_backend_url"
test_mode = true
""")
    assert load_settings(path, {}) == Settings()


def test_variables_win_over_the_file(write: Callable[[str], Path]) -> None:
    """Each setting may be given by a variable; an empty one is as none."""
    path = write("[test_environment]\nauth_service = { port = 7001, test_mode = false }\nbackend = { port = 7002 }\n")
    environ = {
        "EARWITNESS_AUTH_SERVICE_PORT": "8001",
        "EARWITNESS_BACKEND_PORT": "",
        "EARWITNESS_BACKEND_REDIS": "redis://127.0.0.1:6379/1",
        "EARWITNESS_FRONTEND_API_URL": "http://127.0.0.1:9000",
        "EARWITNESS_FRONTEND_TEST_MODE": "no",
        "EARWITNESS_SEED": "5",
    }
    settings = load_settings(path, environ)
    assert (settings.auth_service.port, settings.auth_service.test_mode) == (8001, False)
    assert (settings.backend.port, settings.backend.redis) == (7002, "redis://127.0.0.1:6379/1")
    assert (settings.frontend.api_url, settings.frontend.test_mode) == ("http://127.0.0.1:9000", False)


def test_names_that_cannot_be_used() -> None:
    """Postgres's own databases are not ours to rename; a wrong Redis address may hold a password."""
    faults = faults_of(
        None, EARWITNESS_BACKEND_DATABASE="template1", EARWITNESS_BACKEND_REDIS="rediss://:hidden@127.0.0.1 :1"
    )
    assert "none of Postgres's own" in faults[0]
    assert "EARWITNESS_BACKEND_REDIS is neither a name" in faults[1]
    assert "hidden" not in faults[1]


def test_the_file_of_the_working_directory(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`earwitness.toml` is found without being named; it may have thresholds beside, but nothing that nobody reads."""
    path = write("thresholds = []\n[test_environment.backend]\nport = 7002\n")
    monkeypatch.chdir(path.parent)
    assert load_settings(environ={}).backend.port == 7002
    path.write_text("[test_enviroment.backend]\nport = 7002\n")
    with pytest.raises(SettingsError, match=r"test_enviroment is not known here \(did you mean test_environment\?\)"):
        load_settings(environ={})


def test_all_faults_at_once(write: Callable[[str], Path]) -> None:
    """Every fault with its key or variable, what is wrong and an example that would do."""
    path = write("""
[test_environment]
auth_servise = {}
[test_environment.auth_service]
port = "dynamik"
databse = "x"
[test_environment.backend]
database = "Test-DB"
redis = 5
[test_environment.frontend]
api_url = "localhost:80"
test_mode = "perhaps"
""")
    variables = {"EARWITNESS_BACKEND_PORT": "70000", "EARWITNESS_BACKEND_PROT": "1"}
    faults = "\n".join(faults_of(path, **variables))
    for sentence in (
        "test_environment.auth_servise is not known here (did you mean auth_service?)",
        "test_environment.auth_service.port = 'dynamik' is neither dynamic nor a port from 1 to 65535; for example",
        "test_environment.auth_service.databse is not known here (did you mean database?)",
        "test_environment.backend.database = 'Test-DB' is no database name",
        "test_environment.backend.redis is not text",
        "test_environment.frontend.api_url = 'localhost:80' is no http address; for example",
        "test_environment.frontend.test_mode = 'perhaps' is neither true nor false",
        "EARWITNESS_BACKEND_PORT = 70000 is neither dynamic nor a port from 1 to 65535",
        "EARWITNESS_BACKEND_PROT is not known (did you mean EARWITNESS_BACKEND_PORT?)",
    ):
        assert sentence in faults
    assert len(faults.splitlines()) == 9


@pytest.mark.parametrize("port", ["0", "-1", "65536", "80.5", "true", "eighty"])
def test_ports_out_of_range(port: str) -> None:
    """A port is dynamic or a number from 1 to 65535."""
    assert len(faults_of(None, EARWITNESS_FRONTEND_PORT=port)) == 1


def test_clashes() -> None:
    """Two services cannot have one port or one database."""
    faults = "\n".join(
        faults_of(
            None,
            EARWITNESS_AUTH_SERVICE_PORT="7000",
            EARWITNESS_FRONTEND_PORT="7000",
            EARWITNESS_AUTH_SERVICE_DATABASE="test_main_db",
        )
    )
    assert "frontend.port = 7000 is already auth_service's" in faults
    assert "are both 'test_main_db'" in faults


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """A named file that is missing, and one that is no TOML, are one sentence each."""
    assert "there is no such file" in faults_of(tmp_path / "none.toml")[0]
    (tmp_path / "torn.toml").write_text("[test_environment")
    assert "is no valid TOML" in faults_of(tmp_path / "torn.toml")[0]


def test_a_table_of_another_kind(write: Callable[[str], Path]) -> None:
    """`test_environment = 5` is said, not a traceback."""
    assert "test_environment = 5 is not a table" in faults_of(write("test_environment = 5\n"))[0]


def test_lines_that_would_do(write: Callable[[str], Path]) -> None:
    """Each example is read without a fault: as TOML in the file, as a variable in the environment."""
    path = write(
        '[test_environment.auth_service]\nport = 0\ntest_mode = 3\n[test_environment.frontend]\napi_url = "x"\n'
    )
    examples = [fault.partition("; for example ")[2] for fault in faults_of(path)]
    assert len(examples) == 3
    table = dict(zip(("auth_service", "frontend"), (examples[:2], examples[2:]), strict=True))
    text = "\n".join(f"[test_environment.{name}]\n" + "\n".join(lines) for name, lines in table.items())
    assert load_settings(write(text), {}).frontend.api_url == "http://127.0.0.1:8000"
    [fault] = faults_of(None, EARWITNESS_BACKEND_PORT="x")
    variable, _, value = fault.partition("; for example ")[2].partition("=")
    assert load_settings(write(""), {variable: value}).backend.port == 7002


@pytest.mark.parametrize("given", ["5", '"errors < 1 %"', "[1]"])
def test_thresholds_have_their_type(write: Callable[[str], Path], given: str) -> None:
    """The platform's start and the run's read one declaration."""
    [fault] = faults_of(write(f"thresholds = {given}\n"))
    assert "is not a list of texts; for example thresholds = [" in fault


def test_a_hidden_value_of_another_type_is_not_shown_either() -> None:
    """A password that someone wrote without quotes is a number for TOML."""
    assert Text(hidden=True).fault(12345) == "is not text"
    assert Text().fault(12345) == "= 12345 is not text"
