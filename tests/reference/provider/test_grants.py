"""Lifetimes, which no test of the process can wait for."""

from __future__ import annotations

import pytest

from earwitness.harness.reference.pkce import s256
from earwitness.harness.reference.provider.grants import ACCESS_TTL_S, CODE_TTL_S, REFRESH_TTL_S, GrantRefused, Grants
from earwitness.harness.reference.provider.people import person_of

ASKED = {"client_id": "c", "redirect_uri": "r", "code_challenge": s256("v" * 43), "nonce": "n", "scope": "openid"}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_everything_expires() -> None:
    """Codes after a minute, access tokens after an hour, refresh tokens after two weeks."""
    clock = Clock()
    grants, person = Grants(clock), person_of("a@b.test")
    assert person is not None
    code = grants.code(person, ASKED)
    clock.now_s += CODE_TTL_S + 1
    with pytest.raises(GrantRefused, match="too old"):
        grants.redeem(code, "c", "r", "v" * 43)
    grant = grants.redeem(grants.code(person, ASKED), "c", "r", "v" * 43)
    access, refresh = grants.tokens(grant)
    assert grants.bearer(access) == person
    clock.now_s += ACCESS_TTL_S + 1
    assert grants.bearer(access) is None
    clock.now_s += REFRESH_TTL_S
    with pytest.raises(GrantRefused, match="too old"):
        grants.rotate(refresh, "c")


def test_memory_is_bounded_by_lifetimes() -> None:
    """What has expired is forgotten when something new is made."""
    clock = Clock()
    grants, person = Grants(clock), person_of("a@b.test")
    assert person is not None
    for _ in range(100):
        grants.code(person, ASKED)
    clock.now_s += CODE_TTL_S + 1
    grants.code(person, ASKED)
    assert len(grants._codes._items) == 1


def test_grants_belong_to_their_client() -> None:
    """Another client can neither use nor spoil a code or a refresh token."""
    grants, person = Grants(), person_of("a@b.test")
    assert person is not None
    code = grants.code(person, ASKED)
    with pytest.raises(GrantRefused):
        grants.redeem(code, "other", "r", "v" * 43)
    _, refresh = grants.tokens(grants.redeem(code, "c", "r", "v" * 43))
    with pytest.raises(GrantRefused):
        grants.rotate(refresh, "other")
    assert grants.rotate(refresh, "c")


@pytest.mark.parametrize("text", ["", "a", "@b", "a@", "a b@c.test", "a@b@c", "a@-b", '"a"@b', "a@b.test\n@c", "a@é"])
def test_what_is_no_address(text: str) -> None:
    """Nobody is made from nonsense."""
    assert person_of(text) is None
