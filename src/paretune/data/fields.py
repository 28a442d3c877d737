"""Typed access to the fields of one row: faults are collected, never raised."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from paretune.core.record import Message, Prompt
from paretune.data.rows import Fault, shown

ROLES = ("system", "user", "assistant")
CONTROL_NOTE = "NUL or other control characters in a text"
TOKEN_NOTE = "a text that looks like a special token of a model"

_QUOTES = '".'
_CONTROL = bytes(i for i in (*range(32), 127) if chr(i) not in "\t\n\r")
_TOKEN = re.compile(r"</?s>|<(?:pad|unk|bos|eos)>|<\|[^|<>\s]{1,40}\|>|\[/?INST\]")


@final
@dataclass(frozen=True)
class Wanted:
    """What a run takes out of the rows of one source.

    Args:
        columns: objective -> name in the file.
        objective: the one objective of a one-axis file, else ``None``.
        turns: what a dialogue in one text becomes: ``text`` or ``messages``.
    """

    columns: Mapping[str, str]
    objective: str | None = None
    turns: str = "text"


@final
@dataclass
class RowCheck:
    """Reads the fields of one row and remembers what was wrong with them.

    Args:
        wanted: which labels and scores are taken.
        faults: grows with every wrong field.
        notes: remarks about texts that are kept.
        names: names of labels and scores the row has, wanted or not.
    """

    wanted: Wanted
    faults: list[Fault] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def fault(self, at: str, kind: str, detail: str) -> None:
        """Remember a fault."""
        self.faults.append(Fault(at, kind, detail))

    def text(self, row: Mapping[str, Any], key: str, at: str | None = None) -> str:
        """A text; the empty text beside a fault when it is none."""
        at = at or key
        if key not in row:
            self.fault(at, "missing", "found no such field, expected text")
            return ""
        value = row[key]
        if not isinstance(value, str):
            self.fault(at, "not text", f"found {shown(value)}, expected text")
            return ""
        try:
            data = value.encode("utf-8")
        except UnicodeEncodeError:
            self.fault(at, "lone surrogate", f"found {shown(value)}, expected whole characters")
            return ""
        # Ten times faster than a search for a class of characters.
        if len(data.translate(None, _CONTROL)) != len(data):
            self.notes.add(CONTROL_NOTE)
        if ("<" in value or "[" in value) and _TOKEN.search(value):
            self.notes.add(TOKEN_NOTE)
        return value

    def prompt(self, row: Mapping[str, Any], key: str = "prompt") -> Prompt:
        """A prompt: text, or a list of messages."""
        if isinstance(row.get(key), list):
            return self.messages(row[key], key)
        return self.text(row, key)

    def messages(self, value: Sequence[Any], at: str) -> tuple[Message, ...]:
        """Turns of a conversation, each ``{"role", "content"}``."""
        if not value:
            self.fault(at, "no turns", "found an empty list, expected at least one message")
        turns = []
        for i, turn in enumerate(value):
            here = f"{at}[{i}]"
            if not isinstance(turn, dict):
                self.fault(here, "not a message", f"found {shown(turn)}, expected role and content")
                continue
            role = turn.get("role")
            if role not in ROLES:
                self.fault(f"{here}.role", "unknown role", f"found {shown(role)}, expected {_any}")
            turns.append(Message(str(role), self.text(turn, "content", f"{here}.content")))
        return tuple(turns)

    def number(self, value: Any, at: str, low: float, high: float) -> float | None:
        """A finite number in a range, or ``None`` where the file has null or a fault."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = "not a number"
        elif not math.isfinite(number := _double(value)):
            kind = "not finite"
        elif not low <= number <= high:
            kind = "out of range"
        else:
            return number
        if math.isinf(high):
            expected = "a number" if math.isinf(low) else f"a number >= {low:g}"
        else:
            expected = f"a number in [{low:g}, {high:g}]"
        self.fault(at, kind, f"found {shown(value)}, expected {expected} or null")
        return None

    def labels(self, value: Any, at: str) -> dict[str, float]:
        """Signed labels by objective, each in [-1, 1]."""
        return self._by_objective(value, at, -1.0, 1.0)

    def scores(self, value: Any, at: str) -> dict[str, float]:
        """Scores by objective, any finite number."""
        return self._by_objective(value, at, -math.inf, math.inf)

    def weights(self, value: Any, at: str) -> dict[str, float]:
        """A user's trade-off by objective, each >= 0 and not all 0, scaled to sum 1."""
        found = self._by_objective(value, at, 0.0, math.inf)
        total = sum(found.values())
        if found and not 0 < total < math.inf:
            self.fault(at, "no weight", f"found a sum of {total:g}, expected a weight above 0")
            return {}
        return {objective: weight / total for objective, weight in found.items()}

    def _by_objective(self, value: Any, at: str, low: float, high: float) -> dict[str, float]:
        if value is None:
            return {}
        if self.wanted.objective is not None:
            return self._one_axis(value, at, low, high)
        if not isinstance(value, dict):
            expected = "an object: name to number or null"
            self.fault(at, "not an object", f"found {shown(value)}, expected {expected}")
            return {}
        self.names.update(value)
        found = {
            objective: self.number(value[name], f"{at}.{name}", low, high)
            for objective, name in self.wanted.columns.items()
            if name in value
        }
        return {objective: number for objective, number in found.items() if number is not None}

    def _one_axis(self, value: Any, at: str, low: float, high: float) -> dict[str, float]:
        """The single number of a one-axis file, bare or under its only name."""
        if isinstance(value, dict):
            if len(value) != 1:
                named = ", ".join(shown(name) for name in list(value)[:8]) or "none"
                self.fault(at, "not one name", f"found {named}, expected one (a one-axis file)")
                return {}
            ((name, value),) = value.items()
            at = f"{at}.{shown(name).strip(_QUOTES)}"
        number = self.number(value, at, low, high)
        objective = str(self.wanted.objective)
        self.names.add(objective)
        return {} if number is None else {objective: number}


_any = ", ".join(ROLES)


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf
