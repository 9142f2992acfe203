"""Cards of checks in `report.html`, the checks that were not exercised, and a page about each check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from earwitness.checks.contract import Contract
from earwitness.harness.report.opportunities import ALL as OPPORTUNITIES
from earwitness.harness.report.opportunities import BY_ID
from earwitness.harness.report.page.runbook import runbook_link
from earwitness.harness.report.page.words import MARKS, Row, counted, paragraph, section, table, text
from earwitness.harness.report.runbooks import runbook_of
from earwitness.harness.report.summary import KNOWN, per_cent, unit_of
from earwitness.harness.report.witnesses import promise
from earwitness.harness.shipped import judged_by

PAGE: Final = "docs/reference/checks.md"
NEEDS: Final[Mapping[str, str]] = {
    "I9": "a message that the platform refuses: earwitness run rate_limits",
    "I17": "two reads of one history by a user: earwitness run chat_journey",
    "I25": "any story in which messages are delivered, on a platform whose contract has delivery_bound_s",
    "I44": "a read of a history while messages are sent: earwitness run chat_journey",
    "I45": "any story, on a platform whose contract has echo = false",
    "I46": "messages as long as the platform allows: say_long() in a story of yours",
    "I47": "any story with users who stay members of a conversation",
}
"""Check id → how to exercise the check, for checks that no shipped story names in `judged_by`."""


def cards(id: str, title: str, checks: Sequence[Row], contract: Contract) -> str:
    """Return the HTML section `id` with a card for each check that examined something, failed, or counts.

    `checks`: rows of verdict.json.
    """
    shown = sorted((check for check in checks if exercised(check)), key=_urgency)
    body = "".join(_card(check, contract) for check in shown)
    body = f'<div class="cards">{body}</div>' if body else ""
    return section(id, title, body or paragraph("No check of this kind examined anything."))


def _urgency(check: Row) -> int:
    """Return the sort key of a card: 0 a broken promise, 1 another FAIL, 2 UNKNOWN, 3 the others."""
    return {"FAIL": 0 if check["counts"] else 1, "UNKNOWN": 2}.get(check["outcome"], 3)


def exercised(check: Row) -> bool:
    """Return whether a check has a card: it examined something, failed, or counts for the verdict."""
    return bool(check["examined"] or check["outcome"] == "FAIL" or check["counts"])


def _card(check: Row, contract: Contract) -> str:
    mark, bound = MARKS.get(check["outcome"], "unknown"), check["upper_bound_95"]
    facts = [f"{check['examined']:,} {unit_of(check['id'])}", counted(check["violations"], "violation")]
    if check["violations"]:
        facts.append(f"rate {per_cent(check['violations'], check['examined']) or 'not known'}")
    elif bound and check["outcome"] == "PASS" and not check["id"].startswith("H"):
        facts.append(f"violation rate below {100 * bound:.3g} % (at 95 % confidence)")
    elif not check["id"].startswith("H"):
        facts.append("no upper bound, as the outcome is not known")
    return (
        f'<article class="card {mark}" id="check-{text(check["id"])}">'
        f"<h3><span>{text(check['outcome'])}</span> {text(check['id'])} {text(check['name'])}</h3>"
        f'<p class="question">{text(question(check))}</p><p>{text(" · ".join(facts))}</p>'
        f'<p class="contract">{text(contract_line(check, contract))}</p>'
        f"{paragraph(check['why'])}{_links(check)}</article>"
    )


def _links(check: Row) -> str:
    links = []
    if check["outcome"] == "FAIL" and check["witnesses"]:
        first = min(int(witness["number"]) for witness in check["witnesses"])
        links.append(f'<a href="#witness-{text(check["id"])}-{first}">its first counterexample</a>')
    if check["id"] in KNOWN:
        links.append(f'<a href="#page-{text(check["id"])}">how it is judged</a>')
    if check["outcome"] != "PASS":
        broken = check["outcome"] == "FAIL"
        links.append(f"runbook: {runbook_link(check['id']) if broken else text(runbook_of(check['id']))}")
    return f"<p>{' · '.join(links)}</p>" if links else ""


def question(check: Row) -> str:
    """Return the question that a check answers."""
    known = KNOWN.get(check["id"])
    if known is not None:
        return known.title
    promised = next((witness["promise"]["title"] for witness in check["witnesses"]), "")
    return promised or f"An own check, of {check.get('file', 'this run')}."


def contract_line(check: Row, contract: Contract) -> str:
    """Return the line of the contract that decides whether a violation is a failure or an observation."""
    known = KNOWN.get(check["id"])
    if known is None:
        return "contract: stated with the check itself"
    if check["id"].startswith("H"):
        return "contract: none; it judges the tester, and answers PASS or UNKNOWN"
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in promise(known, contract).items())
    made = "promised" if check["promised"] else "never promised: an observation"
    return f"contract: {keys or 'always promised'}" + (f" ({made})" if keys else "")


def not_exercised(checks: Sequence[Row], opportunities: Row, contract: Contract) -> str:
    """Return the HTML section that names the checks that examined nothing, and how to exercise each.

    It also names the opportunities of the story that did not occur. `checks`, `opportunities`: of verdict.json.
    """
    idle = [check for check in checks if not check["examined"] and check["outcome"] != "FAIL"]
    rows = [(check["id"], check["name"], question(check), "; ".join(ways(check, contract))) for check in idle]
    body = ""
    if rows:
        body += paragraph("These checks examined nothing in this run, so it states nothing about them.")
        body += table("checks that were not exercised", ("id", "check", "question", "what would exercise it"), rows)
    missing = [BY_ID[row["id"]] for row in opportunities.get("missing", ()) if row["id"] in BY_ID]
    if missing:
        body += paragraph("These situations belong to the story and did not occur, so nothing was verified in them.")
        ways_of = [(one.id, one.occurs, _of_opportunity(one.by, one.fault)) for one in missing]
        body += table("situations that did not occur", ("situation", "what it is", "what would create it"), ways_of)
    return section("not-exercised", "Not exercised", body or paragraph("Every check examined something."))


def ways(check: Row, contract: Contract) -> Iterator[str]:
    """Yield ways to exercise a check: stories judged by it, actions of users and faults, keys of the contract."""
    id = check["id"]
    if id not in KNOWN:
        yield "name its file with --check, and let the run create what it examines"
        return
    stories = [name for name, ids in judged_by().items() if id in ids]
    if stories:
        yield "earwitness run " + " or ".join(stories)
    actions = dict.fromkeys(_of_opportunity(one.by, one.fault) for one in OPPORTUNITIES if id in one.checks)
    if actions:
        yield "in a story of yours: " + ", ".join(actions)
    if not check["promised"]:
        keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in promise(KNOWN[id], contract).items())
        yield f"the contract does not promise it ({keys})" if keys else "the contract does not promise it"
    if id in NEEDS:
        yield NEEDS[id]
    elif not stories and not actions:
        yield f"see {PAGE}#{id.lower()}-{check['name']}"


def _of_opportunity(methods: Sequence[str], fault: str) -> str:
    return f"--faults {fault.replace(' ', ':', 1)}@5s" if fault else " or ".join(f"{method}()" for method in methods)


def pages(checks: Sequence[Row]) -> str:
    """Return the HTML section with an article about each check that has a card, made from the check's docstring."""
    shown = [KNOWN[check["id"]] for check in checks if check["id"] in KNOWN and exercised(check)]
    entries = "".join(
        f'<article class="page" id="page-{check.id}"><h3>{check.id} {check.name}</h3>'
        f"<p><b>{text(check.title)}</b></p>{prose(check.definition)}"
        f'<p class="soft">{PAGE}#{check.id.lower()}-{check.name} · <a href="#check-{check.id}">back to its card</a></p>'
        f"</article>"
        for check in shown
    )
    return section("pages", "How the checks judge", entries) if entries else ""


def prose(docstring: str) -> str:
    """Return a docstring as HTML: paragraphs, and lists of lines that begin with "- "."""
    blocks = []
    for block in re.split(r"\n\s*\n", docstring):
        first, *items = re.split(r"(?:^|\n)- ", block.strip())
        if first:
            blocks.append(f"<p>{_code(first)}</p>")
        if items:
            blocks.append(f"<ul>{''.join(f'<li>{_code(item)}</li>' for item in items)}</ul>")
    return "".join(blocks)


def _code(words: str) -> str:
    plain = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(words.split())))
    return re.sub(r"\*(\w+)\*", r"<em>\1</em>", plain)
