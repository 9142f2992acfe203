"""Tasks of a story, without a platform; in a process of their own, because Locust patches the one that imports it."""

from __future__ import annotations

import subprocess
import sys

STORY = """
from types import SimpleNamespace
from locust import task
from earwitness.harness.client.flow import FlowError
from earwitness import ChatUser

class Base(ChatUser):
    abstract = True

    @task(3)
    def asks(self):
        raise FlowError("login", "tokens", detail="status 503")

class Person(Base):
    @task
    def errs(self):
        raise KeyError("a mistake in the story")

person = object.__new__(Person)
person.number, person.part = 7, SimpleNamespace(attained=SimpleNamespace(acted=set()))
person.failed = lambda *told: print("failed", *told)
assert sorted(task.__name__ for task in Person.tasks) == ["asks"] * 3 + ["errs"]
for act in dict.fromkeys(Person.tasks):
    try:
        act(person)
    except KeyError as error:
        print("raised", error)
assert person.part.attained.acted == {7}
"""


def test_a_request_that_fails_is_a_failed_task() -> None:
    """It is counted and no error of the program; a mistake in the story stays one."""
    ran = subprocess.run([sys.executable, "-c", STORY], capture_output=True, text=True, timeout=60, check=True)
    failed, raised = sorted(ran.stdout.splitlines())
    assert failed.startswith("failed TASK asks")
    assert raised == "raised 'a mistake in the story'"


RACE = """
from types import SimpleNamespace
from earwitness import ChatUser, Racing, Tokens
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.load.behaviour import bound

told = []

class Quick(Tokens):
    def log_in_again(self, ttl_s=None):
        self.login = SimpleNamespace(credentials=SimpleNamespace(user_id="an id"))
        self.user.credentials = self.login.credentials

class Person(ChatUser):
    tokens = Quick()
    racing = Racing()

journal = SimpleNamespace(intern=lambda name: name, identity=lambda *said: told.append("the identity"))
target = SimpleNamespace(identity=lambda _: (), parts=Parts(tokens=object()))
person = object.__new__(Person)
person.part = SimpleNamespace(journal=journal, note=lambda kind, *_, **said: told.append(kind.name), target=target)
person.number, person.flow = 0, lambda flow: flow
bound(person)
person.account.log_in()
print(*told, sep="\\n")
"""


def test_who_a_racing_user_is_stands_before_anything_about_it() -> None:
    """Else the judge beside the run, which reads what is there so far, takes them for strangers."""
    ran = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, timeout=60, check=True)
    told = ran.stdout.splitlines()
    assert told.count("IDENTITY") == 3
    assert told.index("the identity") < told.index("IDENTITY")


DEVICE = """
import time
from types import SimpleNamespace
import gevent
from earwitness.checks.history.record import FOREIGN, NOBODY, Flag, Kind, State
from earwitness.harness.client.body import encode
from earwitness.harness.client.flow import HttpRequest, HttpResponse
from earwitness.harness.client.sharing import Edit
from earwitness import ChatUser, Devices
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.load.behaviour import bound

written = []

class Silent(ChatUser):
    abstract = True
    devices = Devices()

    def quietly(self, flow):
        request = next(flow)
        try:
            while True:
                if request.name == "hangs":
                    gevent.sleep(60)
                gevent.sleep(0.05)
                request = flow.send(HttpResponse(200, {}, b"", ""))
        except StopIteration as end:
            return end.value

class Journal:
    def write(self, *slots):
        written.append(slots)

user = object.__new__(Silent)
user.number, user._reconnecting, user._under_way, user.behaviours = 0, None, 0, []
user.credentials = object()
contract = SimpleNamespace(shared_state_s=1.0)
plan = SimpleNamespace(devices=1, tag="tag", numbers={"room": 0})
user.part = SimpleNamespace(journal=Journal(), target=SimpleNamespace(contract=contract, parts=Parts()), plan=plan)
bound(user)
device = user.devices
room = SimpleNamespace(label="room", number=0)
"""

PAGES = (
    DEVICE
    + """
text, _ = encode("tag", 0, 0, 1, 0, 1, "an edit")
changed = []

def two_pages(credentials, room, after):
    yield HttpRequest("GET", "http://here/1", {}, b"", "edits")
    changed.append(time.monotonic_ns())
    yield HttpRequest("GET", "http://here/2", {}, b"", "edits")
    return [Edit(1, 1, 2, text)]

device._sharing = SimpleNamespace(edits_after=two_pages)
device._ask_for_edits(room, 0)
(seen,) = written
assert seen[1] == Kind.SEEN
print(seen[10] < changed[0] < seen[0])
"""
)

HANGS = (
    DEVICE
    + """
def hanging():
    yield HttpRequest("PATCH", "http://here", {}, b"", "hangs")

change = gevent.spawn(device._changed, hanging(), lambda _: -1, state=State.EDIT, of=0, what=1, conv=0, digest=7)
gevent.sleep(0.05)
assert not written
user.stay_away()
(told,) = written
print(Kind(told[1]).name, told[2] & (Flag.ACCEPTED | Flag.REFUSED), told[13])
change.kill()
print(len(written))
"""
)


