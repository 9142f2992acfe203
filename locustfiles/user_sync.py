"""Accounts, under load: users sign up, rename themselves, are banned and come back, and read their profile.

Promised: a change at the auth service shows at the backend within the bound of the contract. In the end both databases
have the same accounts with the same data, and no account is in one of them only (I41), even if Redis has lost its data
meanwhile, or (`--faults`) a database or the backend was away. A ban ends all tokens on all devices (I30), and live
sockets too (I34). Messages are not affected (I5a, I5b).
"""

from locust import task

from earwitness import Accounts, ChatUser, Removing, story

DEVICES, FORGETTING_S, OUT_S = 2, 9.0, 3.0

story(
    __file__,
    judged_by="I5a I5b I30 I34 I41".split(),
    rooms=(5, 10),
    devices=DEVICES,
    faults=f"wipe:redis@{FORGETTING_S}s",
    opportunities=(
        "rename-after-removal",
        "removal-among-messages",
        "ban-several-devices",
        "redis-without-file",
        "frontend-identity",
    ),
)


class Person(ChatUser):
    """User on two devices who chats, changes the name, reads the profile, is removed or banned, and returns."""

    accounts = Accounts()
    removing = Removing()

    @task(8)
    def chat(self):
        """Chat; a user who was removed from a conversation changes their name instead."""
        if self.session.outside:
            self.accounts.rename()
        else:
            self.say()

    @task(2)
    def take_another_name(self):
        self.accounts.rename()

    @task(4)
    def look_whether_it_arrived(self):
        self.accounts.look_at_the_copy()

    @task(1)
    def ask_again_who_i_am(self):
        self.ask_who_i_am()

    @task(1)
    def be_banned_for_a_while(self):
        self.accounts.be_banned()

    @task(1)
    def put_somebody_out_for_a_while(self):
        """Remove a member for a while, as the first member of a conversation.

        Other members remove nobody, because two members who removed each other could not invite anybody again.
        """
        room = self.rooms[0]
        first, *others = room.members
        if first is self.person and others and self.removing.put_out(room, self.rng.choice(others)):
            self.part.over.wait(OUT_S)  # meanwhile the removed member changes their name
            self.removing.take_in(room)
