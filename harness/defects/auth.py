"""The defects of the auth service by id, and how each takes its place."""

from __future__ import annotations

from collections.abc import Callable

from earwitness.harness.defects import functional, limits, logging_in, refreshing, syncing, tokens
from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.auth.service import Auth

DEFECTS: dict[str, Callable[[Auth, Chance], object]] = {
    "Z39": tokens.ExpiredAccepted,
    "Z40": tokens.CachedRevocation,
    "Z41": tokens.OwnRevocations,
    "Z42": tokens.UnsignedAccepted,
    "Z43": tokens.AnyAudience,
    "Z44": tokens.RefreshAsAccess,
    "Z46": refreshing.RefreshTwice,
    "Z47": refreshing.ReuseUnpunished,
    "Z48": refreshing.RefreshedAsAnother,
    "Z48b": refreshing.RefreshedWithMore,
    "Z49": logging_in.StateUnchecked,
    "Z54": limits.PerProcess,
    "Z55": limits.ByHeader,
    "Z56": limits.FixedWindow,
    "Z57": limits.WrongUser,
    "Z58": limits.RetryAfter,
    "Z60": syncing.DeactivationForgotten,
    "Z61": logging_in.TwoAccounts,
    "Z62": syncing.LateSync,
    **functional.AUTH,
}