HOME = (
    DEVICE
    + """
from gevent.event import Event
from earwitness.harness.load.connected import ConnectedUser

opened, resent = [], []

class Socket:
    open_now = True

    def abort(self):
        if self.open_now:
            self.open_now = False
            user._lost()

def opening(user):
    gevent.sleep(0.2)
    user.connection = Socket()
    opened.append(user)

ConnectedUser._open = opening
user.account = SimpleNamespace(opened=lambda status: None)
user.part.over, user.part.draining, user.rooms = Event(), False, ()
user._answered, user.ready, user.connection = Event(), True, Socket()
user._resend = lambda: resent.append(user.online)
user.devices.cutting.cut(0.05)
gevent.sleep(0.1)
user.devices.cutting.cut(1.0)
gevent.sleep(0.4)
print(user.online, len(opened), resent)
gevent.sleep(1.5)
print(user.online, len(opened), resent)
"""
)


def _lines(program: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return ran.stdout.splitlines()


def test_what_comes_in_pages_was_shown_when_the_last_one_came() -> None:
    """An edit that was made between two pages may be on the second."""
    assert _lines(PAGES) == ["True"]


def test_a_change_that_is_not_answered_at_the_end_is_on_record() -> None:
    """As one that may have been made, once: what others were shown of it comes from somewhere."""
    assert _lines(HANGS) == ["WRITE 0 7", "1"]


def test_who_is_cut_while_coming_back_comes_back_later() -> None:
    """By itself, though the connection that was being opened ends as soon as it is open; and not before."""
    assert _lines(HOME) == ["False 1 []", "True 2 [True]"]


RENEWAL = """
import time
from types import SimpleNamespace
import gevent
from gevent.lock import RLock
from earwitness import ChatUser
from earwitness.harness.load.account import Account

said = []

class Slow(Account):
    def log_in(self):
        gevent.sleep(0.2)

class Person(ChatUser):
    abstract = True
    online = True

    def _say(self, *what, **how):
        said.append(what)

    def await_answers(self, *most, **how):
        pass

person = object.__new__(Person)
person.renewing, person.unauthorized, person._under_way, person._reconnecting = RLock(), False, 0, None
person.credentials, person.ready, person.behaviours = SimpleNamespace(expires_at=time.time()), True, []
person.part, person.account = SimpleNamespace(draining=False), Slow(person)
task = gevent.spawn(person.say, "a room")
gevent.sleep(0.1)
person.part.draining = True
print(person.busy)
task.join()
print(type(task.exception).__name__, said)
"""


def test_the_end_of_a_run_waits_for_a_login_and_nothing_is_said_after_it() -> None:
    """Who logs in anew when the end begins: what they had been about to say would be heard by nobody any more."""
    assert _lines(RENEWAL) == ["True", "StopUser []"]


FIRST_SOCKET = """
from earwitness.harness.client.gevent_shell import Refused
from earwitness.harness.client.flow import FlowError
from earwitness import ChatUser

class Person(ChatUser):
    def connect(self):
        raise self.trouble

for trouble in (Refused("", status=503), Refused("", code=1013), Refused("", status=429), Refused("", status=401),
                FlowError("refresh", "tokens"), ConnectionResetError(), Refused("", status=403)):
    person = object.__new__(Person)
    person.trouble, person.failed, person.come_back = trouble, lambda *_: print("told", end=" "), lambda: True
    print(person._first_online(), person.unauthorized)
"""


def test_the_first_socket_is_tried_again_like_every_later_one() -> None:
    """A server that restarts, a budget that is used up, a token that ended on the way; not so a plain no."""
    ran = subprocess.run([sys.executable, "-c", FIRST_SOCKET], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == [
        "told True False", "told True False", "told True False", "told True True", "told True False",
        "told True False", "told False False",
    ]  # fmt: skip


PATIENCE = """
from types import SimpleNamespace
from earwitness import ChatUser, Flooding, Tokens
from earwitness.harness.dialects.parts import Parts
from earwitness.harness.load.behaviour import bound
from earwitness.harness.load.behaviours import flooding

class Asked(Flooding):
    def ask(self, *_):
        granted, refused = SimpleNamespace(status=200), SimpleNamespace(status=429, headers={"retry-after": "1"})
        return [granted] * 40 + [refused] * 5

class Held(Tokens):
    def fresh(self):
        return SimpleNamespace(credentials="a token that holds")

class Person(ChatUser):
    tokens = Held()
    flooding = Asked()

flooding.gevent = SimpleNamespace(sleep=print)
person = object.__new__(Person)
person.await_answers = lambda _: None
for per_s in (20.0, None):
    contract = SimpleNamespace(rate_per_s=per_s)
    person.part = SimpleNamespace(target=SimpleNamespace(contract=contract, parts=Parts(tokens=object())))
    bound(person)
    print(person.flooding.come_back_when_told())
person.credentials = "one that has ended"
print(person.account.valid())
"""


def test_what_a_patient_user_waits_for_and_what_a_room_is_opened_with() -> None:
    """The stated second and what was granted beside the refusal, at the contract's rate; a token that holds."""
    ran = subprocess.run([sys.executable, "-c", PATIENCE], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["3.2", "True", "1.2", "True", "a token that holds"]
