"""The whole journey of new and returning users: login, room, message, streamed answer, logout, and back again.

All users arrive as new people, are the same person in both databases (I15), open rooms, chat, ask the agent and read.
Repeatedly they log out, stay away, and come back: to their one account (I42), as the same person, to conversations that
continue where the user left (I20) and show what the user had written (I16). Also promised: an answer of the agent
arrives once, in order and complete, and two simultaneous answers do not mix (I24). A refreshed token belongs to the
same person (I15, I32). Messages are stored (I5a) and received (I5b) once (I6), by members only (I12).
"""

from locust import task

from earwitness import Asking, ChatUser, Reading, Returning, Tokens, Unusual, story

SMALL, MIDDLE = 0, 1

story(
    __file__,
    judged_by="I1 I5a I5b I6 I8 I12 I15 I16 I20 I24 I32 I42 I43".split(),
    rooms=(5, 10),
    opportunities=("agent-two-rooms", "agent-two-people", "frontend-identity", "rest-and-socket"),
)


class Person(ChatUser):
    """User who chats, asks the agent, reads histories, leaves and comes back."""

    asking = Asking()
    reading = Reading()
    tokens = Tokens()
    returning = Returning()
    unusual = Unusual()

    @task(8)
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])

    @task(4)
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])

    @task(2)
    def ask_the_agent(self):
        self.asking.ask(self.rooms[SMALL])

    @task(1)
    def ask_two_things_at_once(self):
        self.asking.ask(self.rooms[SMALL], count=2)

    @task(2)
    def ask_in_two_rooms_at_once(self):
        self.asking.ask_in_all_rooms(self.rooms)

    @task(1)
    def ask_again_who_i_am(self):
        self.ask_who_i_am()

    @task(1)
    def say_something_by_http_too(self):
        self.unusual.say_by_http(self.rooms[SMALL])

    @task(2)
    def look_back(self):
        self.reading.read(self.rng.choice(self.rooms))

    @task(1)
    def keep_the_login(self):
        self.tokens.refresh()

    @task(2)
    def come_back_another_time(self):
        self.returning.leave_and_return()
        self.reading.read(self.rooms[SMALL])
