"""Accounts, under load: people sign up, rename themselves, are banned and come back, and look at what is shown.

Promised: a change at auth shows at the backend within the bound of the sync; in the end both databases have the same
accounts with the same data, none of them alone (I41), also when Redis, a database or the backend was away meanwhile
(`--faults`). A ban takes all that was held (I30), live sockets too (I34). Messages are untouched (I5a, I5b).
"""

from locust import task

from harness.load import AccountUser, story

story(__file__, judged_by="I5a I5b I30 I34 I41".split(), rooms=(5,))


class Person(AccountUser):
    """Chats, takes another name now and then, looks whether it has arrived; is banned, and comes back."""

    @task(8)
    def chat(self):
        self.say()

    @task(2)
    def take_another_name(self):
        self.rename()

    @task(4)
    def look_whether_it_arrived(self):
        self.look_at_the_copy()

    @task(1)
    def be_banned_for_a_while(self):
        self.be_banned()
