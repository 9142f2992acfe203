"""Order of messages under concurrent load: the main story.

Every user is in a small, a middle and a large room and chats in all of them, with numbered messages over one socket.
Meanwhile one user sends 1,000 messages within one second. Promised: each sender's messages arrive in order (I1). All
members of a room receive messages in one order (I2) in which a reply follows the message that it answers (I3), without
gaps (I4). A message is acknowledged once (I11), to its sender (I14); then it is stored (I5a) and received by every
member (I5b), once (I6), with one number (I7). No message is received that no user sent (I8), none is changed (I10), no
user receives messages of a room without being a member (I12), and all senders are who they claim to be (I15). The
platform stays responsive and within its memory limits. Some messages are as long as the platform allows, some begin and
end with blanks, some have a client id that others use too, and some go by HTTP between two by socket.
"""

from locust import task

from earwitness import ChatUser, Unusual, story

SMALL, MIDDLE, LARGE = 0, 1, 2

story(
    __file__,
    judged_by="I1 I2 I3 I4 I5a I5b I6 I7 I8 I10 I11 I12 I14 I15 I43".split(),
    rooms=(5, 10, 100),
    opportunities=("size-limit", "long-tail", "blank-ends", "shared-id", "rest-and-socket"),
    thresholds=(
        "probe p99 < 1 s",
        "probe errors <= 0 %",
        *("memory of auth < 300 MB", "memory of backend < 400 MB", "memory of frontend < 200 MB"),
    ),
)


class Member(ChatUser):
    """User who chats: mostly in a small room, sometimes in the large one."""

    unusual = Unusual()

    def on_start(self):
        super().on_start()
        once = (self.number_messages_like_everybody_else, self.tell_a_long_story, self.say_something_by_http_too)
        first = self.number % len(once)
        self.once = [*once[first:], *once[:first]]

    @task(12)
    def chat_with_a_few(self):
        """Chat in a small room.

        First the user sends one unusual message of each kind, so that a short run has them too.
        """
        if self.once:
            self.once.pop(0)()
        else:
            self.say(self.rooms[SMALL])

    @task(6)
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])

    @task(1)
    def chat_with_all(self):
        self.say(self.rooms[LARGE])

    @task(2)
    def look_whether_it_still_answers(self):
        self.probe()

    @task(1)
    def tell_a_long_story(self):
        self.unusual.say_long(self.rooms[SMALL])

    @task(1)
    def number_messages_like_everybody_else(self):
        self.unusual.say_by_shared_id(self.rooms[SMALL])

    @task(1)
    def say_something_by_http_too(self):
        self.unusual.say_by_http(self.rooms[MIDDLE])


class Burster(ChatUser):
    """User who sends 1,000 messages within a second once all users have started, then chats like the others."""

    fixed_count = 1
    burst_done = False

    @task
    def talk(self):
        if not self.burst_done:
            self.burst_done = True
            self.burst(self.rooms[MIDDLE], count=1000, within_s=1.0)
        self.say(self.rooms[SMALL])
