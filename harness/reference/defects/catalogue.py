"""The list of defects: what each breaks, in a user's words, and which check must catch it. Data, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One defect.

    id, name     both are understood by `--defect`
    service      the service to start with it; "backend" is every replica, "backend-2" shows it on one only
    breaks       what a user would say
    opportunity  what the probability counts
    caught_by    checks of which at least one must fail when it shows; the first is the one that is meant for it
    high, one    probability for many firings in a run of a few seconds with twenty users, and for about one
    needs        what a run must do for the defect to have an opportunity, if it is not ordinary talk
    """

    id: str
    name: str
    breaks: str
    opportunity: str
    caught_by: tuple[str, ...]
    high: float
    one: float
    service: str = "backend"
    needs: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PUSH = "one message for one listener"
MESSAGE = "one message"

CATALOGUE: tuple[Described, ...] = (
    Described(
        id="Z1",
        name="swap-pushes",
        breaks="I read the answer before the question: two messages came in the wrong order.",
        opportunity=PUSH,
        caught_by=("I4", "I1"),
        high=0.005,
        one=0.0002,
    ),
    Described(
        id="Z2",
        name="swap-at-ingest",
        breaks="I wrote two messages quickly, and everybody sees the second one first.",
        opportunity=MESSAGE,
        caught_by=("I1",),
        high=0.1,
        one=0.001,
        needs="several messages of one sender on their way at once",
    ),
    Described(
        id="Z3",
        name="own-numbers",
        service="backend-2",
        breaks="My colleague and I look at the same conversation and see two messages in different orders.",
        opportunity="two messages of a conversation that were stored together",
        caught_by=("I2",),
        high=0.5,
        one=0.02,
    ),
    Described(
        id="Z4",
        name="skewed-clock",
        service="backend-2",
        breaks="My answer stands above the question that I answered.",
        opportunity="one stored message",
        caught_by=("I3", "I2"),
        high=0.1,
        one=0.003,
    ),
    Described(
        id="Z5",
        name="drop-push",
        breaks="A message is there for everybody but me, until I look into the history.",
        opportunity=PUSH,
        caught_by=("I4", "I5b"),
        high=0.005,
        one=0.0002,
    ),
    Described(
        id="Z6",
        name="ack-before-write",
        breaks="My message was marked as sent, but nobody ever got it and it is nowhere.",
        opportunity=MESSAGE,
        caught_by=("I5a",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z6b",
        name="lose-after-ack",
        breaks="Everybody read my message, and the next day it is gone.",
        opportunity="one stored message",
        caught_by=("I5a",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z7",
        name="lose-tail",
        breaks="After a restart of the platform the last messages of some conversations are gone.",
        opportunity="one conversation that is older than the process that serves it",
        caught_by=("I5a", "I23"),
        high=1.0,
        one=0.1,
        needs="a restart of a backend",
    ),
    Described(
        id="Z8",
        name="duplicate-push",
        breaks="I see a message twice.",
        opportunity=PUSH,
        caught_by=("I6",),
        high=0.005,
        one=0.0002,
    ),
    Described(
        id="Z9",
        name="forgetful-dedupe",
        breaks="My connection broke, the app sent my message again, and now it is there twice.",
        opportunity="one retry that another process, or an earlier life of this one, has stored",
        caught_by=("I7",),
        high=1.0,
        one=0.3,
        needs="retries over another replica or after a restart",
    ),
    Described(
        id="Z10",
        name="ghost-push",
        breaks="A message appears that nobody wrote.",
        opportunity=PUSH,
        caught_by=("I8",),
        high=0.005,
        one=0.0002,
    ),
    Described(
        id="Z11",
        name="refused-yet-done",
        breaks="The app told me that my message was refused, but the others can read it.",
        opportunity="one refusal",
        caught_by=("I9",),
        high=1.0,
        one=0.1,
        needs="messages that are refused",
    ),
    Described(
        id="Z12",
        name="damage-push",
        breaks="The end of my message is missing, or it is full of &amp;.",
        opportunity=PUSH,
        caught_by=("I10",),
        high=0.005,
        one=0.0002,
    ),
    Described(
        id="Z13",
        name="nack-then-ack",
        breaks="The app shows my message as failed and as sent.",
        opportunity="one stored message",
        caught_by=("I11",),
        high=0.05,
        one=0.001,
    ),
    Described(
        id="Z14",
        name="broadcast-to-all",
        breaks="I get messages of a conversation that I was never in.",
        opportunity=MESSAGE,
        caught_by=("I12",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z14b",
        name="leak",
        breaks="One stranger got a message of our conversation.",
        opportunity=MESSAGE,
        caught_by=("I12",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z15",
        name="rooms-collide",
        breaks="A message of another company shows up in our conversation.",
        opportunity=MESSAGE,
        caught_by=("I12",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z17",
        name="reply-by-user",
        breaks="I sent from the phone, and the tick appeared on the laptop.",
        opportunity="one answer to a user with two connections",
        caught_by=("I14", "I11"),
        high=0.3,
        one=0.02,
        needs="users with two devices",
    ),
    Described(
        id="Z18",
        name="mixed-up-context",
        breaks="My message is shown under somebody else's name.",
        opportunity="one delivered message",
        caught_by=("I15",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z19",
        name="sender-from-frame",
        breaks="Somebody can write in my name, and the history says that it was me.",
        opportunity=MESSAGE,
        caught_by=("I15",),
        high=0.03,
        one=0.001,
    ),
    Described(
        id="Z20",
        name="lagging-history",
        breaks="I open the conversation, and what was just written is not there.",
        opportunity="one page of a history",
        caught_by=("I16", "I5a"),
        high=1.0,
        one=0.2,
    ),
    Described(
        id="Z21",
        name="alternating-history",
        breaks="Each time I reload, the newest messages come and go.",
        opportunity="every second page of a history",
        caught_by=("I17", "I16", "I5a"),
        high=1.0,
        one=0.3,
    ),
    Described(
        id="Z23",
        name="forgetful-resume",
        breaks="After the connection broke I never got what was written meanwhile, and nothing told me.",
        opportunity="one conversation of a client that comes back and has missed something",
        caught_by=("I19", "I20"),
        high=1.0,
        one=0.1,
        needs="cut connections",
    ),
    Described(
        id="Z24",
        name="resume-gap",
        breaks="After the connection broke one message is missing.",
        opportunity="one conversation of a client that comes back and has missed something",
        caught_by=("I20", "I4"),
        high=1.0,
        one=0.1,
        needs="cut connections",
    ),
    Described(
        id="Z25",
        name="resume-repeat",
        breaks="After the connection broke the last message is there twice.",
        opportunity="one conversation of a client that comes back and has missed something",
        caught_by=("I6",),
        high=1.0,
        one=0.1,
        needs="cut connections",
    ),
    Described(
        id="Z26",
        name="resume-window",
        breaks="After a longer break of the connection the older half of what I missed is not there.",
        opportunity="one conversation of a client that comes back and has missed something",
        caught_by=("I20", "I21", "I4"),
        high=1.0,
        one=0.1,
        needs="cut connections",
    ),
    Described(
        id="Z27",
        name="queue-behind-bookmark",
        breaks="The app says that I have read everything, and then an older message comes in as new.",
        opportunity="one subscription",
        caught_by=("I21", "I6"),
        high=0.3,
        one=0.01,
    ),
    Described(
        id="Z28",
        name="late-subscription",
        breaks="What was written in the moment in which I opened the conversation is missing.",
        opportunity="one subscription",
        caught_by=("I4",),
        high=0.3,
        one=0.01,
    ),
    Described(
        id="Z30",
        name="reuse-numbers",
        breaks="After a restart new messages replace the last ones from before it.",
        opportunity="one conversation that is older than the process that serves it",
        caught_by=("I2", "I23"),
        high=1.0,
        one=0.1,
        needs="a restart of a backend",
    ),
    Described(
        id="Z31",
        name="agent-terminal",
        breaks="The assistant's answer ends twice, or the dots never stop.",
        opportunity="one run of the agent",
        caught_by=("I24",),
        high=0.5,
        one=0.1,
        needs="questions to the agent",
    ),
    Described(
        id="Z32",
        name="agent-mixed-runs",
        breaks="Pieces of another answer appear in the assistant's answer to me.",
        opportunity="one piece of an answer while another is being given in the same conversation",
        caught_by=("I24", "I14"),
        high=0.3,
        one=0.05,
        needs="several questions to the agent at once",
    ),
    Described(
        id="Z33",
        name="dead-subscription",
        breaks="A conversation has been silent for me since noon; everybody else was talking.",
        opportunity=PUSH,
        caught_by=("I5b", "I25"),
        high=0.002,
        one=0.0002,
    ),
    Described(
        id="Z34",
        name="starve-user",
        breaks="I get everything many seconds later than all the others.",
        opportunity="one user",
        caught_by=("I25", "I26"),
        high=0.2,
        one=0.05,
    ),
)

BY_NAME: dict[str, Described] = {key: one for one in CATALOGUE for key in (one.id, one.name)}
