"""Users in rooms of ten chat without a pause, as fast as the reference platform answers."""

from locust import task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I2", "I4", "I5a", "I5b", "I6", "I10", "I12"), rooms=(10,))


class Chatter(ChatUser):
    """User who sends the next message as soon as the message before is answered."""

    think_s = (0.0, 0.0)

    @task
    def chat(self):
        self.say(self.rooms[0])
