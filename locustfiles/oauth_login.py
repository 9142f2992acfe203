"""Logins, under load: a hundred users at once, each on several devices that compete for the first login.

Promised: the callback of a login works once, for the browser that began it, and so does its code (I33). Every person
has one account in the end, although several devices logged in first (I42), and the account is the same in both
databases (I41). No person is taken for another one (I15).
"""

from locust import task

from earwitness import Attacks, ChatUser, Racing, story

story(__file__, judged_by="I5a I5b I12 I15 I33 I41 I42".split(), rooms=(5, 10))


class Newcomer(ChatUser):
    """User who logs in on three devices at once, chats, and logs in again; some abuse a login."""

    attacks = Attacks()
    racing = Racing(devices=3)

    @task(6)
    def chat(self):
        self.say()

    @task(2)
    def log_in_again(self):
        self.racing.log_in_on_all_devices()

    @task(2)
    def go_back_in_the_browser(self):
        self.attacks.reuse_login()

    @task(1)
    def carry_an_old_code(self):
        self.attacks.reuse_code()

    @task(1)
    def follow_a_strangers_link(self):
        self.attacks.finish_anothers_login()
