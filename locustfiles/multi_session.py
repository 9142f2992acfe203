"""Every person has five devices, like five tabs of a browser, and some persons go offline and come back.

Each tab chats in its own conversation and receives all five. Answers come to the tab that asked (I14). Tabs edit one
message at the same time, and move the same read marks, some of them back. A tab that asks afterwards is shown the last
change (I18), and in the end all tabs of a person show the same (I22), even those that were offline. A person with one
closed tab stays online; a person without any tab is soon shown as offline, even if a replica has died with some of the
tabs (I27). Meanwhile messages are stored (I5a) and received on every tab (I5b) once (I6), in order (I1), by members
only (I12), from their true senders (I15).
"""

from locust import task

from earwitness import ChatUser, Cutting, Devices, story

TABS, LEAVE_S, AWAY_S = 5, 4.0, 13.0

story(
    __file__,
    judged_by="I1 I5a I5b I6 I12 I14 I15 I18 I22 I27 I43".split(),
    rooms=(2, 3, 4, 5, 6),
    devices=TABS,
    faults="kill:backend-1@2s+1s",
)


class Tab(ChatUser):
    """One of five tabs of a person. Every second person goes offline once with all tabs."""

    cutting = Cutting()
    devices = Devices()

    def on_start(self):
        super().on_start()
        if self.ready and self.person.number % 2:
            self.devices.go_home(after_s=LEAVE_S, away_s=AWAY_S)

    @task(8)
    def talk(self):
        self.say(self.rooms[self.devices.tab])

    @task(4)
    def read(self):
        self.devices.mark_read(self.rng.choice(self.rooms), behind=self.rng.choice((0, 0, 2)))

    @task(4)
    def write_it_better(self):
        self.devices.edit(self.rng.choice(self.rooms), careful=self.rng.random() < 0.3)

    @task(3)
    def look_at_what_was_edited(self):
        self.devices.look_at_edits(self.rng.choice(self.rooms))

    @task(2)
    def look_at_what_was_read(self):
        self.devices.look_at_marks()

    @task(1)
    def close_the_tab_for_a_moment(self):
        self.cutting.cut(away_s=self.rng.uniform(0.2, 2.0))
