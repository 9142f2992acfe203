"""I32 refresh rotation and reuse, I33 single-use artefacts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from presented import ask, change, pause, token

from earwitness.checks import Outcome
from earwitness.checks.findings.names import ARTEFACTS
from earwitness.checks.history.record import Artefact, Place, State, Way

ANN, BOB, BOB2, EVE = range(4)
ROTATES = {"refresh_single_use": True, "refresh_reuse_revokes": True, "revocation_bound_s": 0.003}


@pytest.fixture
def history(new_history: Callable[..., Any]) -> Any:
    """Ann's first refresh token (1) and the access token beside it (2)."""
    return begun(new_history(**ROTATES))


def begun(history: Any) -> Any:
    token(history, ANN, 1, Artefact.REFRESH)
    token(history, ANN, 2, of=1)
    return history


def refresh(history: Any, number: int, status: int = 200, **slots: Any) -> None:
    ask(history, **{"client": ANN, "number": number, "status": status, "place": Place.AUTH, "way": Way.BODY, **slots})


def refreshed(history: Any, number: int, digest: int = 7) -> None:
    """The next refresh token (`number`) and its access token (`number` + 1)."""
    token(history, ANN, number, Artefact.REFRESH, of=number - 2)
    token(history, ANN, number + 1, of=number, digest=digest)


def test_used_once_and_punished(history: Any) -> None:
    """A used token is refused, and its session ends with it: nothing that belongs to it is accepted afterwards."""
    refresh(history, 1)
    refreshed(history, 3)
    refresh(history, 1, 401)
    pause(history, 4)
    refresh(history, 3, 401)
    ask(history, ANN, 4, 401)
    verdict = history.judge()["I32"]
    assert (verdict.outcome, verdict.violations) == (Outcome.PASS, 0)
    assert verdict.examined == 4, "the reuse, two refusals after it, and the second access token's person"


