"""Scenario 6: Auth dies or hangs during live sessions. They continue, nobody else gets in, and Auth recovers."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import pytest

from earwitness.harness.dialects.reference.forgery import FORGERIES, Forger
from pytest_suite.chat import verdict_on
from pytest_suite.crowd import crowd_on
from pytest_suite.factory import Databases, Factory, bearer, eventually, make_forger
from pytest_suite.under_test import UnderTest

pytestmark = [
    pytest.mark.critical, pytest.mark.p1, pytest.mark.timeout(240),
]  # fmt: skip

FAST_S = 1.0
"""Seconds within which a refusal counts as immediate."""
RECOVERY_S = 15.0
PATH = ["closed to open", "open to half-open", "half-open to closed"]


async def timed(work: Awaitable[httpx.Response]) -> tuple[float, httpx.Response]:
    """Await an answer; return the seconds that it took, and the answer."""
    begin = time.monotonic()
    answer = await work
    return time.monotonic() - begin, answer


async def forger_of(people: Factory) -> Forger:
    """Return a maker of forged tokens. Call this while auth is running, because it logs people in."""
    platform = people.platform
    databases = Databases(
        await asyncpg.connect(platform.need("auth_dsn")), await asyncpg.connect(platform.need("main_dsn"))
    )
    try:
        return await make_forger(databases, people)
    finally:
        await databases.close()


def transitions(people: Factory, service: str, before: int) -> list[str]:
    """Return the state changes of a service's circuit breaker, from its log, without the first `before` ones."""
    log = people.platform.control.logs(service, 10_000)
    return re.findall(r"circuit breaker of auth: (\S+ to \S+)", log)[before:]


async def new_login(people: Factory) -> bool:
    """Return whether a new person can log in."""
    answer = await people.http.get(
        f"{people.platform.frontend}/auth/google", params={"login_hint": people.email()}, follow_redirects=True
    )
    return answer.status_code == 200


async def known_everywhere(platform: UnderTest, token: str) -> None:
    """Present a token to every replica, so that each fetches the current signing key.

    Another test may have rotated the key, and without auth a replica cannot fetch the new one.
    """
    for base in platform.replicas.values():
        assert await verdict_on(base, token) == 0


