"""Some lose their connection after their first message, and are on the way back when the run is drained."""

import gevent
from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I4", "I5b"), rooms=(5,))
AWAY_S = 0.5


class Talker(ChatUser):
    think_s = (0.01, 0.05)
    lost = False

    @task
    def talk(self):
        self.say()
        if self.number % 5 == 1 and not self.lost:
            self.lost = True
            self.connection.abort()

    def connect(self):
        if self.lost:
            while not self.part.draining:
                gevent.sleep(0.02)
            gevent.sleep(AWAY_S)
        super().connect()
