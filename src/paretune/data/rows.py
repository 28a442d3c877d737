"""A row as it comes out of a file, and what can be wrong with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, final

_SHOWN = 60


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a row.

    Args:
        field: path inside the row, like ``responses[2].scores.helpful``; ``row`` for the whole.
        kind: what is wrong in a few words without values, so that faults can be counted.
        detail: what was found and what was expected.
        is_fatal: the file cannot be read on, so that skipping this row is no answer.
    """

    field: str
    kind: str
    detail: str
    is_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.kind}, {self.detail}"


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, before anyone looked at its fields.

    Args:
        file: the file as the user named it, or ``dataset[split]``.
        line: line of a text file or row of a table, from 1; 0 for the file itself.
        value: the fields; empty when the row could not be parsed.
        faults: why it could not.
        raw: the line as it stands in a text file; of a line that is too long, its start.
    """

    file: str
    line: int
    value: dict[str, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    raw: bytes = b""

    @property
    def where(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.file}:{self.line}" if self.line else self.file


def shown(value: Any) -> str:
    """A value from a file as one short line that is safe on a terminal.

    Example:
        >>> shown("a\\nb"), shown(True), shown([1, 2]), shown(None)
        ('"a\\\\nb"', 'true', 'a list', 'null')
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        cut = value[:_SHOWN]
        return json.dumps(cut) + ("..." if len(value) > len(cut) else "")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
