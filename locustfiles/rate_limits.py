"""Abuse of rate limits among ordinary users: floods, false addresses, Retry-After obeyed and not, a permitted burst.

Every user has a budget of 1,000 requests and messages at once and 20 per second, over all services and connections.
Promised: no user gets more (I36). No user with budget left is refused, neither other users nor a user who sends 1,000
messages in a second (I37). A refusal states truthfully when to come back (I38). Other addresses, connections and tokens
do not increase a budget (I39). Meanwhile no message is lost (I1, I5a, I5b) and no user is starved (I26); the figures
show the effect on other users.
"""

from locust import task

from earwitness import ChatUser, Flooding, story

BUDGET = {"rate_per_s": 20, "rate_burst": 1000}
CALM_S, SMALL, MIDDLE = 5.0, 0, 1

story(
    __file__,
    judged_by="I1 I5a I5b I26 I36 I37 I38 I39".split(),
    rooms=(5, 20),
    platform={"auth": BUDGET, "backend": {**BUDGET, "abuse_nacks": 200}},
)


class Member(ChatUser):
    """User who chats within the budget."""

    @task
    def chat(self):
        self.say(self.rooms[self.rng.choice((SMALL, MIDDLE))])


class Abuser(ChatUser):
    """User who floods until the socket is closed, sends requests with false addresses, reconnects and floods again."""

    flooding = Flooding()
    fixed_count = 2

    @task
    def abuse(self):
        self.flooding.wait_until(CALM_S + 3)
        self.flooding.flood(self.rooms[SMALL], count=1300)
        self.flooding.ask_in_disguise()


class Patient(ChatUser):
    """User who uses up the budget, and returns when the refusals state."""

    flooding = Flooding()
    fixed_count = 2

    @task
    def use_it_up_and_come_back_when_told(self):
        self.flooding.wait_until(CALM_S)
        if not self.session.refused:
            self.flooding.flood(self.rooms[SMALL], count=1100)
        self.flooding.come_back_when_told()


class Burster(ChatUser):
    """User who sends 1,000 messages in a second, which the budget allows, each time when the budget is full again."""

    flooding = Flooding()
    fixed_count = 1
    think_s = (50.0, 55.0)  # until the budget is whole again

    @task
    def burst_within_the_budget(self):
        self.flooding.wait_until(CALM_S + 5)
        self.burst(self.rooms[SMALL], count=1000, within_s=1.0)
