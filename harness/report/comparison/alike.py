"""Comparability of runs: which conditions must be equal in all runs, and which of them differ."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from earwitness.harness.errors import SettingsError
from earwitness.harness.report.comparison.samples import Sample

ALL: Final = "all"
CONDITIONS: Final = ("machine", "tester", "versions", "story", "load", "faults", "contract", "target")
"""Properties that must be equal in all runs of a comparison."""
MEANING: Final = """\
machine    processors, CPU quota and memory: the hash in run.json
tester     the tester's own code (the reference platform, which may be what changed, is not part of it)
versions   Python, the system, and the packages that load and reference platform use
story      the name and the content of the locustfile
load       users, rate, arrivals, shape, duration, rooms, devices, load processes, --keep-frames
faults     what was injected
contract   what the platform promises
target     the reference platform, or a target file"""
SHOWN_CHARS: Final = 60


def conditions(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each of CONDITIONS for one run; None: not known. `described`: from `samples.described`."""
    versions, machine = _table(described.get("versions"), "source"), _table(described.get("machine"), "hash")
    load = {name: described.get(name) for name in ("planned", "plan", "processes", "keep_frames")}
    return {
        "machine": machine,
        "tester": versions and {name: versions.get(name) for name in ("source", "commit", "earwitness")},
        "versions": versions and {name: versions.get(name) for name in ("python", "system", "packages")},
        "story": {"name": described.get("story"), "content": (versions or {}).get("story")},
        "load": _flat(load),
        "faults": described.get("planned_faults") or [],
        "contract": described.get("contract"),
        "target": described.get("target"),
    }


def _table(value: object, key: str) -> Mapping[str, Any] | None:
    """Return `value` if it is a mapping that contains `key`, else None: an imported `run.json` may hold anything."""
    return value if isinstance(value, Mapping) and key in value else None


def differences(samples: Sequence[Sample]) -> dict[str, str]:
    """Return condition → sentence, for each of CONDITIONS that differs between runs, or that a run does not state."""
    found = {}
    known = [conditions(sample.described) for sample in samples]
    for name in CONDITIONS:
        unknown = [sample.run for sample, of in zip(samples, known, strict=True) if of[name] is None]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            found[name] = f"{name}: not stated by {unknown[0]}{more} (an earlier version, or an import)"
            continue
        for sample, of in zip(samples[1:], known[1:], strict=True):
            if _identity(name, of[name]) != _identity(name, known[0][name]):
                found[name] = f"{name}: {_contrast(known[0][name], of[name])} ({samples[0].run}, {sample.run})"
                break
    return found


def require_alike(samples: Sequence[Sample], despite: Collection[str] = ()) -> list[str]:
    """Return a sentence for each condition that differs between the runs and is allowed to differ.

    Raises SettingsError, which names all other conditions that differ. `despite`: names of CONDITIONS that may differ,
    or ALL.
    """
    found = differences(samples)
    refused = [name for name in found if not {name, ALL} & set(despite)]
    if refused:
        options = " ".join(f"--despite {name}" for name in refused)
        advice = f"record both sides alike, or state that it may differ: {options}"
        raise SettingsError("these runs are not comparable", [*(found[name] for name in refused), advice])
    return list(found.values())


def _identity(name: str, value: Any) -> str:
    """Return the part of a condition that must be equal, as JSON text.

    It is the hash for "machine", the hash of the source code for "tester", and the whole value for other conditions.
    """
    if name == "machine":
        value = value["hash"]
    elif name == "tester":
        value = value["source"]
    return json.dumps(value, sort_keys=True, default=str)


def _contrast(one: object, other: object) -> str:
    """Return both values of a condition in words; of two mappings, up to four of the keys whose values differ."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return f"{_brief(one)} and {_brief(other)}"
    one, other = _flat(one), _flat(other)
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    shown = [key for key in keys if key not in ("hash", "source")] or keys
    return ", ".join(f"{key} {_brief(one.get(key))} and {_brief(other.get(key))}" for key in shown[:4])


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value) if key != "plan" else {f"plan.{inner}": of for inner, of in value.items()}
        else:
            flat[key] = value
    return flat


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= SHOWN_CHARS else text[:12] + "…"
