"""Shapes: number of users over the time of a run, from `--shape` or a locustfile, and the limit of a target."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from locust import LoadTestShape, User
from locust.dispatch import UsersDispatcher

from earwitness.harness.errors import SettingsError
from earwitness.harness.planning.arrivals import Shape
from earwitness.harness.progress import say


class ScaledShape(LoadTestShape):
    """Shape of `--shape`, scaled to at most `-u` users and `-t` seconds; both are read when a run begins."""

    abstract = True  # so that Locust does not take it for a shape of the locustfile
    use_common_options = True

    def __init__(self, shape: Shape, options: Namespace) -> None:
        """Store `shape` and the `options` of Locust, which the web UI may change before a run begins."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._shape, self._options = shape, options

    @property
    def peak(self) -> int:
        """Return the highest number of users (`-u`)."""
        return int(self._options.num_users)

    def tick(self) -> tuple[int, float] | None:
        """Implement `LoadTestShape.tick`: return (users, users to start or stop per second), or None at the end."""
        passed_s: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = self._shape.users_at(passed_s, self.peak, float(self._options.run_time))
        return None if users is None else (users, float(self._options.spawn_rate))


def shape_of(options: Namespace) -> ScaledShape | None:
    """Return the shape that the option `--shape` states, None without it.

    Raises SettingsError if its value is wrong, or if the number of users or the duration is missing.
    """
    shape = Shape.parse(options.shape)
    if shape is not None and not (options.run_time and options.num_users):
        raise SettingsError("--shape", ["a shape needs a number of users and a time: -u 100 -t 60s"])
    return None if shape is None else ScaledShape(shape, options)


FORESEEN_S = 24 * 3600
"""Seconds of a shape that are evaluated before the run; what comes later in a longer shape is not."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Highest number of users of a run, and its planned seconds (None: until it is stopped).

    grows  whether a shape decides how many users run, so that more may start later
    """

    users: int
    seconds: float | None
    grows: bool = False


def foreseen_of(shape: LoadTestShape) -> Foreseen:
    """Return the highest number of users of a shape of the locustfile, and how many seconds it lasts.

    `tick` is called for each second of at most a day (FORESEEN_S) before the run, because the plan needs the number
    before the first user starts. The seconds are None for a longer shape. Raises SettingsError if `tick` fails, or if
    it never starts a user.
    """
    try:
        ahead: Any = type(shape)()
        ahead.runner = shape.runner
        users, second = 0, 0
        for second in range(FORESEEN_S + 1):
            ahead.get_run_time = lambda passed_s=float(second): passed_s
            tick = ahead.tick()
            if tick is None:
                break
            users = max(users, int(tick[0]))
    except Exception as error:
        raise SettingsError(
            type(shape).__name__,
            [f"its users cannot be foreseen ({type(error).__name__}: {error}); let tick() follow get_run_time()"],
        ) from error
    if not users:
        raise SettingsError(type(shape).__name__, ["it never starts a user; let tick() return (users, spawn_rate)"])
    return Foreseen(users, float(second) if second < FORESEEN_S else None, grows=True)


def limited_to(most: int, name: str) -> type[UsersDispatcher]:
    """Return a dispatcher class that never runs more than `most` users.

    The web UI, a key pressed in the terminal, or a shape that exceeds its forecast may request more. A run that begins
    with more users is refused earlier (`UnderTest.allow`). `name`: the target's name, for the message.
    """

    class Limited(UsersDispatcher):
        def new_dispatch(
            self, target_user_count: int, spawn_rate: float, user_classes: list[type[User]] | None = None
        ) -> None:
            if target_user_count > most:
                say(f"{name} allows {most} users (max_users), {target_user_count} were asked for; it stays at {most}.")
            super().new_dispatch(min(target_user_count, most), spawn_rate, user_classes)

    return Limited
