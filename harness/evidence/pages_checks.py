"""Page `docs/reference/checks.md`: every check, in the order of the report, described from its code."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

from earwitness.checks import ALL
from earwitness.checks.contract import Contract
from earwitness.checks.engine.fold import Check
from earwitness.checks.findings.sentences import SENTENCES, sentence
from earwitness.checks.history.record import Artefact, Place, State
from earwitness.checks.roster import Roster
from earwitness.checks.verdict import Finding, Outcome, Verdict

INTRO = """# Checks

Each check asks one question of the record of a run. It answers PASS, FAIL or UNKNOWN. The `H` checks ask whether the
record itself can be trusted; they answer PASS or UNKNOWN, never FAIL. The `I` checks ask about the platform.

- **Promise** is the condition on the [contract](../guide/targets.md) under which a violation is a FAIL. Without the
  promise the check reports observations.
- **Contract keys** are all keys that the check reads: promises, bounds and what it may take for granted.
- **Sentences** show how the report describes each kind of violation, with example names and numbers.

[How verdicts are reached](../checks.md) defines most checks in more detail, and says what each one leaves undecided
when a part of the record is missing."""

DEFINED = Path(__file__).resolve().parents[2] / "docs" / "checks.md"
"""Hand-written page that defines most of the checks at length."""
EXAMPLE = Roster(
    user_of=(0, 1, 2),
    conversations=((0, 1, 2),),
    user_names=("ann", "bob", "cleo"),
    conversation_names=("r8-of-10",),
)
FACTS = {
    **{"client": 1, "stated": 2, "author": 0, "other_author": 0, "conv": 0, "online": 1, "forgery": 1},
    **{"counter": 14, "other_counter": 15, "seq": 17, "other_seq": 18, "low": 17, "high": 19, "left": 3, "rows": 2},
    **{"ms": 40, "late": 120, "usual_ms": 20, "granted": 12, "within_ms": 1000, "allowed": 10, "wait_ms": 900},
    **{"place": int(Place.BACKEND), "artefact": int(Artefact.ACCESS), "state": int(State.EDIT)},
}
"""Facts that are filled into the example sentences; a sentence that needs another fact is refused."""
BUDGET = "rate_burst is not None and (rate_per_s is not None or rate_window_s is not None)"
"""Condition on a contract under which `Budget.of` returns a budget, as text."""
KEYS = frozenset(field.name for field in fields(Contract)) - {"name"}


def page() -> str:
    """Return the text of the page, without the line on how it was written."""
    rows = [f"| [{check.id}](#{anchor(check)}) | {check.name} | {check.title} |" for check in ALL]
    table = "\n".join(["| check | name | question |", "|---|---|---|", *rows])
    return "\n\n".join([INTRO, table, *(_entry(check) for check in ALL)]) + "\n"


def anchor(check: Check) -> str:
    """Return the id of a check's heading in docs/reference/checks.md, such as "i1-per-sender-fifo", without "#"."""
    return f"{check.id.lower()}-{check.name}"


def _entry(check: Any) -> str:
    lines = [f"## {check.id} {check.name}", f"**{check.title}**", documented(check)]
    keys = sorted(keys_read(check))
    facts = [f"- Promise: {promise(check)}", "- Contract keys: " + (", ".join(f"`{key}`" for key in keys) or "none")]
    if f"### {check.id} {check.name}\n" in DEFINED.read_text("utf-8"):
        facts.append(f"- In detail: [How verdicts are reached](../checks.md#{anchor(check)})")
    module = sys.modules[check.fold.__module__]
    about = inspect.cleandoc(module.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    source = module.__name__.removeprefix("earwitness.").replace(".", "/")
    facts.append(f"- Source: `{source}.py` ({about.rstrip('.')})")
    lines.append("\n".join(facts))
    said = sentences(check)
    if said:
        lines.append("Sentences:\n\n" + "\n".join(f"- `{what}`: {text}" for what, text in said))
    else:
        lines.append("It has no sentences: the report gives its reason as text.")
    return "\n\n".join(line for line in lines if line)


def documented(check: Any) -> str:
    """Return the docstring of the class that holds the check's state, else that of its module."""
    text = vars(check.fold).get("__doc__") or sys.modules[check.fold.__module__].__doc__ or ""
    text = inspect.cleandoc(text).removeprefix(f"{check.id}: ")
    return text[:1].upper() + text[1:]


def promise(check: Any) -> str:
    """Return the condition on the contract under which a violation is a FAIL, as code."""
    source = textwrap.dedent(inspect.getsource(check.when)).strip()
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Lambda) and [one.arg for one in node.args.args] == ["contract"]:
            return _condition(node.body)
        if isinstance(node, ast.Return) and node.value is not None:
            return _condition(node.value)
    raise ValueError(f"{check.id}: its `when` is neither a lambda nor a function that returns")


def _condition(node: ast.expr) -> str:
    text = ast.unparse(node).replace("Budget.of(contract) is not None", BUDGET).replace("contract.", "")
    return "always" if text == "True" else f"`{text}`"


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # the line of a keyword argument of `Described(…)`
        return ast.parse(f"f({source})")


def keys_read(check: Any) -> set[str]:
    """Return the keys of the contract that the check reads, in its own module or in another one of its folder."""
    room = check.fold.__module__.rpartition(".")[0]
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [check.when, check.fold, *(base for base in check.fold.__mro__ if base.__module__.startswith(room))]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or not getattr(one, "__module__", "").startswith((room, "earwitness.checks.engine.fold")):
            continue
        seen.add(id(one))
        around = vars(sys.modules[one.__module__])
        for node in ast.walk(_tree(textwrap.dedent(inspect.getsource(one)).strip())):
            found |= KEYS & _key(node)
            named = around.get(node.id) if isinstance(node, ast.Name) else None
            if inspect.isfunction(named) or inspect.isclass(named):  # a compiled loop gets numbers, never the contract
                waiting.append(named)
    return found


def _key(node: ast.AST) -> set[str]:
    """Return {KEY} if the node is an access `contract.KEY` or `….contract.KEY`, else an empty set."""
    if not isinstance(node, ast.Attribute):
        return set()
    owner = node.value
    named = isinstance(owner, ast.Name) and owner.id == "contract"
    held = isinstance(owner, ast.Attribute) and owner.attr.lstrip("_") == "contract"
    return {node.attr} if named or held else set()


def sentences(check: Check) -> list[tuple[str, str]]:
    """Return (kind of finding, example sentence) for each kind of finding that the check has.

    Raises ValueError if an example needs a fact that FACTS does not have.
    """
    verdict = Verdict(id=check.id, name=check.name, outcome=Outcome.FAIL, examined=1)
    said = []
    for id, what in SENTENCES:
        if id == check.id:
            words = sentence(Finding(what=what, facts=FACTS), verdict, EXAMPLE)
            if "(unknown" in words:
                raise ValueError(f"{id} {what}: {words}; name the fact in FACTS")
            said.append((what, words))
    return said
