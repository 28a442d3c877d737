"""Description: a job, a loss or a setting as plain JSON values, and its identity."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np


def describe(value: Any) -> Any:
    """Plain JSON values that tell ``value`` apart from every other one.

    Functions are named by module and qualified name, partials add their arguments, dataclasses
    their fields. Two equal descriptions mean the same work.

    Raises:
        TypeError: for a value with no stable description (a lambda, an open file, ...).
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are one number, however a file happens to write it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, np.ndarray):
        return {"array": value.shape, "sha256": hashlib.sha256(value.tobytes()).hexdigest()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, functools.partial):
        if value.args:
            raise TypeError(f"{value!r}: give a partial its arguments by keyword")
        return {"call": describe(value.func), **{k: describe(v) for k, v in value.keywords.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        content = {f.name: describe(getattr(value, f.name)) for f in fields(value)}
        return {"type": type(value).__qualname__, **content}
    if isinstance(value, Mapping):
        return {str(k): describe(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return f"{value.__module__}.{value.__qualname__}"
    raise TypeError(f"{value!r} has no stable description")


def identity(value: Any) -> str:
    """Sixteen hex digits of the sha256 of a description."""
    text = json.dumps(describe(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
