"""Users go and come back while others talk."""

from locust import LoadTestShape, task

from earwitness import ChatUser, story

story(__file__, judged_by=("I1", "I4", "I5a", "I5b", "I6"), rooms=(5,))


class Talker(ChatUser):
    think_s = (0.05, 0.1)

    @task
    def talk(self):
        self.say()


class Tide(LoadTestShape):
    use_common_options = True

    def tick(self):
        passed_s = self.get_run_time()
        return None if passed_s > 14 else (4 if 5 <= passed_s < 9 else 10, 20)
