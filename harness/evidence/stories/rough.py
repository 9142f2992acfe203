"""Story `rough`, in which much goes wrong on purpose.

Connections are cut, messages are sent again, users send to conversations of others, members are removed and invited
again, histories are read, the agent is asked, and a backend is restarted. The matrix runs it also without a defect: no
check may fail then.
"""

from __future__ import annotations

from locust import task

from earwitness import Asking, ChatUser, Cutting, Reading, Removing, story
from earwitness.harness.platform.launch import offered

# Not by I25: in a run of a few seconds no user is connected for as long as the platform may take to deliver.
JUDGED_BY = "I1 I2 I3 I4 I5a I5b I6 I7 I8 I9 I10 I11 I12 I13 I14 I15 I16 I17 I19 I20 I21 I24 I43"
SMALL = 0
BEFORE_RESTART = 15
story(
    __file__,
    judged_by=JUDGED_BY.split(),
    rooms=(4, 16),
    opportunities=("cut-in-mid-send", "removal-among-messages"),
)


class Rough(ChatUser):
    """User of the story `rough`.

    After reconnecting, two thirds of the users resend messages that were not answered. The others never resend.
    """

    cutting = Cutting()
    reading = Reading()
    removing = Removing()
    asking = Asking()
    think_s = (0.02, 0.2)
    restarted = False

    @task(10)
    def talk(self) -> None:
        """Send a message. The first user also restarts a backend once."""
        self.say()
        if self.number == 0 and self.session.counter >= BEFORE_RESTART and not self.restarted:
            self.restarted = True
            self.restart_a_backend()

    @task(6)
    def talk_quickly(self) -> None:
        """Send four messages before their answers arrive."""
        self.cutting.say_quickly(self.rooms[SMALL], 4)

    @task(2)
    def talk_and_lose_the_connection(self) -> None:
        """Send two messages, and abort the connection before the answers arrive."""
        self.cutting.say_quickly(self.rooms[SMALL], 2, cut=True)

    @task(1)
    def knock(self) -> None:
        """Send a message to a conversation of which the user is no member; the platform must refuse it."""
        others = [room for room in self.part.plan.rooms if room not in self.rooms]
        if others:
            self.say(self.rng.choice(others))

    @task(3)
    def look_what_is_there(self) -> None:
        """Read the history of a conversation."""
        self.reading.read(self.rng.choice(self.rooms))

    @task(1)
    def ask_the_agent(self) -> None:
        """Ask the agent two questions at once."""
        self.asking.ask(self.rooms[SMALL], 2)

    @task(2)
    def put_somebody_out(self) -> None:
        """Remove a member, send two messages, and invite the member again.

        Only the first member does this: two members who remove each other could not invite each other again.
        """
        room = self.rooms[SMALL]
        first, *others = room.members
        if first is self.person and others:
            self.removing.put_out(room, self.rng.choice(others))
            self.cutting.say_quickly(room, 2)
            self.removing.take_in(room)

    def restart_a_backend(self) -> None:
        """Restart a random backend, gracefully or by SIGKILL.

        `talk` calls it once a run, for the first user, after enough messages for some to be lost. Nothing happens
        unless a reference platform is running.
        """
        platform = offered()
        if platform is not None:
            platform.control.restart(self.rng.choice(("backend-1", "backend-2")), graceful=self.rng.random() < 0.5)

    def _resend(self) -> None:
        if self.number % 3:
            super()._resend()
