"""A steady mix of people, to compare one state of a platform with another: `earwitness compare A B`.

Most talk, some in larger company, some only look whether the platform answers. Nothing else happens: no burst, no
fault. What is said is judged as ever (I1, I2, I5a, I5b, I6, I12). For a load that does not give way to a slow platform:
`--arrivals 100/s`.
"""

from locust import task

from earwitness import ChatUser, story

SMALL, MIDDLE = 0, 1

story(__file__, judged_by="I1 I2 I5a I5b I6 I12 I43".split(), rooms=(5, 20))


class Talker(ChatUser):
    weight = 7

    @task
    def chat_with_a_few(self):
        self.say(self.rooms[SMALL])


class Speaker(ChatUser):
    weight = 2

    @task
    def chat_with_some(self):
        self.say(self.rooms[MIDDLE])


class Looker(ChatUser):
    weight = 1

    @task
    def look_whether_it_answers(self):
        self.probe()
