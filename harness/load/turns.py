"""Task loop of a user that takes less CPU time for each task than Locust's own loop."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Any

from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING, DefaultTaskSet

from earwitness.harness.load.pacing import pause

if TYPE_CHECKING:
    from earwitness.harness.load.users import ChatUser


class Turns(DefaultTaskSet):
    """Locust's task loop (`TaskSet.run`) with a faster inner loop, which runs tasks until one raises an exception.

    Locust's behaviour stays: each task of `User.tasks`, which the web UI may change meanwhile, is chosen with the same
    probability; a nested TaskSet is run; a user in a pause can be stopped at once. Every exception of a task leaves the
    inner loop and is handled by Locust's loop.
    """

    _user: ChatUser

    def execute_next_task(self) -> None:
        """Run the scheduled task, pause, choose the next task and run that, until one of them raises an exception.

        A user whose pause is 0 continues at once if it has waited for an answer since its last pause: meanwhile all
        other users could run. Otherwise the user lets them run first.
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
        """Raise Locust's exception for a user without tasks, which states what is missing."""
        locusts: Any = super()
        return locusts.get_next_task()

    def _sleep(self, seconds: float) -> None:
        """Pause for `seconds`, where Locust's own loop pauses, such as after an error."""
        pause(seconds)
