"""Which path is taken, and why, is decided once and said in words; no run is stopped that did not ask for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from earwitness.harness import native
from earwitness.harness.native import build, choose


def test_off_is_off_and_says_who_decided() -> None:
    assert choose("off") == (None, "EARWITNESS_NATIVE=off", "")


def test_another_word_is_refused_by_name() -> None:
    found, _, fault = choose("maybe")
    assert found is None
    assert fault == "'maybe' is neither on nor off: set one of them, or nothing"


def test_where_it_is_not_compiled_python_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one who insists on it is refused, and is told the command."""
    monkeypatch.setattr(native, "MODULE", "earwitness.harness.native._absent")
    found, why, fault = choose("")
    assert (found, fault) == (None, "")
    assert why.startswith("it is not compiled here")
    assert native.REBUILD in choose("on")[2]


def test_a_file_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, native.MODULE, SimpleNamespace(VERSION=native.VERSION + 1))  # type: ignore[arg-type]
    found, why, _ = choose("")
    assert found is None
    assert f"from version {native.VERSION + 1} of its source" in why


def test_the_source_has_the_version_that_is_expected() -> None:
    assert f"#define VERSION {native.VERSION} " in build.SOURCE.read_text("utf-8")


def test_what_is_missing_for_compiling_is_said(tmp_path: Path) -> None:
    assert "no C compiler 'nocc'" in build.missing("nocc", tmp_path)
    assert "no Python.h" in build.missing(sys.executable, tmp_path)
    (tmp_path / "Python.h").touch()
    assert build.missing(sys.executable, tmp_path) == ""
