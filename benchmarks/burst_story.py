"""One user sends 1,000 messages at once to a room of EARWITNESS_BURST_ROOM members, while other users chat."""

import os

from locust import task

from earwitness import ChatUser, story

ROOM = int(os.environ.get("EARWITNESS_BURST_ROOM", "10"))
SMALL, BURSTED = 0, 1

story(__file__, judged_by=("I1", "I2", "I4", "I5a", "I5b", "I6"), rooms=(5, ROOM))


class Member(ChatUser):
    """User who chats in a small room."""

    @task
    def chat(self):
        self.say(self.rooms[SMALL])


class Burster(ChatUser):
    """User who sends 1,000 messages as fast as possible once all users have started, then chats like the others."""

    fixed_count = 1
    burst_done = False

    @task
    def talk(self):
        if not self.burst_done:
            self.burst_done = True
            self.burst(self.rooms[BURSTED], count=1000, within_s=0.001)
        self.say(self.rooms[SMALL])
