"""The worked example of the documentation is run as it is printed."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import paretune.methods
from paretune.core.tradeoff import TradeOff
from paretune.functional.simplex import lattice

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-a-method.md"
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example's method in the folder of methods, as far as Python can tell."""
    (path,) = (p for p in FILES if p.startswith("src/paretune/methods/"))
    (tmp_path / Path(path).name).write_text(FILES[path])
    folders = [*paretune.methods.__path__, str(tmp_path)]
    monkeypatch.setattr(paretune.methods, "__path__", folders)
    importlib.invalidate_caches()
    name = Path(path).stem
    yield name
    sys.modules.pop(f"paretune.methods.{name}", None)
    vars(paretune.methods).pop(name, None)


def test_the_page_has_a_method_and_its_test() -> None:
    assert [Path(p).parts[0] for p in FILES] == ["src", "tests"]


def test_the_registry_finds_the_file(added: str) -> None:
    assert added in paretune.methods.method_names()
    method = paretune.methods.build(added, {"beta": 0.2})
    tradeoffs = lattice(3, 4)
    jobs = {job.id for job in method.plan(3, tradeoffs)}
    assert len(jobs) == 3
    for tradeoff in (*tradeoffs, TradeOff.even(3)):
        assert set(method.steer(tradeoff, tradeoffs).policies) <= jobs


def test_the_tests_of_the_example_pass(added: str) -> None:
    module = types.ModuleType("example")
    exec(compile(FILES["tests/methods/test_specialists.py"], str(PAGE), "exec"), vars(module))
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
