"""Behaviour `Removing`: removals of members from conversations, and invitations that bring them back."""

from __future__ import annotations

from functools import cached_property

from earwitness.checks.history.record import Kind
from earwitness.harness.client.flow import FlowError
from earwitness.harness.dialects.protocol import Person, Room
from earwitness.harness.load.behaviour import Behaviour


class Removing(Behaviour):
    """Behaviour that removes members from conversations and invites them again, for check I13.

    Methods for tasks: `put_out`, `take_in`.

    On a target without `harness.dialects.parts.RemovesMembers` no member is removed, and that check is not exercised.
    """

    def begin(self) -> None:
        """Implement `Behaviour.begin`: start with no member removed."""
        self._removed_from: Room | None = None

    def put_out(self, room: Room, person: Person) -> bool:
        """Remove a member; return whether the platform confirmed it.

        A confirmed removal is recorded for each of the member's devices. Returns False if the platform refused (the
        user is no member, for example), if no answer came, or if the target cannot remove members.
        """
        self.user.begin_action()
        removes = self.part.target.parts.removes_members
        if removes is None:
            return False
        try:
            self.user.flow(removes.remove_member(self.user.own_credentials(), room, person))
        except FlowError:
            return False
        for client in self._devices.get(person.number, ()):
            self.part.note(Kind.KICK, client, conv=room.number)
        self._removed_from = room
        return True

    def take_in(self, room: Room) -> None:
        """Invite all planned members of the room again. A failure is only counted in Locust's statistics."""
        try:
            self.user.flow(self.part.target.open_room(self.user.own_credentials(), room))
        except FlowError as error:
            self.user.failed("PUT", "invite again", error)
            return
        if self._removed_from is room:
            self._removed_from = None
            self.part.occurred["removal-among-messages"] += 1

    @cached_property
    def _devices(self) -> dict[int, list[int]]:
        """Return the client numbers of all devices of each user, by user number."""
        devices: dict[int, list[int]] = {}
        for client, user in enumerate(self.part.plan.roster().user_of):
            devices.setdefault(user, []).append(client)
        return devices
