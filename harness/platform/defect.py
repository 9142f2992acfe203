"""One defect of the reference platform, as programs that do not import it know it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Power = Literal["high", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Catalogue entry of a defect.

    id, name     both are understood by `--defect`
    service      the service to start with it; "backend" is every replica, "backend-2" shows it on one only
    breaks       what a user would say
    opportunity  what the probability counts
    caught_by    checks of which at least one must fail when it shows; the first is the one that is meant for it
    high, one    probability for many firings in a run of a few seconds with twenty users, and for about one
    needs        what a run must do for the defect to have an opportunity, if it is not ordinary talk
    story        the load story that gives it its opportunities
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
        """Return what the platform calls it: `Z9` also for `Z9@ws_reconnect`, the same defect in another story."""
        return self.id.partition("@")[0]

    def probability(self, power: Power) -> float:
        """Return the probability for each opportunity."""
        return self.high if power == "high" else self.one

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Defect:
        """Return the defect that `to_dict` described."""
        return cls(**{**data, "caught_by": tuple(data["caught_by"]), "also": tuple(data["also"])})
