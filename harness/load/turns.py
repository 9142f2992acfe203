"""Turns of a user: Locust's task loop with steps that cost less than a message."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Any

from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING, DefaultTaskSet

from earwitness.harness.load.pacing import pause

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser


class Turns(DefaultTaskSet):
    """Locust's task loop (`TaskSet.run`) with a shorter one inside, which takes turns as long as each is usual.

    What Locust promises stays: each task of `User.tasks`, which the web UI may change meanwhile, is chosen with the
    same probability; a nested TaskSet is run; a user who pauses can be stopped at once. All that a task may raise
    leaves the inner loop, and Locust's own handles it.
    """

    _user: ChatUser

    def execute_next_task(self) -> None:
        """Run the scheduled task; then pause, choose the next one and run that, until one of them raises something.

        A user without a pause who has waited for an answer since the last one continues at once: meanwhile all others
        had their turn.
        """
        user, queue = self._user, self._task_queue
        while True:
            task = queue.popleft()
            if isinstance(task, type):
                self._run_nested(task)
            else:
                task(user)
            if user._state == LOCUST_STATE_STOPPING:
                raise StopUser
            wait_s = user.wait_time()
            if wait_s > 0 or not user.has_waited:
                user._state = LOCUST_STATE_WAITING
                pause(wait_s)
                if user._state == LOCUST_STATE_STOPPING:
                    raise StopUser
                user._state = LOCUST_STATE_RUNNING
            user.has_waited = False
            if not queue:
                tasks = user.tasks  # equal chances, from the generator that Locust uses
                queue.append(tasks[int(random() * len(tasks))] if tasks else self._none())

    def _run_nested(self, task: type) -> None:
        locusts: Any = super()
        locusts.execute_task(task)

    def _none(self) -> Any:
        """Raise what Locust does without tasks: it says what is missing."""
        locusts: Any = super()
        return locusts.get_next_task()

    def _sleep(self, seconds: float) -> None:
        """Pause where Locust's own loop does, after an error for example."""
        pause(seconds)
