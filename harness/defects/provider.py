"""Defect of the identity provider."""

from __future__ import annotations

from earwitness.harness.defects.chance import Chance
from earwitness.harness.defects.declared import found_by_tests
from earwitness.harness.reference.provider.grants import Grant
from earwitness.harness.reference.provider.service import Provider


@found_by_tests(
    "S20",
    "code-for-anybody",
    "provider",
    breaks="Somebody who had seen my code could log in with it as well.",
    opportunity="one code that is used again",
)
class CodeForAnybody:
    """Defect that accepts an authorization code for any login, any number of times.

    Opportunity: one known code that should be refused: it was used before or belongs to another login. Manifest at
    once.
    """

    def __init__(self, provider: Provider, chance: Chance) -> None:
        self._codes, self._chance, self._redeem = provider.grants._codes, chance, provider.grants.redeem
        vars(provider.grants)["redeem"] = self.redeem

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant:
        """Change `Grants.redeem`: return the grant of a refused code if the defect fires."""
        grant = self._codes.get(code)
        try:
            return self._redeem(code, client_id, redirect_uri, verifier)
        except Exception:
            if grant is None or not self._chance.fires():
                raise
            grant.revoked = False
            self._chance.say(user=grant.person.subject, manifest=True)
            return grant
