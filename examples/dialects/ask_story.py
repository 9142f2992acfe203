"""Users ask an assistant, each in a conversation of their own, and read its streamed answers.

earwitness run examples/dialects/ask_story.py --headless -u 10 -t 12s --target examples/dialects/sse_chat.toml
"""

from locust import task

from earwitness import Asking, ChatUser, story

story(__file__, judged_by=("I8", "I12", "I24", "I43"), rooms=(1,))


class Curious(ChatUser):
    asking = Asking()

    @task(4)
    def ask_and_read(self) -> None:
        self.say()  # the next question follows the whole answer

    @task(1)
    def ask_twice_at_once(self) -> None:
        self.asking.ask(self.rooms[0], 2)
