"""Accounts, under load: people sign up, rename themselves, and look at what the services show of them.

Promised: a change at auth shows at the backend within the bound of the sync; in the end both databases have the same
accounts with the same data, none of them alone (I41), also when Redis, a database or the backend was away meanwhile
(`--faults`). Messages are untouched (I5a, I5b).
"""

from locust import task

from harness.load import AccountUser, story

story(__file__, judged_by="I5a I5b I41".split(), rooms=(5,))


class Person(AccountUser):
    """Chats, takes another name now and then, and looks whether it has arrived."""

    @task(4)
    def chat(self):
        self.say()

    @task(1)
    def take_another_name(self):
        self.rename()

    @task(4)
    def look_whether_it_arrived(self):
        self.look_at_the_copy()
