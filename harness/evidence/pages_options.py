"""Page `docs/reference/options.md` and the generated tables of `docs/guide/settings.md`: options, verbs, settings."""

from __future__ import annotations

import argparse
import importlib
import inspect
import textwrap
from collections.abc import Iterable, Mapping

from earwitness.checks.contract import KEYS as PROMISES
from earwitness.checks.declared import Key, keys_of
from earwitness.harness.load.command import ABOUT, EXAMPLES, USAGE
from earwitness.harness.load.options import LOAD
from earwitness.harness.settings import DEFAULT_FILE, SERVICES, variable_of

LOCUSTS = "https://docs.locust.io/en/stable/configuration.html"
OURS = "Earwitness"
"""Title of the group of Earwitness's options in Locust's parser."""


def page() -> str:
    """Return the text of the page of options, without the line on how it was written."""
    verbs = importlib.import_module("earwitness.harness.cli").VERBS  # beside this room, which may not import it
    parts = [INTRO, _runs(), "## Other commands", _table_of(verbs)]
    parts += [_verb(name, path, text) for name, (path, text) in verbs.items() if name != "run"]
    return "\n\n".join(parts) + "\n"


INTRO = """# Options

`earwitness VERB --help` prints the same. Where an option names a variable, the environment variable sets it too; the
option wins."""


def _runs() -> str:
    """Return the section on options of a run: Earwitness's options in full, Locust's by name."""
    from locust import argument_parser

    parser = argument_parser.get_parser()  # tells the listener in `harness.load.story`, which adds ours
    groups = {group.title: group._group_actions for group in parser._action_groups}
    ours = groups.pop(OURS)
    names = [
        f"- {title}: {', '.join(f'`{max(one.option_strings, key=len)}`' for one in actions if one.option_strings)}"
        for title, actions in groups.items()
        if any(one.option_strings for one in actions)
    ]
    defaults = ", ".join(f"`{key.replace('_', '-')} = {value}`" for key, value in LOAD.items())
    return "\n\n".join(
        [
            "## Options of a run",
            f"```\n{USAGE}\nlocust -f locustfiles/STORY.py [options]\n```",
            ABOUT,
            f"```\n{textwrap.dedent(EXAMPLES.partition(chr(10))[2]).strip()}\n```",
            "### Earwitness",
            _options(ours),
            "### Locust",
            f"All options of Locust work; [Locust's documentation]({LOCUSTS}) describes them. "
            f"Earwitness changes these defaults: {defaults}, and both `--web-host` and `--master-bind-host` are "
            "`127.0.0.1`.",
            "\n".join(names),
        ]
    )


def _table_of(verbs: Mapping[str, tuple[str, str]]) -> str:
    rows = [f"| [`earwitness {name}`](#earwitness-{name}) | {text} |" for name, (_, text) in verbs.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows]).replace("#earwitness-run", "#options-of-a-run")


def _verb(name: str, path: str, text: str) -> str:
    """Return the section of a verb: its usage, description, options and examples. `path`: module of the verb."""
    parser = argparse.ArgumentParser(prog=f"earwitness {name}", description=text)
    importlib.import_module(path).add_arguments(parser)
    actions = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    usage = " ".join(parser.format_usage().removeprefix("usage: ").replace("[-h] ", "").split())
    parts = [f"### earwitness {name}", f"```\n{usage}\n```", _prose(parser.description)]
    if actions:
        parts.append(_options(actions))
    if parser.epilog:
        parts.append(f"```\n{parser.epilog.strip()}\n```")
    return "\n\n".join(parts)


def _prose(text: str | None) -> str:
    text = inspect.cleandoc(text or "")
    first = text.partition(" ")[0]  # a name of a file or of an option stays as it is
    return (text[:1].upper() + text[1:] if first.isalpha() else text).rstrip(".") + "."


def _options(actions: Iterable[argparse.Action]) -> str:
    """Return a definition of each option: a line with its names, then its help, variable and default."""
    told = []
    for one in actions:
        if one.help == argparse.SUPPRESS:
            continue
        value = _value(one)
        names = ", ".join(f"`{name}{f' {value}' if value else ''}`" for name in one.option_strings[::-1][:1])
        others = "".join(f" (`{name}`)" for name in one.option_strings[::-1][1:])
        notes = [_prose(_help(one))] if one.help else []
        variable = getattr(one, "env_var", None)
        if variable:
            notes.append(f"Variable: `{variable}`.")
        if one.default not in (None, "", False, 0, [], argparse.SUPPRESS) and "default" not in (one.help or ""):
            notes.append(f"Default: `{one.default}`.")
        told.append(f"- {names or f'`{value}`'}{others}  \n  {' '.join(notes) or 'No description.'}")
    return "\n".join(told)


def _value(one: argparse.Action) -> str:
    """Return the placeholder for the option's value, or its choices; "" for a switch without a value."""
    if one.nargs == 0:
        return ""
    if one.choices:
        return "{" + ",".join(map(str, one.choices)) + "}"
    named = one.metavar or one.dest
    named = named if isinstance(named, str) else " ".join(named)
    return named if one.metavar or not one.option_strings else named.upper()


def _help(one: argparse.Action) -> str:
    """Return the help of an option with its values filled in, as argparse does, and "<" escaped for HTML."""
    return ((one.help or "") % {**vars(one), "prog": "earwitness"}).replace("<", "&lt;")


# -- settings ---------------------------------------------------------------------------------------------------------


def _settings() -> list[tuple[str, str, Key]]:
    """Return (service, name, declaration) of each setting."""
    return [(service, name, one) for service, table in SERVICES.items() for name, one in keys_of(table).items()]


def defaults() -> str:
    """Return a settings file in TOML that states all defaults, as a code block of Markdown."""
    lines = ["```toml", f"# {DEFAULT_FILE}: these are the defaults"]
    service = ""
    for name, key, declared in _settings():
        if name != service:
            lines += ["", f"[test_environment.{name}]"] if service else [f"[test_environment.{name}]"]
            service = name
        lines.append(f"{key} = {declared.default}")
    return "\n".join([*lines, "```"])


def variables() -> str:
    """Return the table of environment variables in Markdown."""
    rows = []
    for name, key, declared in _settings():
        example = (declared.example or declared.default).strip('"')
        like = f", like `{example}`" if example not in declared.kind.words else ""
        rows.append(f"| `{variable_of(name, key)}` | `{name}.{key}` | {declared.kind.words}{like} |")
    return "\n".join(["| variable | setting | values |", "|---|---|---|", *rows])


# -- promises ---------------------------------------------------------------------------------------------------------


def promises() -> str:
    """Return the table of the keys of a contract in Markdown."""
    rows = [f"| `{name}` | {_values(one)} | {_code(one.default)} | {one.meaning} |" for name, one in PROMISES.items()]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])


def _values(one: Key) -> str:
    unit = getattr(one.kind, "unit", "")
    return f"{one.kind.words} of {unit}" if unit else one.kind.words


def _code(default: str) -> str:
    return f"`{default}`" if default else "not promised"
