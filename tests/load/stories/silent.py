"""Everybody connects and nobody ever says a word."""

from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I5b"), rooms=(5,))


class Mute(ChatUser):
    @task
    def keep_silent(self):
        self.probe()
