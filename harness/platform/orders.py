"""Conversion of a schedule's entries to faults of a running platform, or to the links that a new one must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from earwitness.harness.errors import SettingsError
from earwitness.harness.platform.faults import Cut, Disturb, Fault, Kill, Pause, Replace, Restart, Skew, Wipe
from earwitness.harness.platform.links import matching
from earwitness.harness.platform.schedule import OF_LINKS, Planned


def links_needed(plan: Iterable[Planned]) -> tuple[str, ...]:
    """Return the links that a platform must be started with for this plan (`launch(links=…)`)."""
    return tuple(dict.fromkeys(planned.where for planned in plan if planned.kind in OF_LINKS))


def faults_of(
    plan: Sequence[Planned], services: Iterable[str], endpoints: Mapping[str, Any], where: str = "--faults"
) -> list[Fault]:
    """Return the fault of each entry of `plan`, in order.

    `services` and `endpoints` are those of the platform; `where` names the option in errors. Raises SettingsError,
    which lists every entry without a service or link here.
    """
    known, links = sorted(set(services) - {"links"}), endpoints.get("links", [])
    made, faults = [], []
    for planned in plan:
        if planned.kind in OF_LINKS:
            ways = tuple(matching(planned.where, links))
            if not ways:
                faults.append(
                    f"{planned.text!r}: this platform has no link {planned.where}; start it with "
                    f"`earwitness up --link {planned.where}`, or let the run start its own"
                )
                continue
            made.append(_of_links(planned, ways))
        elif planned.where not in known:
            faults.append(f"{planned.text!r}: there is no service {planned.where}; there are {', '.join(known)}")
        else:
            made.append(_of_service(planned, endpoints))
    if faults:
        raise SettingsError(where, faults)
    return made


def _of_service(planned: Planned, endpoints: Mapping[str, Any]) -> Fault:
    service = planned.where
    if planned.kind == "kill":
        return Kill(service)
    if planned.kind == "pause":
        return Pause(service)
    if planned.kind == "replace":
        return Replace(service)
    if planned.kind == "wipe":
        if service != "valkey":
            raise SettingsError("--faults", [f"{planned.text!r}: only redis can lose its file and be right without it"])
        return Wipe(service)
    if planned.kind == "skew":
        url = endpoints["backends"].get(service) or (endpoints["auth"] if service == "auth" else None)
        if url is None:
            raise SettingsError("--faults", [f"{planned.text!r}: only auth and backends have a clock of their own"])
        return Skew(service, url, planned.amount)
    return Restart(service, graceful=planned.kind == "restart")


def _of_links(planned: Planned, ways: tuple[str, ...]) -> Fault:
    if planned.kind == "delay":
        return Disturb(ways, {"delay_s": planned.amount, "jitter_s": planned.jitter_s})
    if planned.kind == "blackhole":
        return Disturb(ways, {"held": True})
    if planned.kind == "bandwidth":
        return Disturb(ways, {"bytes_per_s": planned.amount})
    if planned.kind == "cut-after":
        return Disturb(ways, {"cut_after": int(planned.amount)})
    if planned.duration_s is not None:
        return Disturb(ways, {"refusing": True}, cutting=True)
    return Cut(ways)
