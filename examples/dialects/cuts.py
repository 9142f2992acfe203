"""Users who chat on a network that breaks, on platforms without resumption: each new socket begins a new session.

earwitness run examples/dialects/cuts.py --headless -u 10 -t 20s --target examples/dialects/phoenix.toml
"""

from locust import task

from earwitness import ChatUser, Cutting, story

story(__file__, judged_by=("I5b", "I6", "I8", "I10", "I12", "I15"), rooms=(2, 10))


class Traveller(ChatUser):
    cutting = Cutting()

    @task(10)
    def chat(self) -> None:
        self.say(self.rooms[1])

    @task(2)
    def lose_the_network(self) -> None:
        self.cutting.cut()
