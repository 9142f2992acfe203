"""Connections that break repeatedly, even with messages in flight; users come back with the same token.

Every user's socket is cut sometimes: between messages, and while several messages are in flight. A user who comes back
presents the earlier token, asks for missed messages, and resends unanswered ones. Promised: a conversation continues
after the last number that was received (I20), and all later messages arrive, unless the platform states that it cannot
continue from there (I19). No message that was stated to be past comes as new (I21), there is no gap (I4) and no message
comes twice (I6). A message that was sent twice exists once (I7). What was acknowledged is stored (I5a) and received by
every member (I5b), in order (I1, I2), by members only (I12). No other message is received (I8), and all senders are who
they claim to be (I15).
"""

from locust import task

from earwitness import ChatUser, Cutting, story

SMALL, MIDDLE = 0, 1

story(
    __file__,
    judged_by="I1 I2 I4 I5a I5b I6 I7 I8 I12 I15 I19 I20 I21 I43".split(),
    rooms=(5, 20),
    opportunities=("cut-in-mid-send",),
)


class Traveller(ChatUser):
    """User who chats on a network that breaks."""

    cutting = Cutting()

    @task(10)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(5)
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])

    @task(2)
    def lose_the_network_in_mid_send(self):
        self.cutting.say_quickly(self.rooms[SMALL], count=3, cut=True)

    @task(2)
    def lose_it_before_many(self):
        self.cutting.say_quickly(self.rooms[MIDDLE], count=3, cut=True)

    @task(2)
    def lose_the_network(self):
        self.cutting.cut()