class TestAuthServiceRecovery:
    """Behaviour of the platform while auth, or the identity provider, is down."""

    @pytest.mark.fails_with("S1")
    async def test_cached_token_during_auth_outage(self, survivors: Factory) -> None:
        """Auth is killed: sockets, tokens, new connections and resumption continue; logins are refused at once."""
        platform, http = survivors.platform, survivors.http
        ann, bob = await survivors.log_in_many(2)
        key = await survivors.conversation(ann, bob)
        bases = [*platform.replicas.values()]
        mine, theirs = await survivors.connect(ann, base=bases[0]), await survivors.connect(bob, base=bases[-1])
        assert await mine.tell(key, "before") == 1
        await asyncio.to_thread(platform.control.kill, "auth")
        assert await mine.tell(key, "during") == 2
        await theirs.hear(2)
        for base in (platform.edge, platform.frontend, *bases):
            answer = await survivors.get(f"{base}/api/me", ann.token)
            assert (answer.status_code, answer.json().get("id")) == (200, ann.id), base
        mine.abort()
        assert await theirs.tell(key, "while ann was away") == 3
        again = await survivors.connect(ann, resume={key: 2}, base=bases[-1])
        await again.hear(1)
        assert again.texts(key) == ["while ann was away"]
        assert (await survivors.put(ann, survivors.fresh("made-in-the-outage"), [ann, bob])).status_code == 201
        took, answer = await timed(http.get(f"{platform.frontend}/auth/google"))
        assert (answer.status_code, answer.json().get("error")) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert took < FAST_S
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{platform.auth}/auth/google")
        refresh = {"refresh_token": ann.refresh_token}
        answer = await http.post(f"{platform.frontend}/auth/refresh", json=refresh)
        assert answer.status_code == 503
        await asyncio.to_thread(platform.control.start, "auth")
        await eventually("a login after the outage", lambda: new_login(survivors), RECOVERY_S)
        answer = await http.post(f"{platform.frontend}/auth/refresh", json=refresh)
        assert answer.status_code == 200, "a refresh that was not served must not have used the token up"
        for socket in (again, theirs):
            await socket.fence()
            assert socket.code is None
        assert await again.tell(key, "after") == 4

    @pytest.mark.fails_with("Z52")
    async def test_never_fail_open(self, survivors: Factory) -> None:
        """While Auth is away, every forgery is still refused by REST and by socket, and controls are accepted."""
        platform = survivors.platform
        forger = await forger_of(survivors)
        tokens = {name: forge(forger) for name, forge in FORGERIES.items()}
        control = forger.control()
        await known_everywhere(platform, control)
        await asyncio.to_thread(platform.control.kill, "auth")
        for base in platform.replicas.values():
            for name, token in tokens.items():
                # Auth cannot be asked about an unknown key: without its answer the token must not be accepted.
                expected = (503,) if name == "unknown_kid" else (401,)
                answer = await survivors.get(f"{base}/api/me", token)
                assert answer.status_code in expected, f"{name}: {answer.status_code}"
                assert await verdict_on(base, token) - 4000 in expected, name
            assert (await survivors.get(f"{base}/api/me", control)).status_code == 200
            assert await verdict_on(base, control) == 0
            assert await verdict_on(base, "") == 4401

    @pytest.mark.fails_with("Z41")
    async def test_revocations_outlive_auth(self, survivors: Factory) -> None:
        """A person who logged out before the outage stays logged out during it, on every replica."""
        platform = survivors.platform
        ann, control = await survivors.log_in_many(2)
        await known_everywhere(platform, ann.token)
        answer = await survivors.http.post(f"{platform.auth}/auth/logout", headers=ann.bearer)
        assert answer.status_code == 200
        await asyncio.to_thread(platform.control.kill, "auth")
        for base in platform.replicas.values():
            assert await verdict_on(base, ann.token) == 4401
            assert await verdict_on(base, control.token) == 0

    @pytest.mark.fails_with("S2")
    async def test_circuit_breaker_activation(self, survivors: Factory) -> None:
        """Auth hangs: Backend and Frontend stop asking it after a few failures, answer at once, probe, and recover."""
        platform, http = survivors.platform, survivors.http
        forger = await forger_of(survivors)
        replica, base = next(iter(platform.replicas.items()))
        before = {name: len(transitions(survivors, name, 0)) for name in (replica, "frontend")}
        ann = await survivors.log_in()
        socket = await survivors.connect(ann, base=base)
        key = await survivors.conversation(ann)

        def stranger() -> dict[str, str]:
            """Return a header with a token of an unknown key, which the backend can judge only after asking auth."""
            return bearer(forger.minted(header={"kid": uuid.uuid4().hex}))

        degraded: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
            replica: lambda: http.get(f"{base}/api/me", headers=stranger()),
            "frontend": lambda: http.get(f"{platform.frontend}/auth/google", follow_redirects=False),
        }
        assert (await degraded[replica]()).status_code == 401
        assert (await degraded["frontend"]()).status_code == 302
        await asyncio.to_thread(platform.control.pause, "auth")

        async def wear_down(name: str, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
            async def opened() -> bool:
                answers = await asyncio.gather(*(ask() for _ in range(3)))
                assert {a.status_code for a in answers} <= {503, 504}, f"{name}: {[a.text for a in answers]}"
                return PATH[0] in transitions(survivors, name, before[name])

            await eventually(f"the breaker of {name} opens", opened, RECOVERY_S)

        await asyncio.gather(*(wear_down(name, ask) for name, ask in degraded.items()))
        for name, ask in degraded.items():
            took, answer = min([await timed(ask()) for _ in range(5)], key=lambda pair: pair[0])
            assert (answer.status_code, took < FAST_S) == (503, True), f"{name}: {answer.text} after {took:.1f} s"
            assert int(answer.headers["retry-after"]) >= 1
        took, answer = await timed(survivors.get(f"{base}/api/me", ann.token))
        assert (answer.status_code, took < FAST_S) == (200, True), "known tokens must not suffer"
        assert await socket.tell(key, "during the degradation") == 1
        assert await verdict_on(base, ann.token) == 0
        assert await verdict_on(base, forger.minted(header={"kid": uuid.uuid4().hex})) == 4503
        await asyncio.to_thread(platform.control.resume, "auth")
        for name, ask in degraded.items():
            well = 401 if name == replica else 302

            async def closed(ask: Callable[[], Awaitable[httpx.Response]] = ask, well: int = well) -> bool:
                return (await ask()).status_code == well

            await eventually(f"{name} asks auth again", closed, RECOVERY_S)
            path = transitions(survivors, name, before[name])
            assert path[0] == PATH[0]
            assert path[-2:] == PATH[1:]
            assert set(path) <= {*PATH, "half-open to open"}
        rotated = await http.post(f"{platform.auth}/auth/admin/rotate-keys")
        assert rotated.status_code == 200
        new = await survivors.log_in()
        assert await verdict_on(base, new.token) == 0

    @pytest.mark.fails_with("S3")
    async def test_the_provider_is_down(self, survivors: Factory) -> None:
        """Without the identity provider new logins are refused at once with a clear answer; all sessions continue."""
        platform = survivors.platform
        ann = await survivors.log_in()
        await asyncio.to_thread(platform.control.kill, "provider")

        async def told() -> bool:
            took, answer = await timed(survivors.http.get(f"{platform.auth}/auth/google"))
            assert took < 2 * FAST_S
            return answer.status_code == 503 and "retry-after" in answer.headers

        await eventually("logins refused with 503", told, RECOVERY_S)
        refreshed = await survivors.http.post(
            f"{platform.auth}/auth/refresh", json={"refresh_token": ann.refresh_token}
        )
        assert refreshed.status_code == 200
        assert await verdict_on(platform.edge, ann.token) == 0
        await asyncio.to_thread(platform.control.start, "provider")
        await eventually("a login after the outage", lambda: new_login(survivors), RECOVERY_S)

    @pytest.mark.fails_with("S4")
    async def test_no_cascade_under_load(self, survivors: Factory, tmp_path: Path) -> None:
        """Auth dies, hangs and comes back while people chat: no socket is closed, no message is affected."""
        platform = survivors.platform
        crowd = crowd_on(
            platform, survivors.http, tmp_path, users=12, sizes=(4, 12),
            judged_by=("I1", "I2", "I4", "I5a", "I5b", "I6", "I7", "I8", "I10", "I12", "I15"),
        )  # fmt: skip
        async with crowd, crowd.talking(0.1):
            with crowd.fault("kill auth"):
                await asyncio.to_thread(platform.control.kill, "auth")
                logins = [await timed(survivors.http.get(f"{platform.frontend}/auth/google")) for _ in range(20)]
                await asyncio.to_thread(platform.control.start, "auth")
            with crowd.fault("pause auth"):
                await asyncio.to_thread(platform.control.pause, "auth")
                await asyncio.sleep(1.0)
                await asyncio.to_thread(platform.control.resume, "auth")
        assert {answer.status_code for _, answer in logins} == {503}
        assert max(took for took, _ in logins) < FAST_S
        assert [code for user in crowd.users for code in user.cuts] == []
        assert sum(user.session.refused for user in crowd.users) == 0
        sent = sum(user.session.counter for user in crowd.users)
        crowd.assert_passed(I1=sent // 2, I4=sent, I5a=sent, I5b=sent, I12=sent)
        assert crowd.check("H2")["facts"]["faults"] == 2
        await eventually("a login after the outage", lambda: new_login(survivors), RECOVERY_S)
