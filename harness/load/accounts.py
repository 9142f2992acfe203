"""A user who changes the own account and looks at what the services show of it; both are recorded."""

from __future__ import annotations

from contextlib import suppress

from checks.record import Place, State
from harness.client.exchange import Exchange, observed
from harness.client.flow import FlowError
from harness.client.statements import digest_of, write_change, write_seen
from harness.load.tokens import TokenUser
from harness.target.accounts import accounts_of


class AccountUser(TokenUser):
    """In tasks beside those of TokenUser: `rename`, `look_at_the_copy`."""

    abstract = True
    renamed = 0

    def rename(self) -> None:
        """Give oneself a new name at auth."""
        self._go_on_or_stop()
        accounts = accounts_of(self.part.target)
        if accounts is None:
            self.say()
            return
        with self._turn:
            credentials = self._fresh().credentials
            self.renamed += 1
            name = f"{self.person.name} {self.renamed}"

            def saw(exchange: Exchange) -> None:
                write_change(
                    self.part.journal, self.number, Place.AUTH, State.PROFILE, sent_ns=exchange.sent_ns,
                    received_ns=exchange.received_ns, status=exchange.status, of=self.number,
                    digest=digest_of(credentials.user_id, self.person.email, name),
                )  # fmt: skip

            with self._recording(), suppress(FlowError):
                self._quietly(observed(accounts.rename(credentials, name), saw))

    def look_at_the_copy(self) -> None:
        """What the backend shows of the own account."""
        self._go_on_or_stop()
        accounts = accounts_of(self.part.target)
        if accounts is None:
            self.say()
            return
        with self._turn:
            credentials = self._fresh().credentials
        seen: list[Exchange] = []
        with self._recording(), suppress(FlowError):
            profile = self._quietly(observed(accounts.profile(credentials, Place.BACKEND), seen.append))
            if profile is not None:
                write_seen(
                    self.part.journal, self.number, Place.BACKEND, State.PROFILE, asked_ns=seen[0].sent_ns,
                    seen_ns=seen[0].received_ns, of=self.number,
                    digest=digest_of(profile.user_id, profile.email, profile.name),
                )  # fmt: skip
