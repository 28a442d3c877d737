"""Hand-made rows and files for the tests of the data layer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.objective import Objectives


@pytest.fixture
def objectives() -> Objectives:
    return Objectives.of("helpful", "harmless")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write rows (objects, or raw bytes of a line) to a file of the test's folder."""

    def write(name: str, *rows: dict[str, Any] | bytes) -> str:
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
        data = b"".join(line + b"\n" for line in lines)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        return str(path)

    return write


@pytest.fixture
def pair() -> Callable[..., dict[str, Any]]:
    """A good pair row; keywords change or add fields."""

    def pair(**changes: Any) -> dict[str, Any]:
        row = {
            "prompt": "How do plants eat?",
            "response_a": "They make sugar from light.",
            "response_b": "With forks.",
            "labels": {"helpful": 1, "harmless": 0},
        }
        return {**row, **changes}

    return pair
