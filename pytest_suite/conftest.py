"""Options and fixtures of the functional suite, which tests real services only; see docs/guide/pytest.md."""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from earwitness.harness.client.flow import FlowError, run_flow
from earwitness.harness.dialects.reference.dialect import ReferenceTarget
from earwitness.harness.dialects.reference.forgery import Forger
from earwitness.harness.errors import EarwitnessError
from earwitness.harness.platform.launch import Platform, launch
from pytest_suite import browser
from pytest_suite.factory import Databases, Factory, make_forger
from pytest_suite.ledger import Ledger
from pytest_suite.limits import ABUSE_NACKS, RATE_BURST, RATE_PER_S
from pytest_suite.reporting import not_run, pytest_report_teststatus, pytest_terminal_summary  # noqa: F401
from pytest_suite.under_test import UnderTest, find, new_tag
from pytest_suite.volume import seed_rows

ANSWER_S = 20.0
VOLUME_ROWS = 10_000
PICTURES = Path("runs", "pictures")
NOTHING_GIVEN = (
    "pytest_suite tests real services: give --real-services to start the reference platform, "
    "or --target FILE to name one that runs."
)
PLATFORM = pytest.StashKey[UnderTest]()
OURS = pytest.StashKey[Platform]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("earwitness", "earwitness: tests against real services")
    group.addoption("--real-services", action="store_true", help="start the reference platform, or use a running one")
    group.addoption("--target", type=Path, metavar="FILE", help="endpoints of a platform that runs (TOML or JSON)")
    group.addoption("--keep-platform", action="store_true", help="leave the platform running for the next session")
    group.addoption(
        "--volume", type=int, metavar="N",
        help=f"rows to seed into both databases (default {VOLUME_ROWS:,}; none with --target)",
    )  # fmt: skip
    group.addoption(
        "--defect", action="append", default=[], metavar="SERVICE=NAME:P",
        help="start the platform with a defect (repeatable), to see the tests that must notice it fail",
    )  # fmt: skip
    group.addoption("--logs", type=Path, metavar="DIR", help="keep the logs of the platform's services")
    group.addoption("--ledger", type=Path, metavar="FILE", help="append each test's end as a line of JSON")
    group.addoption("--need-browser", action="store_true", help="a machine without Chromium fails the browser's test")
    group.addoption("--seed", type=int, default=1, metavar="N", help="seed of all made-up data (default 1)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that contradict each other or select no platform. Raises UsageError."""
    if config.option.collectonly or config.option.help or getattr(config.option, "markers", False):
        return
    if not config.option.real_services and config.option.target is None:
        raise pytest.UsageError(NOTHING_GIVEN)
    if config.option.defect and (config.option.target is not None or config.option.keep_platform):
        raise pytest.UsageError("--defect starts a platform for this session: give it with --real-services alone.")
    if config.option.ledger is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(config.option.ledger))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Find or start the platform, in the main process of the session.

    Workers of xdist receive its endpoints from there.
    """
    config = session.config
    if hasattr(config, "workerinput"):
        config.stash[PLATFORM] = UnderTest.from_controller(config.workerinput["earwitness"])
        return
    if config.option.collectonly:
        return
    try:
        start, anew = starter(config, "session"), bool(config.option.defect or config.option.logs)
        platform, ours = find(config.option.target, config.option.keep_platform, start, anew)
    except EarwitnessError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[PLATFORM] = platform
    if ours is not None:
        config.stash[OURS] = ours
    wanted = config.option.volume
    if wanted is None:
        wanted = 0 if config.option.target is not None else VOLUME_ROWS
    if wanted:
        platform.volume = asyncio.run(seed_rows(platform, wanted, config.option.seed))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Send an xdist worker the endpoints of the platform before it starts."""
    node.workerinput["earwitness"] = node.config.stash[PLATFORM].to_worker()


def starter(config: pytest.Config, word: str) -> Callable[..., Platform]:
    """Return a function that starts a platform with the defects and log folder that the session's options state.

    `word`: name of the subfolder for the logs.
    """
    logs = config.option.logs / word if config.option.logs is not None else None
    defects: dict[str, list[str]] = {}
    for order in config.option.defect:
        service, _, name = order.partition("=")
        defects.setdefault(service, []).append(name)
    return functools.partial(launch, defects=defects, log_dir=logs)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Stop the platform before `--cov` reads its data, because services write their coverage when they end."""
    try:
        return (yield)
    finally:
        pytest_unconfigure(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the platform that this session started."""
    ours = config.stash.get(OURS, None)
    if ours is not None:
        ours.stop()


@pytest.fixture(scope="session")
def trusted() -> ssl.SSLContext:
    """Return a TLS context, made once a session: reading the system's certificates takes longer than most tests."""
    return ssl.create_default_context()


