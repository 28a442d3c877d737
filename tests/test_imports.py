"""Every module can be imported, and warns of nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "paretune").rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_module_can_be_imported(module: str) -> None:
    importlib.import_module(module)


def test_public_names_exist() -> None:
    import paretune

    for name in dir(paretune):
        assert getattr(paretune, name) is not None
    with pytest.raises(AttributeError, match="TradeOf"):
        paretune.TradeOf  # noqa: B018


def test_names_of_methods_cost_no_torch() -> None:
    code = (
        "import sys, paretune, paretune.core.method, paretune.methods as m; m.method_names();"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