@pytest.mark.parametrize("took_ms", [0, 5])
def test_used_twice(history: Any, took_ms: int) -> None:
    """Two accepted uses, one after the other or both under way at once."""
    refresh(history, 1)
    refresh(history, 1, took_ms=took_ms)
    verdict = history.judge()["I32"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert history.tell(verdict).sentence == "ann used one refresh token twice, and both times got new tokens"


def test_a_thief_counts_like_the_owner(history: Any) -> None:
    """The second use is the second one whoever makes it."""
    refresh(history, 1)
    refresh(history, 1, client=EVE, owner=ANN, journal=1)
    assert history.judge()["I32"].violations == 1


def test_a_lost_answer(history: Any) -> None:
    """A refresh without answer may have used the token up: that the next one is refused, or accepted, is fine."""
    refresh(history, 1, 0)
    refresh(history, 1, 401)
    pause(history, 4)
    ask(history, ANN, 2)
    refresh(history, 1, 503)
    refresh(history, 1)
    assert history.judge()["I32"].violations == 0


def test_reuse_unpunished(history: Any) -> None:
    """After a refused second use something of the session is accepted, sent later than the bound."""
    refresh(history, 1)
    refreshed(history, 3)
    refresh(history, 1, 401)
    pause(history, 4)
    ask(history, ANN, 2)
    refresh(history, 3)
    verdict = history.judge()["I32"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 2)
    assert "still works, although" in history.tell(verdict).sentence


def test_the_loser_of_two_at_once_is_a_reuse(history: Any) -> None:
    """Who was refused while another won came second; the session has to end."""
    refresh(history, 1)
    refresh(history, 1, 401, took_ms=9)
    pause(history, 4)
    ask(history, ANN, 2)
    assert history.judge()["I32"].violations == 1


@pytest.mark.parametrize("status", [429, 503, 0])
def test_no_refusal_no_reuse(history: Any, status: int) -> None:
    """A used-up budget, an error, or silence is no refusal of the token."""
    refresh(history, 1)
    refresh(history, 1, status)
    pause(history, 4)
    ask(history, ANN, 2)
    assert history.judge()["I32"].violations == 0


def test_refused_for_its_age(new_history: Callable[..., Any]) -> None:
    """A used token that has expired meanwhile may be refused as too old, without an end of the session."""
    history = new_history(**ROTATES)
    token(history, ANN, 1, Artefact.REFRESH, lasts_ms=2)
    token(history, ANN, 2, of=1)
    refresh(history, 1)
    pause(history, 2)
    refresh(history, 1, 401)
    pause(history, 4)
    ask(history, ANN, 2)
    assert history.judge()["I32"].violations == 0


def test_within_the_bound_of_a_reuse(history: Any) -> None:
    """The news of the end needs its time."""
    refresh(history, 1)
    refresh(history, 1, 401)
    pause(history, 2)
    ask(history, ANN, 2)
    assert history.judge()["I32"].violations == 0


def test_another_session_goes_on(history: Any) -> None:
    """Another login of the same person is another family."""
    token(history, ANN, 5, Artefact.REFRESH)
    token(history, ANN, 6, of=5)
    refresh(history, 1)
    refresh(history, 1, 401)
    pause(history, 4)
    ask(history, ANN, 6)
    assert history.judge()["I32"].violations == 0


@pytest.mark.parametrize(("grace_s", "violations"), [(0.003, 0), (0.001, 1)])
def test_a_promised_grace(new_history: Callable[..., Any], grace_s: float, violations: int) -> None:
    """Where a retry is tolerated for a while, a second success within it is none too many."""
    history = begun(new_history(**ROTATES, refresh_grace_s=grace_s))
    refresh(history, 1)
    pause(history, 1)
    refresh(history, 1)
    assert history.judge()["I32"].violations == violations


def test_refreshed_into_somebody_else(history: Any) -> None:
    """The new access token names another person, or other permissions."""
    refresh(history, 1)
    refreshed(history, 3, digest=8)
    verdict = history.judge()["I32"]
    assert (verdict.outcome, verdict.violations) == (Outcome.FAIL, 1)
    assert "names another user" in history.tell(verdict).sentence


def test_permissions_that_were_changed(history: Any) -> None:
    """Whose permissions somebody changes in the run, has other ones after a refresh."""
    change(history, ANN, 3, state=State.PERMISSIONS)
    refresh(history, 1)
    refreshed(history, 3, digest=8)
    assert history.judge()["I32"].violations == 0


def test_a_platform_that_does_not_rotate(new_history: Callable[..., Any]) -> None:
    """Where a refresh token may be used again and again, nothing of it is judged, and nothing is promised."""
    history = begun(new_history())
    refresh(history, 1)
    refresh(history, 1)
    verdict = history.judge()["I32"]
    assert (verdict.promised, verdict.violations) == (False, 0)


@pytest.mark.parametrize(
    ("kind", "place", "way"),
    [
        (Artefact.TICKET, Place.SOCKET, Way.TICKET),
        (Artefact.STATE, Place.AUTH, Way.QUERY),
        (Artefact.CODE, Place.AUTH, Way.BODY),
    ],
)
@pytest.mark.parametrize(("status", "outcome"), [(401, Outcome.PASS), (200, Outcome.FAIL), (0, Outcome.UNKNOWN)])
def test_a_second_use(
    new_history: Callable[..., Any], kind: Artefact, place: Place, way: Way, status: int, outcome: Outcome
) -> None:
    """Refused it is well, accepted it is a violation, without an answer it is not known."""
    history = new_history()
    token(history, ANN, 1, kind)
    ask(history, ANN, 1, 200, place, way=way)
    ask(history, ANN, 1, status, place, way=way, took_ms=3)
    verdict = history.judge()["I33"]
    assert verdict.outcome == outcome
    if outcome == Outcome.FAIL:
        assert history.tell(verdict).sentence == (
            f"ann used one {ARTEFACTS[kind]} twice, and both times it was accepted"
        )


def test_never_accepted(new_history: Callable[..., Any]) -> None:
    """Refused each time: that proves nothing about single use."""
    history = new_history()
    token(history, ANN, 1, Artefact.TICKET)
    for _ in range(2):
        ask(history, ANN, 1, 401, Place.SOCKET, way=Way.TICKET)
    assert history.judge()["I33"].examined == 0


@pytest.mark.parametrize(("status", "outcome"), [(403, Outcome.PASS), (200, Outcome.FAIL), (0, Outcome.UNKNOWN)])
def test_a_state_in_another_browser(new_history: Callable[..., Any], status: int, outcome: Outcome) -> None:
    """A login can be finished only by the browser that began it."""
    history = new_history()
    token(history, ANN, 1, Artefact.STATE)
    ask(history, EVE, 1, status, Place.AUTH, way=Way.QUERY, owner=ANN)
    verdict = history.judge()["I33"]
    assert verdict.outcome == outcome
    if outcome == Outcome.FAIL:
        assert history.tell(verdict).sentence == "eve's browser finished a login that another browser had begun"


def test_a_state_uses_up_its_code(new_history: Callable[..., Any]) -> None:
    """The callback that was accepted has used the code that came with its state: it must not be accepted again."""
    history = new_history()
    token(history, ANN, 1, Artefact.STATE)
    token(history, ANN, 2, Artefact.CODE, of=1)
    ask(history, ANN, 1, 200, Place.AUTH, way=Way.QUERY)
    ask(history, ANN, 2, 401, Place.AUTH, way=Way.QUERY)
    assert history.judge()["I33"].examined == 1
    ask(history, ANN, 2, 200, Place.AUTH, way=Way.QUERY)
    assert history.judge()["I33"].outcome == Outcome.FAIL


# -- at the same moment -----------------------------------------------------------------------------------------------


def accepted_later(history: Any) -> int:
    """Violations, if the access token beside the first refresh token is accepted after the bound."""
    pause(history, 4)
    ask(history, ANN, 2)
    violations: int = history.judge()["I32"].violations
    return violations


def test_refused_when_the_first_use_was_sent(history: Any) -> None:
    """It had not been used then."""
    refresh(history, 1, 401)
    refresh(history, 1, took_ms=1)
    assert accepted_later(history) == 0


def test_refused_at_its_deadline(new_history: Callable[..., Any]) -> None:
    """As too old, perhaps."""
    history = new_history(**ROTATES)
    token(history, ANN, 1, Artefact.REFRESH, lasts_ms=3)
    token(history, ANN, 2, of=1)
    refresh(history, 1)
    refresh(history, 1, 401)
    assert accepted_later(history) == 0


@pytest.mark.parametrize("status", [200, 401])
def test_at_the_end_of_the_grace(new_history: Callable[..., Any], status: int) -> None:
    """Sent exactly 3 ms after the first use: tolerated, and if refused no reuse."""
    history = begun(new_history(**ROTATES, refresh_grace_s=0.003))
    refresh(history, 1)
    pause(history, 2)
    refresh(history, 1, status)
    assert accepted_later(history) == 0


def test_the_first_of_two_reuses_is_shown(history: Any) -> None:
    """Both were refused at one moment."""
    refresh(history, 1)
    refresh(history, 1, 401)
    refresh(history, 1, 401, t=history.told[-1][1]["t"])
    assert accepted_later(history) == 1
    assert history.judge()["I32"].findings[0].records[0] == (0, 4)


def test_the_end_of_a_session_proven_at_a_deadline(new_history: Callable[..., Any]) -> None:
    """Refused at the nanosecond at which it ends anyway: nothing is proven."""
    history = new_history(**ROTATES)
    token(history, ANN, 1, Artefact.REFRESH)
    token(history, ANN, 2, of=1, lasts_ms=7)
    refresh(history, 1)
    refresh(history, 1, 401)
    pause(history, 4)
    ask(history, ANN, 2, 401)
    assert history.judge()["I32"].examined == 1, "the reuse"
