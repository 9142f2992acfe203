"""The lifetime of a token, under load: presented everywhere, expired, refreshed, revoked, forged.

All users chat with access tokens that live for some seconds; sockets open and end with them. Promised: no service
accepts a token after its deadline (I29), a revoked one after the bound (I30), or one that was never issued (I31), while
valid controls are accepted. A refresh token is good for one refresh, even when two requests use it at once; its reuse
ends the session (I32). States, codes and tickets work once (I33). No message is received on a socket whose token has
ended (I34). A new signing key disconnects no user: it is rotated once early in every run, and later at random.
Meanwhile no message is lost, repeated or reordered (I1, I5a, I5b, I6).
"""

from locust import task

from earwitness import Attacks, ChatUser, Leaving, Tokens, story

SMALL, MIDDLE = 0, 1

ROTATION_S = 3.0

story(
    __file__,
    judged_by="I1 I5a I5b I6 I29 I30 I31 I32 I33 I34".split(),
    rooms=(5, 20),
    opportunities=("rotation-old-tokens",),
)


class Holder(ChatUser):
    """User who chats and presents tokens, and sometimes abuses them."""

    tokens = Tokens(ttl_s=4.0)
    leaving = Leaving()
    attacks = Attacks()

    def on_start(self):
        super().on_start()
        if self.ready and self.number == 0:
            self.tokens.rotate_keys_in_time(ROTATION_S)

    @task(8)
    def chat(self):
        self.say(self.rooms[self.rng.choice((SMALL, MIDDLE))])

    @task(2)
    def show_the_token(self):
        self.tokens.present()

    @task(2)
    def show_it_everywhere(self):
        self.tokens.present_everywhere()

    @task(4)
    def show_an_old_token(self):
        self.tokens.present_expired()

    @task(2)
    def forge_tokens(self):
        self.attacks.forge()

    @task(4)
    def leave_and_return(self):
        self.leaving.log_out()

    @task(6)
    def use_something_twice(self):
        own = self.attacks
        act = (own.refresh_at_once, own.reuse_refresh_token, own.reuse_ticket)
        self.rng.choice((*act, own.reuse_login, own.reuse_code, own.finish_anothers_login))()

    @task(1)
    def rotate(self):
        if self.number == 0:
            self.tokens.rotate_keys()
