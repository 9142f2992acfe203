"""Users who send several messages at once: does a platform keep the order of each sender?

earwitness run examples/dialects/bursts.py --headless -u 10 -t 10s --target examples/dialects/phoenix.toml
"""

from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I5b", "I6", "I10", "I12"), rooms=(2, 10))


class Hasty(ChatUser):
    @task(3)
    def chat(self) -> None:
        self.say(self.rooms[1])

    @task(2)
    def say_five_at_once(self) -> None:
        self.burst(self.rooms[0], 5, within_s=0.01)
