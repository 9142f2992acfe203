"""Words of the auth and sync planes for the witness: findings, and lines of their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checks.record import CONTROL, NOBODY, Artefact, Flag, Kind, Place, State, Way
from checks.roster import Roster

SENTENCES: dict[tuple[str, str], str] = {
    ("I29", "late"): "{place} accepted {who}'s token {late} ms after its deadline",
    ("I30", "revoked"): "{place} accepted {who}'s token {late} ms after it had been revoked",
    ("I31", "accepted"): "{place} accepted a token of {who} that it had never issued: {forgery}",
    ("I32", "twice"): "{who} used one refresh token twice, and both times got new tokens",
    ("I32", "unpunished"): "{who}'s session goes on, although one of its refresh tokens had been used twice",
    ("I32", "changed"): "{who}'s refreshed token names somebody else, or other permissions, than the one before",
    ("I33", "twice"): "{who} used one {artefact} twice, and both times it was accepted",
    ("I33", "elsewhere"): "{who}'s browser finished a login that another browser had begun",
    ("I34", "outlived"): "{who} heard {message} in {where}, which was said {late} ms after the authority of the"
    " connection had ended",
    ("I41", "missing"): "{user} has an account, but the main database does not know it",
    ("I41", "orphan"): "the main database has an account of {user} that the auth database does not know",
    ("I41", "differs"): "the two databases differ about {user} ({state})",
    ("I41", "stale"): "{place} showed an old {state} of {user}, {late} ms after it had been changed",
    ("I42", "accounts"): "{user} has {rows} accounts",
    ("I42", "names"): "{user} logged in twice and was two different people",
}


def words_of(facts: Mapping[str, int], roster: Roster) -> dict[str, str]:
    """Names instead of the numbers that these facts are."""
    words: dict[str, str] = {}
    if facts.get("client", -1) in range(len(roster.user_of)):
        words["user"] = roster.user_name(roster.user_of[facts["client"]])
    if "place" in facts:
        words["place"] = place_name(facts["place"])
    if "artefact" in facts:
        words["artefact"] = _name(Artefact, facts["artefact"])
    if "state" in facts:
        words["state"] = _name(State, facts["state"])
    if "forgery" in facts:
        names = roster.extra.get("forgeries", ())
        at = facts["forgery"] - 1
        words["forgery"] = str(names[at]).replace("_", " ") if at < len(names) else f"forgery {at + 1}"
    return words


def place_name(number: int) -> str:
    return f"the {_name(Place, number)}" if number != Place.AUTH else "auth"


def line_of(record: Any, kind: Kind) -> str:
    """What such a record says, after who says it; "" for records of other planes."""
    teller = {
        Kind.TOKEN: _token,
        Kind.REQUEST: _request,
        Kind.REVOKE: _revoke,
        Kind.WRITE: _write,
        Kind.SEEN: _seen,
    }.get(kind)
    return teller(record) if teller is not None else ""


def _token(record: Any) -> str:
    what = f"{_name(Artefact, int(record['attempt']))} {int(record['counter'])}"
    return f"forges {what}" if int(record["proc"]) else f"is given {what}"


def _request(record: Any) -> str:
    proc, number = int(record["proc"]), int(record["counter"])
    what = f"artefact {number}" if number else "nothing"
    way = f" by {_name(Way, proc & 63)}" if proc & 63 else ""
    control = ", a valid control," if proc & CONTROL else ""
    return f"presents {what}{control} to {place_name(int(record['attempt']))}{way}: {_answer(record)}"


def _revoke(record: Any) -> str:
    number = int(record["counter"])
    what = f"artefact {number}" if number else f"all that client {int(record['author'])} holds"
    return f"has {what} revoked: {_answer(record)}"


def _write(record: Any) -> str:
    return f"changes the {_name(State, int(record['proc']))} of client {int(record['author'])}: {_answer(record)}"


def _seen(record: Any) -> str:
    value = int(record["aux"])
    told = f" ({value})" if value >= 0 else ""
    who = "the collector sees" if int(record["client"]) == NOBODY else "sees"
    what = f"the {_name(State, int(record['proc']))} of client {int(record['author'])}{told}"
    return f"{who} {what} at {place_name(int(record['attempt']))}"


def _answer(record: Any) -> str:
    flags, status = int(record["flags"]), int(record["size"])
    said = "accepted" if flags & Flag.ACCEPTED else "refused" if flags & Flag.REFUSED else "nobody knows"
    return f"{said} ({status})" if status else said


def _name(words: Any, number: int) -> str:
    try:
        return str(words(number).name).lower().replace("_", " ")
    except ValueError:
        return f"{words.__name__.lower()} {number}"