@pytest.fixture(scope="session")
def reachable(request: pytest.FixtureRequest) -> str:
    """Return "" if edge and auth answer as the reference platform does, else the message for a failing test."""
    platform = request.config.stash[PLATFORM]
    try:
        with httpx.Client(timeout=ANSWER_S, trust_env=False) as client:
            run_flow(ReferenceTarget(platform.endpoints).reachable(), client)
    except FlowError as error:
        return f"{platform.where} is not the platform that was expected: {error}."
    except httpx.HTTPError as error:
        at = f"{error.request.method} {error.request.url}"
        return f"{platform.where}: {at} was expected to be answered, but {type(error).__name__}: {error}."
    return ""


@pytest.fixture
def platform(request: pytest.FixtureRequest, reachable: str) -> UnderTest:
    """Return the session's platform; fail the test if the platform does not answer.

    Tests that break something use `breakable` instead.
    """
    if reachable:
        pytest.fail(reachable, pytrace=False)
    return request.config.stash[PLATFORM]


@pytest.fixture(scope="session")
def own_platforms() -> Iterator[dict[str, Platform]]:
    """Yield name → platform, for platforms that a fixture starts for some tests; all are stopped with the session."""
    started: dict[str, Platform] = {}
    yield started
    for one in started.values():
        one.stop()


@pytest.fixture
def breakable(
    request: pytest.FixtureRequest, platform: UnderTest, own_platforms: dict[str, Platform]
) -> Iterator[UnderTest]:
    """Yield a platform that no other test uses meanwhile: the session's, or under xdist one of this worker process.

    Afterwards the platform is repaired, whatever the test did.
    """
    mine = platform
    if hasattr(request.config, "workerinput"):
        if "breakable" not in own_platforms:
            own_platforms["breakable"] = starter(request.config, "breakable")()
        mine = UnderTest(own_platforms["breakable"].endpoints, where="this worker's platform", tag=new_tag())
    mine.need("control")
    yield mine
    mine.settle()


@pytest.fixture(scope="session")
def limited_platform(request: pytest.FixtureRequest, own_platforms: dict[str, Platform]) -> UnderTest:
    """Return a platform with equal small rate budgets on all services: a test can exhaust one and see it refill."""
    if not request.config.option.real_services:
        pytest.fail("This test starts a platform with small budgets of its own: give --real-services.", pytrace=False)
    budget: dict[str, object] = {"rate_per_s": RATE_PER_S, "rate_burst": RATE_BURST}
    settings = {"auth": budget, "backend": {**budget, "abuse_nacks": ABUSE_NACKS, "abuse_window_s": 10}}
    own_platforms["limited"] = starter(request.config, "limited")(settings=settings)
    return UnderTest(own_platforms["limited"].endpoints, where="the platform with small budgets", tag=new_tag())


@pytest.fixture
async def limited(
    request: pytest.FixtureRequest, limited_platform: UnderTest, http: httpx.AsyncClient
) -> AsyncIterator[Factory]:
    """Yield a factory of people on the platform with small rate budgets."""
    factory = Factory(limited_platform, http, request.config.option.seed, request.node.name)
    yield factory
    await factory.close()


@pytest.fixture
async def http(trusted: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client that keeps its connections open during one test."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    async with httpx.AsyncClient(timeout=ANSWER_S, verify=trusted, trust_env=False, limits=limits) as client:
        yield client


@pytest.fixture
async def people(
    request: pytest.FixtureRequest, platform: UnderTest, http: httpx.AsyncClient
) -> AsyncIterator[Factory]:
    """Yield a factory of people, logins, conversations and sockets on the session's platform."""
    factory = Factory(platform, http, request.config.option.seed, request.node.name)
    yield factory
    await factory.close()


@pytest.fixture
async def survivors(
    request: pytest.FixtureRequest, breakable: UnderTest, http: httpx.AsyncClient
) -> AsyncIterator[Factory]:
    """Yield a factory as `people` does, on the platform that the test breaks."""
    factory = Factory(breakable, http, request.config.option.seed, request.node.name)
    yield factory
    await factory.close()


async def _databases(platform: UnderTest) -> Databases:
    auth = await asyncpg.connect(platform.need("auth_dsn"), timeout=ANSWER_S)
    return Databases(auth, await asyncpg.connect(platform.need("main_dsn"), timeout=ANSWER_S))


@pytest.fixture
async def databases(platform: UnderTest) -> AsyncIterator[Databases]:
    """Yield connections to the two databases of the session's platform."""
    both = await _databases(platform)
    yield both
    await both.close()


@pytest.fixture
async def chrome(request: pytest.FixtureRequest, platform: UnderTest) -> AsyncIterator[Any]:
    """Yield a real Chromium. Without one the test is reported as not run; with --need-browser it fails."""
    missing = browser.missing()
    if missing and request.config.option.need_browser:
        pytest.fail(missing, pytrace=False)
    if missing:
        not_run(missing)
    async with browser.chromium() as chrome:
        yield chrome


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> Path:
    """Return the folder into which a failed browser test writes its pictures."""
    return PICTURES / re.sub(r"[^\w-]+", "-", request.node.name)


@pytest.fixture
async def forger(platform: UnderTest, databases: Databases, people: Factory) -> Forger:
    """Return a maker of valid, expired and forged tokens, some of them signed with the platform's own key."""
    return await make_forger(databases, people)
