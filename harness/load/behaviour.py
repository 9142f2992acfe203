"""Behaviours: what users do besides chatting, as objects that a user has.

A user class declares them as class attributes, and each user gets copies of its own:

    class Traveller(ChatUser):
        cutting = Cutting(away_s=(0.0, 2.0))

        @task
        def lose_the_network(self):
            self.cutting.cut()

Any behaviours work together. Behaviours that one needs (`needs`) are added if the class does not declare them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from locust.exception import RescheduleTask

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser
    from earwitness.harness.load.worker import Part

Kind = TypeVar("Kind", bound="Behaviour")


class Unable(RescheduleTask):
    """Exception that ends a task because the target lacks an ability; the user continues with the next task."""


class Behaviour:
    """Base class of all behaviours.

    A subclass overrides the hooks below that it needs; in this class each hook does nothing.

    The user calls the hooks of its behaviours in the order in which its class declares them; a behaviour that another
    one needs comes before it.

    user     user that the behaviour belongs to; set by `bound`
    needs    behaviours that this one uses
    carried  attributes that another user object takes over when it continues as the same person
    """

    needs: ClassVar[tuple[type[Behaviour], ...]] = ()
    carried: ClassVar[tuple[str, ...]] = ()
    user: ChatUser

    @property
    def part(self) -> Part:
        """Return the state of this load process in the current run."""
        return self.user.part

    def bound(self, user: ChatUser) -> Self:
        """Return a copy of this behaviour that belongs to `user`."""
        mine = copy.copy(self)
        mine.user = user
        mine.begin()
        return mine

    def begin(self) -> None:
        """Set up the state of one user (hook). It is called before anything is sent to the platform."""

    def before_connect(self) -> None:
        """Act before each opening of a socket (hook). Raises FlowError if the socket cannot be opened."""

    def after_connect(self) -> None:
        """Act after a socket was opened, while its rooms are being joined (hook)."""

    def listen(self) -> None:
        """Set callbacks of the user's session, which is new or was taken over from an earlier user object (hook)."""

    def before_reconnect(self) -> None:
        """Act once when a reconnection begins, before the first try to connect (hook)."""

    def be_away(self) -> None:
        """Block before each try to connect, for as long as the user is to stay offline (hook)."""

    @property
    def busy(self) -> bool:
        """Return whether the end of the run has to wait for something that this behaviour has in progress (hook)."""
        return False

    def stay_away(self) -> None:
        """Cancel what is in progress, so that nothing of it is recorded later (hook)."""


def declared(kind: type) -> dict[str, Behaviour]:
    """Return the behaviours that a user class declares, by attribute name, those of its bases first."""
    found: dict[str, Behaviour] = {}
    for one in reversed(kind.__mro__):
        for name, value in vars(one).items():
            if isinstance(value, Behaviour):
                found[name] = value
    return found


def bound(user: ChatUser) -> list[Behaviour]:
    """Set copies of a user's declared behaviours as its attributes, and return them.

    Needed behaviours that are not declared are added. Each behaviour comes after those that it needs.
    """
    mine: list[Behaviour] = []
    user.behaviours = mine
    own = declared(type(user))
    for name, one in _in_order(own.items()):
        twin = one.bound(user)
        mine.append(twin)
        if name:
            vars(user)[name] = twin
    return mine


def _in_order(own: Iterable[tuple[str, Behaviour]]) -> list[tuple[str, Behaviour]]:
    """Return (attribute name or "", behaviour) pairs: each behaviour after those that it needs, each class once."""
    waiting, ordered = list(own), list[tuple[str, Behaviour]]()

    def add(name: str, one: Behaviour) -> None:
        for needed in one.needs:
            if not any(isinstance(other, needed) for _, other in ordered):
                own_one = next(((n, o) for n, o in waiting if isinstance(o, needed)), ("", needed()))
                add(*own_one)
        if all(other is not one for _, other in ordered):
            ordered.append((name, one))

    for name, one in waiting:
        add(name, one)
    return ordered


def the(kind: type[Kind], behaviours: Iterable[Behaviour]) -> Kind:
    """Return the behaviour of class `kind`.

    Raises LookupError if there is none, which means that no behaviour lists `kind` in its `needs`.
    """
    for one in behaviours:
        if isinstance(one, kind):
            return one
    raise LookupError(f"no {kind.__name__} among the behaviours of this user")
