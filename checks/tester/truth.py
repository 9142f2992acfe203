"""H6: the roster comes from the tester's plan.

A roster that was taken from the platform proves nothing about the platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from earwitness.checks.engine.fold import Described, End
from earwitness.checks.engine.world import World
from earwitness.checks.roster import Origin, Roster
from earwitness.checks.tester.health import Health
from earwitness.checks.verdict import Verdict

DOUBTS: Mapping[str, str] = {
    Origin.LATE: "the roster was stated after records had been written",
    Origin.JOINED: "the members are those who joined, so nothing states who should not have been there",
}
"""Origin of a roster -> the reason for UNKNOWN, for origins by which memberships cannot be judged."""
PLANNED = (Origin.PLAN, Origin.TARGET)
"""Origins of a roster that the tester can make again from the plan."""


class RosterTruth(Health):
    """State of H6: the roster agrees with the plan and the journals, and no two users got the same id.

    It reads these facts of the run: `roster_origin`, an `Origin`; `roster_planned`, the Roster that is made again from
    the run's plan, None if this is not possible; `identities`, (client number, id that the platform gave it) pairs from
    the journals.

    Each process writes the digest of its roster into its journal's meta (`roster`) before its first record. So later
    changes of the roster are found, even if plan and roster were changed together.
    """

    def peek(self, world: World) -> Verdict:
        """Implement `Fold.peek`: always UNKNOWN, because the plan is compared at the end."""
        return self.healthy(0, ["the plan is compared at the end"])

    def finish(self, end: End) -> Verdict:
        """Implement `Fold.finish`: compare the roster with plan, journals and identities; a difference is UNKNOWN."""
        origin = end.facts.get("roster_origin")
        if origin is None:
            return self.healthy(0, ["the run does not state where its roster comes from"])
        identities = tuple(end.facts.get("identities", ()))
        faults = [DOUBTS[origin]] if origin in DOUBTS else []
        if origin in PLANNED:
            faults += self._against_plan(end.facts.get("roster_planned"))
        elif origin not in tuple(Origin):
            faults.append(f"{origin!r} is no origin of a roster")
        faults += self._against_journals(end, origin in PLANNED)
        faults += self._two_people(identities)
        members = sum(len(conversation) for conversation in self.roster.conversations)
        facts = {"origin": str(origin), "memberships": members, "identities": len(identities)}
        return self.healthy(members + len(self.roster.user_of) + len(identities), faults, facts)

    def _against_plan(self, planned: Roster | None) -> list[str]:
        if planned is None:
            return ["the roster cannot be made again, because the run's plan is missing or makes no sense"]
        found = difference(planned, self.roster)
        return [f"the roster is not the one that was planned: {found}"] if found else []

    def _against_journals(self, end: End, needed: bool) -> list[str]:
        stated = [(journal.name, journal.meta["roster"]) for journal in end.journals if "roster" in journal.meta]
        if needed and not stated:
            return ["no journal states by which roster it was recorded"]
        own = self.roster.digest() if stated else ""
        return [f"journal {name} was recorded by another roster than this one" for name, said in stated if said != own]

    def _two_people(self, identities: Iterable[tuple[int, str]]) -> list[str]:
        """Return a list with one sentence if the platform gave one id to several users at their logins, else [].

        The author of a message with such an id is not known. `identities`: (client number, the platform's id).
        """
        users: dict[str, set[int]] = {}
        for client, user_id in identities:
            if 0 <= client < len(self.roster.user_of):
                users.setdefault(user_id, set()).add(self.roster.user_of[client])
        shared = [sorted(found) for found in users.values() if len(found) > 1]
        if not shared:
            return []
        names = " and ".join(self.roster.user_name(user) for user in shared[0][:2])
        return [f"{len(shared)} identities of the platform were given to more than one user ({names})"]


def difference(planned: Roster, found: Roster) -> str:
    """Return the first difference between two rosters in words, "" if there is none."""
    if tuple(planned.user_of) != tuple(found.user_of):
        return f"{len(planned.user_of)} devices were planned, of which it has {len(found.user_of)} or other owners"
    if len(planned.conversations) != len(found.conversations):
        return f"{len(planned.conversations)} conversations were planned, it has {len(found.conversations)}"
    for conv, (own, other) in enumerate(zip(planned.conversations, found.conversations, strict=True)):
        where = planned.conversation_name(conv)
        for user in sorted(set(other) - set(own)):
            return f"{planned.user_name(user)} was not to be a member of {where}"
        for user in sorted(set(own) - set(other)):
            return f"{planned.user_name(user)} was to be a member of {where}"
    names = _first_other(planned.user_names, found.user_names)
    names = names or _first_other(planned.conversation_names, found.conversation_names)
    return f"{names[0]!r} is called {names[1]!r}" if names else ""


def _first_other(planned: Sequence[str], found: Sequence[str]) -> tuple[str, str] | None:
    pairs = zip_longest(planned, found, fillvalue="")
    return next(((own, other) for own, other in pairs if own != other), None)


ROSTER_TRUTH = Described(
    id="H6",
    name="roster-truth",
    title="Is the roster the tester's own?",
    unit="entries of the roster",
    fold=RosterTruth,
)
