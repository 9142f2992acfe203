"""The same load for a long time, `-t 20m` or longer, to find what grows slowly.

A steady mix: most users chat, some in larger rooms, some check whether the platform answers. Messages are judged as in
other stories (I1, I2, I4, I5a, I5b, I6, I12), and memory stays below its limits. In runs of two minutes or more the
figures show the drift of memory and latencies: their slope per hour with its interval, measured after the first fifth
of the run.
"""

from locust import task

from earwitness import ChatUser, story

SMALL, MIDDLE = 0, 1

story(
    __file__,
    judged_by="I1 I2 I4 I5a I5b I6 I12 I43".split(),
    rooms=(5, 20),
    thresholds=("memory of auth < 300 MB", "memory of backend < 400 MB", "memory of frontend < 200 MB"),
)


class Talker(ChatUser):
    """User who chats, mostly in a small room."""

    weight = 9
    think_s = (1.0, 3.0)

    @task(4)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(1)
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])


class Looker(ChatUser):
    """User who only checks whether the platform answers."""

    weight = 1
    think_s = (1.0, 3.0)

    @task
    def look_whether_it_answers(self):
        self.probe()
