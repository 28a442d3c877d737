"""One mistake or gap of a source, and the smallest example that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final


@final
@dataclass(frozen=True)
class Mistake:
    """What a source says, and what computing it shows.

    Args:
        code: for reference, such as ``M3``.
        says: the source, in words of our own.
        example: what was computed; empty where the mistake is in the text only.
        shows: the outcome, with numbers.
        values: the numbers behind ``shows``, by name.
    """

    code: str
    says: str
    example: str
    shows: str
    values: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_text(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.values

    def row(self) -> list[str]:
        """Cells of a table."""
        return [self.code, self.says, self.example or "(text only)", self.shows]
