"""Benchmarks with a known front; names load on first use."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {"Advice": "paretune.bench.advice", "Handy": "paretune.bench.handy"}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'paretune.bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
