"""Users who do everything that there is, one after the other."""

from locust import task

from earwitness import (
    Accounts,
    Asking,
    Attacks,
    ChatUser,
    Cutting,
    Devices,
    Leaving,
    Racing,
    Reading,
    Removing,
    Returning,
    Tokens,
    Unusual,
    Visiting,
    story,
)

story(__file__, judged_by=("I5b",), rooms=(4,), devices=2)


class Everything(ChatUser):
    think_s = (0.02, 0.1)
    accounts = Accounts()
    asking = Asking()
    attacks = Attacks()
    cutting = Cutting()
    devices = Devices()
    leaving = Leaving()
    racing = Racing(devices=2)
    reading = Reading()
    removing = Removing()
    returning = Returning(absent_s=(0.1, 0.3))
    tokens = Tokens()
    unusual = Unusual()
    visiting = Visiting()

    def on_start(self):
        super().on_start()
        self.turn = self.number

    @task(3)
    def chat(self):
        self.say()

    @task
    def next_thing(self):
        room = self.rooms[0]
        things = (
            self.put_somebody_out,  # first: the first member of the room does it at once
            lambda: self.tokens.present_everywhere(),
            lambda: self.reading.read(room),
            lambda: self.asking.ask(room),
            lambda: self.devices.mark_read(room),
            lambda: self.devices.edit(room),
            lambda: self.attacks.forge(),
            lambda: self.cutting.say_quickly(room, 2, cut=True),
            lambda: self.leaving.log_out(),
            lambda: self.accounts.rename(),
            lambda: self.accounts.look_at_the_copy(),
            lambda: self.racing.log_in_on_all_devices(),
            lambda: self.returning.leave_and_return(),
            lambda: self.unusual.say_long(room),
            lambda: self.unusual.say_by_http(room),
            lambda: self.visiting.show_token(),
        )
        things[self.turn % len(things)]()
        self.turn += 1

    def put_somebody_out(self):
        room = self.rooms[0]
        first, *others = room.members
        if first is self.person and others and self.removing.put_out(room, others[-1]):
            self.removing.take_in(room)
