"""Everything is replaced once, service by service, while people chat; at last the stores restart.

Promised: a new process takes over before the old one goes. Connections are closed with a code that says why, everybody
is back and served within the contract's bounds, and hardly an answer is an error (I28). Nothing that was acknowledged
is lost (I5a), no number is given twice (I2), nothing is missed (I4, I5b, I20) or done twice (I6, I7).
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
    """Chats, and looks whether the platform still answers."""

    @task(10)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(4)
    def chat_with_some(self):
        self.say(self.rooms[LARGE])

    @task(3)
    def look_whether_it_still_answers(self):
        self.probe()
