"""Imports go one way; the pure layers touch no file, no network, no trainer."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "paretune"
LAYERS = (
    ("errors",),
    ("core",),
    ("functional",),
    ("safety", "web"),
    ("methods", "engines", "data", "scoring"),
    ("evaluation", "reporting", "serving", "bench"),
    ("pipeline",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PURE = {"core": {"numpy"}, "functional": {"numpy", "torch", "scipy", "moocore", "torchjd"}}
"""Packages that the pure layers may import, besides Python's own."""
NO_FILE_OR_NETWORK = {
    "asyncio", "ftplib", "glob", "http", "io", "mmap", "multiprocessing", "os", "pickle", "shutil",
    "smtplib", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "urllib",
}  # fmt: skip


def problems(path: Path, source: str) -> list[str]:
    """Every wrong arrow of one file; ``path`` is relative to the package."""
    here = path.parts[0].removesuffix(".py")
    if here == "__init__":
        return []
    if here not in LEVEL:
        return [f"{path}: {here} is in no layer"]
    found = []
    for module in sorted(_modules(path, source)):
        top, *rest = module.split(".")
        if top == "paretune":
            target = rest[0] if rest else "__init__"
            if target == "__version__" or target == here:
                continue
            if target not in LEVEL or LEVEL[target] >= LEVEL[here]:
                found.append(f"{path}: {here} imports {module}")
        elif here in PURE and top not in PURE[here]:
            is_pathlib = top == "pathlib" and module == "pathlib.PurePath"
            if top not in sys.stdlib_module_names or top in NO_FILE_OR_NETWORK:
                found.append(f"{path}: {here} imports {module}")
            elif top == "pathlib" and not is_pathlib:
                found.append(f"{path}: {here} imports {module}, which opens files")
        elif top == "moocore" and path != Path("functional/indicators.py"):
            found.append(f"{path}: only functional/indicators.py talks to moocore")
    if here in PURE:
        found += [f"{path}:{line}: {here} calls {name}()" for name, line in _effects(source)]
    return found


def _modules(path: Path, source: str) -> set[str]:
    """Absolute names of what a file imports, wherever in it: ``from a import b`` is ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["paretune", *path.parent.parts]
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{start}.{alias.name}" for alias in node.names}
    return found


def _effects(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in ("open", "print", "input", "exec", "eval"):
                yield name, node.lineno


def test_imports_go_one_way() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 20
    found = [p for f in files for p in problems(f.relative_to(SOURCE), f.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/job.py", "from paretune.functional.losses import dpo_loss"),
        ("core/job.py", "def f():\n    import torch"),
        ("core/job.py", "from pathlib import Path"),
        ("core/job.py", "import socket"),
        ("core/job.py", "def f(p):\n    return open(p)"),
        ("functional/losses.py", "import transformers"),
        ("functional/losses.py", "from urllib.request import urlopen"),
        ("functional/losses.py", "print('hello')"),
        ("functional/losses.py", "import moocore"),
        ("functional/losses.py", "from ..methods import dpo"),
        ("methods/dpo.py", "from paretune.engines.lm import trainer"),
        ("methods/dpo.py", "import paretune.data.jsonl"),
        ("engines/lm/trainer.py", "from ...scoring import score"),
        ("evaluation/box.py", "import paretune.reporting"),
        ("bench/problems.py", "from paretune.pipeline.run import run"),
        ("reporting/page.py", "import paretune.cli.main"),
        ("data/jsonl.py", "from paretune import TradeOff"),
        ("errors.py", "from paretune.core import job"),
        ("web/assets.py", "from paretune.reporting import look"),
        ("helpers/misc.py", ""),
    ],
)
def test_wrong_arrow_is_found(path: str, source: str) -> None:
    assert problems(Path(path), source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/job.py", "import numpy as np\nfrom paretune.errors import ConfigError"),
        ("core/description.py", "from pathlib import PurePath"),
        ("functional/indicators.py", "import moocore"),
        ("functional/losses.py", "import torch\nfrom ..core.job import Pool\nfrom . import select"),
        ("methods/dpo.py", "from paretune.functional.losses import dpo_loss"),
        ("bench/problems.py", "import paretune.engines.tabular"),
        ("data/jsonl.py", "import os\nfrom paretune import __version__"),
        ("cli/main.py", "from paretune.pipeline import run\nprint('hello')"),
        ("__init__.py", "import importlib"),
    ],
)
def test_right_arrow_is_not(path: str, source: str) -> None:
    assert problems(Path(path), source) == []
