"""Catalogue entry of a defect, for programs that do not import the reference platform."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Power = Literal["high", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Catalogue entry of a defect.

    id, name     `--defect` accepts both
    service      the service to start with the defect; "backend" means every replica, "backend-2" only that one
    breaks       what goes wrong, in a user's words
    opportunity  event at which the defect fires with its probability
    caught_by    ids of checks, of which at least one must fail when it fires; the first one is designed for the defect
    high, one    probabilities: for many firings in a run of a few seconds with twenty users, and for about one firing
    needs        what a run must do for the defect to have an opportunity, "" if ordinary chatting is enough
    story        the load story that creates its opportunities
    also         other load stories in which its checks must find it
    """

    id: str
    name: str
    breaks: str
    opportunity: str
    caught_by: tuple[str, ...]
    high: float
    one: float
    service: str = "backend"
    needs: str = ""
    story: str = "rough"
    also: tuple[str, ...] = ()

    @property
    def order(self) -> str:
        """Return the id with which services are started, without the story: `Z9` for `Z9@ws_reconnect`."""
        return self.id.partition("@")[0]

    def probability(self, power: Power) -> float:
        """Return the probability with which the defect fires at each opportunity."""
        return self.high if power == "high" else self.one

    def to_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Defect:
        """Return the defect from the result of `to_dict`."""
        return cls(**{**data, "caught_by": tuple(data["caught_by"]), "also": tuple(data["also"])})
