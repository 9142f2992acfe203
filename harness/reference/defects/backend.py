"""The defects of the backend by id, and how each takes its place."""

from __future__ import annotations

from collections.abc import Callable

from harness.reference.backend.app import Backend
from harness.reference.defects import asking, functional, intake, outages, resuming, rooms, storing
from harness.reference.defects import pushes as p
from harness.reference.defects.chance import Chance
from harness.reference.defects.pushes import per_feed, per_listener

DEFECTS: dict[str, Callable[[Backend, Chance], object]] = {
    "Z1": per_listener(p.SwapPushes),
    "Z2": intake.SwapAtIngest,
    "Z3": per_feed(rooms.OwnNumbers),
    "Z4": storing.SkewedClock,
    "Z5": per_listener(p.DropPush),
    "Z6": intake.AckBeforeWrite,
    "Z6b": storing.LoseAfterAck,
    "Z7": storing.LoseTail,
    "Z8": per_listener(p.DuplicatePush),
    "Z9": storing.ForgetfulDedupe,
    "Z10": per_listener(p.GhostPush),
    "Z11": intake.refused_yet_done,
    "Z12": per_listener(p.DamagePush),
    "Z13": intake.nack_then_ack,
    "Z14": per_feed(rooms.BroadcastToAll),
    "Z14b": per_feed(rooms.LeakToOne),
    "Z15": per_feed(rooms.RoomsCollide),
    "Z17": intake.reply_by_user,
    "Z18": intake.MixedUpContext,
    "Z19": intake.SenderFromFrame,
    "Z20": resuming.LaggingHistory,
    "Z21": resuming.AlternatingHistory,
    "Z23": resuming.ForgetfulResume,
    "Z24": resuming.ResumeGap,
    "Z25": resuming.ResumeRepeat,
    "Z26": resuming.ResumeWindow,
    "Z27": per_listener(p.QueueBehindBookmark),
    "Z28": per_listener(p.LateSubscription),
    "Z30": storing.ReuseNumbers,
    "Z31": asking.TerminalTwiceOrNever,
    "Z32": asking.MixedRuns,
    "Z33": per_listener(p.DeadSubscription),
    "Z37": outages.NoDrain,
    "Z38": outages.ReconnectsAreLimited,
    "Z52": outages.FailOpen,
    "Z53": outages.StuckOpen,
    "Z53b": outages.HalfOpenForAll,
    "Z34": per_listener(p.StarveUser),
    **functional.BACKEND,
}
