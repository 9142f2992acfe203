"""Every service is replaced once, one after the other, while users chat; at the end provider and databases restart.

Promised: a new process takes over before the old one ends. Connections are closed with a code that states the reason,
all users are back and served within the contract's bounds, and the share of answers with an error is small (I28). No
acknowledged message is lost (I5a), no number is given twice (I2), no message is missed (I4, I5b, I20) or repeated (I6,
I7).
"""

from locust import task

from earwitness import ChatUser, story

SMALL, LARGE = 0, 1

story(
    __file__,
    judged_by="I1 I2 I4 I5a I5b I6 I7 I12 I15 I20 I28".split(),
    rooms=(5, 20),
    faults="replace:backend-1@1s, replace:backend-2@5s, replace:auth@9s, replace:frontend@11s, restart:provider@13s, "
    "restart:redis@15s, restart:database@17s",
)


class Member(ChatUser):
    """User who chats, and checks whether the platform still answers."""

    @task(10)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(4)
    def chat_with_some(self):
        self.say(self.rooms[LARGE])

    @task(3)
    def look_whether_it_still_answers(self):
        self.probe()
