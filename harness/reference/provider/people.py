"""Users of the provider. They are derived from an e-mail address on demand, and are the same after a restart."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Person:
    """User of the provider.

    `subject` is a stable id, `email` is in lower case, `name` is the part before the @.
    """

    subject: str
    email: str
    name: str

    def claims(self) -> dict[str, object]:
        """Return the person's claims, as id tokens and userinfo contain them."""
        return {"sub": self.subject, "email": self.email, "email_verified": True, "name": self.name}


def person_of(email: str) -> Person | None:
    """Return the person with the e-mail address `email`; None if `email` is no valid address."""
    plain = email.strip().lower()
    if not _EMAIL.fullmatch(plain):
        return None
    subject = hashlib.sha256(plain.encode()).hexdigest()[:32]
    return Person(subject, plain, plain.partition("@")[0])
