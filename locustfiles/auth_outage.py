"""The auth service dies, hangs, is slow and fails, while users chat.

Promised: all users who are logged in stay logged in. Sessions and tokens continue, and no message is affected (I1, I5a,
I5b, I12). New logins are refused at once with 503 and Retry-After, and afterwards all requests are served again without
intervention (I35). Circuit breakers open, try and close as they promise (I40). During the outage no service accepts a
token that it cannot check (I31).
"""

from locust import task

from earwitness import ChatUser, Visiting, story

SMALL, LARGE = 0, 1

story(
    __file__,
    judged_by="I1 I2 I4 I5a I5b I6 I12 I15 I31 I35 I40".split(),
    rooms=(5, 20),
    faults="kill:auth@1s+5s, pause:auth@10s+5s, delay:frontend/auth@16s+1s=300ms, cut:auth/postgres@18s+1s",
)


class Member(ChatUser):
    """User who chats, and sometimes shows the own token or begins a login; some requests carry a forged token."""

    visiting = Visiting()

    @task(10)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(2)
    def chat_with_some(self):
        self.say(self.rooms[LARGE])

    @task(3)
    def show_that_i_am_in(self):
        self.visiting.show_token()

    @task(3)
    def somebody_wants_to_log_in(self):
        self.visiting.begin_login()

    @task(1)
    def somebody_pretends_to_be_me(self):
        self.visiting.show_forgery()
