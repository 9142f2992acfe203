"""A story with every kind of mistake: in a task, on_start, on_stop, a greenlet, a listener, and in its own requests."""

import gevent
import locust
from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1",), rooms=(3,))


class Talker(ChatUser):
    think_s = (0.1, 0.3)

    @task
    def talk(self):
        self.say(self.rooms[0])


class Misspelt(Talker):
    @task
    def talk(self):
        self.sya(self.rooms[0])


class NeverStarts(Talker):
    def on_start(self):
        super().on_start()
        raise KeyError("no such account")


class StopsBadly(Talker):
    def on_stop(self):
        super().on_stop()
        raise OSError("the file is closed")


class Spawns(Talker):
    @task
    def talk(self):
        gevent.spawn(self.later).join()

    def later(self):
        raise ZeroDivisionError("in a greenlet")


class Asks(Talker):
    @task
    def talk(self):
        failed = {"response_time": 1, "response_length": 0, "context": {}}
        self.environment.events.request.fire(request_type="GET", name="own", exception=None, **failed)
        self.environment.events.request.fire(request_type="GET", name="own", exception=OSError("HTTP 500"), **failed)


@locust.events.spawning_complete.add_listener
def on_spawning_complete(**_):
    raise LookupError("in a listener")
