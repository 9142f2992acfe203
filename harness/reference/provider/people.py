"""The people of the provider: made on demand from an e-mail address, the same ones after a restart."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Person:
    """`subject` is a stable id, `email` is in lower case, `name` is the part before the @."""

    subject: str
    email: str
    name: str

    def claims(self) -> dict[str, object]:
        return {"sub": self.subject, "email": self.email, "email_verified": True, "name": self.name}


def person_of(email: str) -> Person | None:
    """The person with this address; None if it is no address."""
    plain = email.strip().lower()
    if not _EMAIL.fullmatch(plain):
        return None
    subject = hashlib.sha256(plain.encode()).hexdigest()[:32]
    return Person(subject, plain, plain.partition("@")[0])
