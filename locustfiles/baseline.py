"""Steady load, to compare one state of a platform with another: `earwitness compare A… -- B…`.

Most users chat, some in larger rooms, and some only check whether the platform answers. There is no burst and no fault.
Messages are judged as in other stories (I1, I2, I5a, I5b, I6, I12). With `--arrivals 100/s` the load does not slow down
with a slow platform.
"""

from locust import task

from earwitness import ChatUser, story

SMALL, MIDDLE = 0, 1

story(__file__, judged_by="I1 I2 I5a I5b I6 I12 I43".split(), rooms=(5, 20))


class Talker(ChatUser):
    """User who chats in a small room."""

    weight = 7

    @task
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])


class Speaker(ChatUser):
    """User who chats in a room of middle size."""

    weight = 2

    @task
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])


class Looker(ChatUser):
    """User who only checks whether the platform answers."""

    weight = 1

    @task
    def look_whether_it_answers(self):
        self.probe()
