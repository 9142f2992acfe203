"""Users chat in a room of ten, and sometimes in a room of two.

earwitness run examples/tiny_chat/story.py --headless -u 20 -t 10s --target examples/tiny_chat/chat.toml
"""

from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I2", "I4", "I5b", "I6", "I10", "I12", "I15"), rooms=(2, 10))


class Talker(ChatUser):
    @task(5)
    def chat(self) -> None:
        self.say(self.rooms[1])

    @task(1)
    def whisper(self) -> None:
        self.say(self.rooms[0])
