"""Page `docs/reference/stories.md`, and the methods of virtual users at the end of `docs/your-first-story.md`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import runpy
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

from earwitness.checks import ALL
from earwitness.harness import load, shipped
from earwitness.harness.evidence.pages_checks import anchor
from earwitness.harness.load import behaviours

MEMBERS = (FunctionType, property, cached_property)
ANCHORS = {check.id: anchor(check) for check in ALL}

INTRO = """# Stories

A story is a locustfile: what users do, and the checks that must have something to examine for a run to be called PASS.
These come with the tool. `earwitness stories` lists them, `earwitness stories --copy .` copies them for you to change,
and `earwitness run NAME --headless` runs one: 100 users for 30 seconds on the reference platform, or with
`--target FILE` on your own. [What happens in the stories](../guide/stories.md) describes some of them in detail."""


def page() -> str:
    """Return the text of the page of stories, without the line on how it was written."""
    files = shipped.story_files()
    rows = [f"| [`{path.stem}`](#{path.stem}) | {shipped.first_line(path)} |" for path in files]
    table = "\n".join(["| story | what happens |", "|---|---|", *rows])
    return "\n\n".join([INTRO, table, *(_entry(path) for path in files)]) + "\n"


def _entry(path: Path) -> str:
    told, text = story_of(path)
    judged = ", ".join(f"[{id}](checks.md#{ANCHORS[id]})" for id in told.judged_by)
    facts = [
        f"- Judged by: {judged}",
        f"- Rooms of each user: {', '.join(f'{size} members' for size in told.room_sizes)}",
        f"- Devices of each person: {told.devices}",
        f"- Faults: {f'`{told.faults}`' if told.faults else 'none; add some with `--faults`'}",
    ]
    if told.thresholds:
        facts.append(f"- Thresholds: {', '.join(f'`{one}`' for one in told.thresholds)}")
    if told.opportunities:
        named = ", ".join(f"`{one}`" for one in told.opportunities)
        facts.append(f"- [Opportunities](../opportunities.md): {named}")
    for service, settings in told.platform.items():
        facts.append(f"- Settings of {service}: {', '.join(f'`{key} = {value}`' for key, value in settings.items())}")
    run = f"```\nearwitness run {path.stem} --headless\n```"
    return "\n\n".join([f"## {path.stem}", text, "\n".join(facts), run])


def story_of(path: Path) -> tuple[load.Story, str]:
    """Return (the story that a locustfile declares, the file's docstring).

    The file is executed, but no user is started.
    """
    told: list[load.Story] = []
    declare = load.story

    def noting(*args: Any, **named: Any) -> load.Story:
        told.append(declare(*args, **named))
        return told[-1]

    load.story = noting
    try:
        names = runpy.run_path(str(path))
    finally:
        load.story = declare
    return told[0], inspect.cleandoc(names["__doc__"])


# -- methods of users -------------------------------------------------------------------------------------------------


def methods() -> str:
    """Return signature and docstring of each public method of `ChatUser` and of the behaviours, as Markdown."""
    parts = [_class(load.ChatUser, _own(load.ChatUser, inherited=True))]
    for kind in _behaviours():
        known = {name for base in kind.__mro__[1:] if base.__module__.startswith("earwitness.") for name in vars(base)}
        parts.append(_class(kind, [(name, one) for name, one in _own(kind) if name not in known]))
    return "\n\n".join(parts)


def _behaviours() -> Iterator[type]:
    """Yield the classes of behaviours in `harness.load.behaviours`, sorted by name."""
    found = {}
    for module in pkgutil.iter_modules(behaviours.__path__):
        for name, kind in vars(importlib.import_module(f"{behaviours.__name__}.{module.name}")).items():
            if inspect.isclass(kind) and issubclass(kind, load.Behaviour) and "behaviours" in kind.__module__:
                found[name] = kind
    return (found[name] for name in sorted(found))


def _own(kind: type, *, inherited: bool = False) -> list[tuple[str, object]]:
    """Return (name, member) of a class's public methods and properties, sorted by name.

    `inherited`: include those of its base classes in this project.
    """
    classes = [one for one in kind.__mro__ if one.__module__.startswith("earwitness.")] if inherited else [kind]
    found: dict[str, object] = {}
    for one in classes:
        for name, member in vars(one).items():
            if not name.startswith("_") and isinstance(member, MEMBERS):
                found.setdefault(name, member)
    return sorted(found.items())


def _class(kind: type, members: list[tuple[str, object]]) -> str:
    base = next(one for one in kind.__mro__[1:] if one.__module__.startswith(("earwitness.", "locust.")))
    public = f"`from earwitness import {kind.__name__}`" if kind.__name__ in load.__all__ else f"`{kind.__module__}`"
    extends = f"; extends `{base.__name__}`" if issubclass(base, load.ChatUser) else ""
    lines = [f"### {kind.__name__}", f"{public}{extends}.", _fields_as_list(inspect.cleandoc(kind.__doc__ or ""))]
    lines += ["Methods and properties:", *(_method(name, member) for name, member in members)] if members else []
    return "\n\n".join(line for line in lines if line)


def _method(name: str, member: Any) -> str:
    if isinstance(member, property | cached_property):
        read = member.func if isinstance(member, cached_property) else member.fget
        returned = inspect.signature(read).return_annotation if read else "Any"
        head, documented = f"{name}: {_plain(returned)}", member.__doc__
    else:
        parameters = inspect.signature(member).parameters
        told = [_plain(str(one)) for one in list(parameters.values())[1:]]
        star = next((n for n, one in enumerate(list(parameters.values())[1:]) if one.kind == one.KEYWORD_ONLY), None)
        if star is not None:
            told.insert(star, "*")
        head, documented = f"{name}({', '.join(told)})", member.__doc__
    text = inspect.cleandoc(documented) if documented else "No description yet."
    body = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f"- **`{head}`**  \n{body}"


def _fields_as_list(text: str) -> str:
    """Return a docstring as Markdown: each line of the form `name meaning` becomes an item of a list."""
    text = re.sub(r"(?m)^ +(?=\S)", "", text)
    return re.sub(r"(?m)^(\w+)  +", r"- `\1`: ", text)


def _plain(annotation: object) -> str:
    """Return an annotation as text without quotes and module names."""
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(\w+)", r"\1", str(annotation).replace("'", ""))
