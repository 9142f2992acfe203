"""The site of docs/: builds without a warning, loads nothing from elsewhere, and its commands exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from earwitness.checks.catalogue import ALL

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "use": "href"}
"""Attributes whose address a browser asks for by itself."""
OF_THE_READER = frozenset({"lunch.py", "my_checks.py", "own_story.py"})
"""Files that a reader of the pages writes."""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    return subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy, so that nothing is written into the checkout."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    done = run("zensical", "build", "--strict", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "No issues found\n"
    return folder / "build" / "site"


class Asked(HTMLParser):
    """Collects the addresses that a browser asks for when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in LOADS and not (tag == "link" and named.get("rel") in ("canonical", "prev", "next")):
            self.addresses.append(named.get(LOADS[tag]) or "")


def test_the_pages_load_nothing_from_other_hosts(site: Path) -> None:
    """Fonts, scripts, styles and pictures lie beside the pages."""
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        asked = Asked()
        asked.feed(page.read_text("utf-8"))
        assert asked.addresses
        assert [one for one in asked.addresses if re.match(r"(https?:)?//", one)] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)]*", style.read_text("utf-8")) == [], style


def test_light_and_dark(site: Path) -> None:
    text = (site / "index.html").read_text("utf-8")
    assert {'data-md-color-scheme="default"', 'data-md-color-scheme="slate"'} <= set(
        re.findall(r'data-md-color-scheme="\w+"', text)
    )


def in_navigation(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for inner in entry.values():
            yield from in_navigation(inner)
    elif isinstance(entry, list):
        for inner in entry:
            yield from in_navigation(inner)


def test_the_navigation_names_each_page_once() -> None:
    named = list(in_navigation(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.stem)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    """Strict mode reports pages and anchors, but neither pictures nor other files."""
    text = re.sub(r"(?s)```.*?```|`[^`\n]+`", "", page.read_text("utf-8"))
    inside = ROOT if page.parent == ROOT else DOCS
    for address in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", address):
            path = (page.parent / address).resolve()
            assert path.exists(), address
            assert path.is_relative_to(inside), f"{address}: it is not on the site"


def sections(page: Path) -> dict[str, set[str]]:
    """Return the long options that the page of options names, by verb."""
    parts = re.split(r"(?m)^#{2,3} (?:earwitness )?(\w+.*)$", page.read_text("utf-8"))
    found = {name: set(re.findall(r"--[a-z][\w-]*", text)) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    found["run"] = found.pop("Options of a run") | found.pop("Earwitness") | found.pop("Locust")
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.stem)
def test_each_command_exists(page: Path) -> None:
    """Every `earwitness VERB --option` in code is one of the page of options."""
    known = sections(DOCS / "reference" / "options.md")
    text = page.read_text("utf-8")
    code = "\n".join(re.findall(r"(?s)```.*?```|`[^`\n]+`", text)).replace("`", "\n")
    for verb, rest in re.findall(r"(?m)\bearwitness ([a-z]+)\b([^\n#;|]*)", code):
        assert verb in known, f"earwitness {verb}"
        assert set(re.findall(r"(?<=\s)--[a-z][\w-]*", rest)) - {"--help"} <= known[verb], f"earwitness {verb}{rest}"


def test_the_story_of_the_page_is_one(tmp_path: Path) -> None:
    """Locust loads it, which runs its `story(…)`."""
    page = (DOCS / "your-first-story.md").read_text("utf-8")
    (tmp_path / "lunch.py").write_text(re.findall(r"(?s)```python\n(.*?)```", page)[0])
    done = run("earwitness.harness.cli", "run", "lunch.py", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_picture_is_drawn_from_the_history_beside_it(tmp_path: Path) -> None:
    history = DOCS / "pictures" / "counterexample.jsonl"
    made = run("earwitness.harness.cli", "import", str(history), "-o", "runs/latest", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    told = ("--only", "I5b", "--witness", "1", "--svg", "drawn.svg")
    run("earwitness.harness.cli", "check", "runs/latest", *told, cwd=tmp_path)
    drawn, kept = (tmp_path / "drawn.svg").read_text("utf-8"), history.with_suffix(".svg").read_text("utf-8")
    program = r">[^<>]*earwitness'? check "  # as it is installed here; quoted if its path holds blanks
    assert re.sub(program, ">earwitness check ", drawn) == kept


def test_each_python_file_that_a_page_names_exists() -> None:
    """Tables of files are not left behind when files move. Decisions may name what there was."""
    there = {path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    wrong = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        if page.parent.name != "decisions"
        for name in re.findall(r"`[\w./-]*?(\w+\.py)`", page.read_text("utf-8"))
        if name not in there | OF_THE_READER
    ]
    assert not wrong


def test_architecture_names_the_file_of_each_check() -> None:
    """In the row of its family, so that a reader finds a check by its number."""
    rows = dict(re.findall(r"^\| `(checks/\w+/)` \| ([^|]+) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE))
    found = {
        (family, file, id)
        for family, row in rows.items()
        for file, ids in re.findall(r"`(\w+)`((?: [IH]\d+[ab]?)+)", row)
        for id in ids.split()
    }
    wanted = {(f"checks/{m[-2]}/", m[-1], check.id) for check in ALL if (m := check.fold.__module__.split("."))}
    assert found == wanted


def test_architecture_leads_to_the_room_of_a_change() -> None:
    """Each file of the tables "Where is …" exists, and contains the name that stands beside it."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    section = text.split("\n## Where is …\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:4]] for line in section.splitlines() if line.startswith("| ")]
    pairs = [
        pair
        for files, names in rows
        if files != "file"
        for pair in zip(re.findall("`(.+?)`", files), re.findall("`(.+?)`", names), strict=True)
    ]
    assert len(pairs) > 40
    wrong = [
        f"{file}: {name}"
        for file, name in pairs
        if not (ROOT / file).is_file() or not re.search(rf"\b{name}\b", (ROOT / file).read_text("utf-8"))
    ]
    assert not wrong
