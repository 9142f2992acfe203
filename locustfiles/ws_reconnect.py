"""Connections that break, again and again, also with messages on their way; back with the same token.

Everybody's socket is cut now and then: between messages, and in mid-send, several messages deep. Whoever comes back
shows the token of before, asks for what they missed, and sends again what was never answered. Promised: a
conversation goes on behind the last number that was heard (I20), and all of it comes, unless the platform says that it
cannot go on from there (I19); nothing that was said to be past comes as new (I21), there is no gap (I4) and nothing
comes twice (I6). A message that was sent twice is there once (I7); what was acknowledged is stored (I5a) and heard by
everybody (I5b), in order (I1, I2), by nobody else (I12); nothing else is heard (I8), and everybody is who they are
(I15).
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
    """Chats on a bad network."""

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
