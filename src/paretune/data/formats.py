"""The formats by name, and how the rows of a file are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paretune.data.importers import IMPORTED
from paretune.data.shapes import NATIVE, Shape

SHAPES: tuple[Shape, ...] = (*IMPORTED, *NATIVE)
"""Every shape; HelpSteer2 comes before the single response that it also is."""


def shape_of(name: str) -> Shape:
    """The shape of a format."""
    return next(shape for shape in SHAPES if shape.name == name)


def detect(row: Mapping[str, Any]) -> Shape | None:
    """The first shape of which the row has every mark, or ``None``.

    Example:
        >>> detect({"prompt": "p", "response_a": "x", "response_b": "y"}).name
        'pairs'
    """
    return next((shape for shape in SHAPES if shape.marks <= row.keys()), None)


def marks_text() -> str:
    """What tells the native shapes apart, for messages."""
    return " / ".join(" + ".join(sorted(shape.marks)) for shape in NATIVE)
