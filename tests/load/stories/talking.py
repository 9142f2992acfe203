"""A little talk in whatever rooms there are, and one burst."""

from locust import task

from earwitness import ChatUser, story

story(
    __file__,
    judged_by=("I1", "I2", "I5a", "I5b", "I6", "I8", "I10", "I12", "I15"),
    rooms=(2, 5),
)


class Talker(ChatUser):
    think_s = (0.1, 0.3)

    @task
    def talk(self):
        self.say()


class Burster(Talker):
    fixed_count = 1
    burst_done = False

    @task
    def burst_once(self):
        if not self.burst_done:
            self.burst_done = True
            self.burst(self.rooms[1], count=50, within_s=0.2)
