"""Registry of open sockets by user and by e-mail."""

from __future__ import annotations

from collections import defaultdict

from earwitness.harness.reference.backend.session import Session


class Registry:
    """Open sockets of this replica, including those that have no welcome frame yet."""

    def __init__(self) -> None:
        """Start without sockets. The dictionaries keep the order of opening."""
        self.sessions: dict[Session, None] = {}
        self.by_user: defaultdict[str, dict[Session, None]] = defaultdict(dict)
        self.by_email: defaultdict[str, dict[Session, None]] = defaultdict(dict)

    def add(self, session: Session) -> None:
        """Add the session of a new socket."""
        self.sessions[session] = None
        self.by_user[session.user_id][session] = None
        self.by_email[session.user.email.lower()][session] = None

    def remove(self, session: Session) -> None:
        """Remove the session of a socket that has ended; no-op if it is not in the registry."""
        self.sessions.pop(session, None)
        for index, key in ((self.by_user, session.user_id), (self.by_email, session.user.email.lower())):
            index[key].pop(session, None)
            if not index[key]:
                del index[key]
