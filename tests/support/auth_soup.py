"""Generator of random histories without a plot: tokens, requests, revocations, changes and reads, in small numbers.

Only the guarantees of a recorder hold: times ascend in a journal, an answered request was sent before, a client is
recorded in one journal, an artefact is recorded once.
"""

from __future__ import annotations

import random

from simulated_clients import Info
from soup import Soup, _Journal

from earwitness.checks.contract import Contract
from earwitness.checks.history.record import CONTROL, FOREIGN, NOBODY, NONE, Artefact, Flag, Kind, Phase, Place, State
from earwitness.checks.roster import Roster

STATUS = (200, 200, 200, 401, 401, 429, 503, 0)
FLAGS = {200: Flag.ACCEPTED, 401: Flag.REFUSED, 429: Flag.REFUSED}
PLACES = (Place.AUTH, Place.BACKEND, Place.SOCKET)
DATABASES = (Place.AUTH_DATABASE, Place.MAIN_DATABASE)


class _Cook:
    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(f"auth:{seed}")
        self.clients = rng.randint(2, 4)
        self.user_of = [rng.randrange(3) for _ in range(self.clients)]
        self.roster = Roster(user_of=tuple(self.user_of), conversations=((0, 1, 2), (0, 1)))
        self.contract = Contract(
            history=False,
            token_leeway_s=rng.choice((0.0, 1e-8)),
            revocation_bound_s=rng.choice((None, 1e-8, 1e-8, 5e-8)),
            sync_bound_s=rng.choice((None, 1e-8, 1e-8, 4e-8)),
            account_news_s=rng.choice((None, 1e-8, 3e-8)),
            logout_ends_session=rng.random() < 0.5,
            refresh_single_use=rng.random() < 0.8,
            refresh_grace_s=rng.choice((0.0, 0.0, 2e-8)),
            refresh_reuse_revokes=rng.random() < 0.7,
            sockets_end_with_token=rng.random() < 0.7,
        )
        count = rng.randint(1, 2)
        self.journals = [_Journal(n, []) for n in range(count)]
        self.home = [self.journals[c % count] for c in range(self.clients)]
        self.issued: list[tuple[int, int]] = []
        self.numbers = [0] * self.clients
        self.said: dict[tuple[int, int], int] = {}
        self.tame = rng.random() < 0.5
        self.over: set[tuple[int, int]] = set()
        self.t = 1_000
        self.stepped: dict[int, int] = {}
        self.steps = rng.choice((0, 0.3))

    def tick(self) -> int:
        self.t += self.rng.randint(1, 6)
        return self.t

    def before(self) -> int:
        return self.t - self.rng.choice((0, 1, 5, 30))

    def answer(self, over: bool = False) -> dict[str, int]:
        """Return the slots of a random answer to a request.

        `over`: no service should accept the token any more; the answer then is 401 on a platform without violations
        (`tame`).
        """
        status = 401 if over and self.tame else self.rng.choice(STATUS)
        return {"size": status, "flags": int(FLAGS.get(status, 0))}

    def artefact(self) -> tuple[int, int]:
        rng = self.rng
        if self.issued and rng.random() < 0.95:
            return rng.choice(self.issued)
        return rng.choice((NOBODY, rng.randrange(self.clients))), rng.randint(0, 9)

    def step(self) -> None:
        rng = self.rng
        client = rng.randrange(self.clients)
        act = rng.choices(
            (self.token, self.request, self.revoke, self.change, self.see, self.login, self.fault, self.talk,
             self.clock_step),
            (5, 12, 1, 3, 5, 1, 0.5, 8, self.steps),
        )[0]  # fmt: skip
        act(self.home[client], self.tick(), client)

    def token(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        self.numbers[client] += 1
        number = self.numbers[client]
        self.issued.append((client, number))
        forged = rng.choice((0, 0, 0, 1))
        self.over |= {(client, number)} if forged else set()
        journal.write(
            Kind.TOKEN, t, client=client, counter=number, attempt=int(rng.choice(list(Artefact))),
            proc=forged, seq=rng.choice((NONE, t + rng.randint(1, 80))),
            aux=rng.choice((NONE, rng.randint(1, 6))), digest=rng.choice((1, 1, 1, 2)),
            flags=int(rng.choice((0, 0, Flag.OWN, Flag.ACCEPTED))),
        )  # fmt: skip

    def request(self, journal: _Journal, t: int, client: int) -> None:
        rng, (owner, number) = self.rng, self.artefact()
        asking = owner if owner < self.clients and rng.random() < 0.7 else client
        journal = self.home[asking]
        conn = journal.open.get(asking, 0) if rng.random() < 0.8 else 0
        place = Place.SOCKET if conn and rng.random() < 0.4 else rng.choice(PLACES)
        journal.write(
            Kind.REQUEST, t, client=asking, author=owner, counter=number, attempt=int(place),
            proc=rng.choice((1, 1, 2)) | rng.choice((0, 0, CONTROL)), seq=self.before(), conn=conn,
            **self.answer((owner, number) in self.over),
        )  # fmt: skip

    def revoke(self, journal: _Journal, t: int, client: int) -> None:
        owner, number = self.artefact()
        number = 0 if self.rng.random() < 0.3 else number
        self.over |= {(o, n) for o, n in self.issued if o == owner}
        journal.write(Kind.REVOKE, t, client=client, author=owner, counter=number, seq=self.before(), **self.answer())

    def change(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        state = rng.choices((State.PROFILE, State.ACTIVE, State.PERMISSIONS), (8, 4, 1))[0]
        owner = rng.choice((client, rng.randrange(self.clients), NOBODY))
        journal.write(
            Kind.WRITE, t, client=client, author=owner, proc=int(state), digest=rng.randint(1, 4), seq=self.before(),
            **self.answer(),
        )  # fmt: skip

    def see(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        if rng.random() < 0.4 and (conn := journal.open.get(client)):
            journal.write(
                Kind.SEEN, t, client=client, conn=conn, author=client, digest=rng.choice((1, 2, 3)), seq=NONE,
                proc=int(State.PROFILE), attempt=int(Place.SOCKET),
            )  # fmt: skip
            return
        places = (Place.BACKEND, Place.BACKEND, Place.SOCKET, Place.AUTH, *DATABASES, *DATABASES)
        journal.write(
            Kind.SEEN, t, client=NOBODY, author=rng.randrange(self.clients), digest=rng.choice((1, 1, 2, 3)),
            proc=int(rng.choice((State.PROFILE, State.PROFILE, State.ACTIVE))), attempt=int(rng.choice(places)),
            aux=rng.choice((0, 1, 1, 1, 2)), seq=rng.choice((NONE, self.before(), self.before())),
        )  # fmt: skip

    def login(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        journal.write(Kind.LOGIN, t, client=client, counter=rng.choice((200, 200, 503)), aux=rng.randint(0, 9))
        if rng.random() < 0.5:
            stated = rng.choice((client, client, client, rng.randrange(self.clients), -2, NONE))
            journal.write(Kind.IDENTITY, self.tick(), client=client, counter=int(Place.AUTH), aux=stated)

    def fault(self, journal: _Journal, t: int, client: int) -> None:
        rng = self.rng
        journal.write(Kind.FAULT, t, author=FOREIGN + rng.randint(0, 1), flags=rng.choice((0, int(Flag.OWN))))

    def clock_step(self, journal: _Journal, t: int, client: int) -> None:
        """Record a step of the wall clock in a journal; its earliest time is after the journal's step before."""
        begun = max(self.stepped.get(journal.number, 0) + 1, self.before())
        self.stepped[journal.number] = t
        by = self.rng.choice((-80, -20, 20, 80))
        journal.write(Kind.PHASE, t, counter=int(Phase.CLOCK_STEP), seq=min(begun, t), aux=by)

    def talk(self, journal: _Journal, t: int, client: int) -> None:
        """Record a random action of a client: connect and join, end a connection, send or receive a message."""
        rng, conn = self.rng, journal.open.get(client)
        conv = rng.randrange(2)
        if conn is None:
            journal.connections += 1
            journal.open[client] = journal.connections
            journal.write(Kind.CONNECT, t, client=client, conn=journal.connections)
            for each in range(2):
                journal.write(Kind.JOIN, self.tick(), client=client, conn=journal.connections, conv=each)
            return
        place, what = {"client": client, "conn": conn}, rng.random()
        if what < 0.4:
            counter = sum(author == client for author, _ in self.said) + 1
            self.said[client, counter] = conv
            message = self.content(client, counter)
            journal.write(Kind.INVOKE, t, **place, **message)
            if rng.random() < 0.7:
                journal.write(Kind.OK, self.tick(), **place, **message)
        elif what < 0.9 and self.said:
            author, counter = rng.choice(list(self.said)[-6:])
            journal.write(Kind.DELIVER, t, **place, **self.content(author, counter))
        elif what > 0.96:
            del journal.open[client]
            journal.write(Kind.DISCONNECT, t, **place, counter=1000)

    def content(self, author: int, counter: int) -> dict[str, int]:
        conv = self.said[author, counter]
        return {"author": author, "counter": counter, "conv": conv, "attempt": 1, "digest": author, "size": 9}

    def cook(self, steps: int) -> Soup:
        for step in range(steps):
            if step == steps * 3 // 4 and self.rng.random() < 0.7:
                for journal in self.journals:
                    journal.write(Kind.PHASE, self.tick(), counter=int(Phase.DRAIN))
            self.step()
        infos = [
            Info(name=f"journal-{j.number}", records=len(j.rows), footer={"records": len(j.rows)})
            for j in self.journals
        ]
        return Soup(self.roster, self.contract, [j.array() for j in self.journals], infos)


def auth_soup(seed: int, steps: int = 120) -> Soup:
    """Return a random history of about `steps` actions."""
    return _Cook(seed).cook(steps)
