"""The account of the rows of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True)
class RowCounts:
    """What became of the rows of a source.

    Args:
        read: rows that were looked at; blank lines are no rows.
        used: rows that gave at least one response.
        skipped: reason -> rows left out.
        cut: size limit -> rows left out because of it.
        omitted: reason -> responses and comparisons left out of rows that are used.
    """

    read: int = 0
    used: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, int] = field(default_factory=dict)
    omitted: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.read == self.used + self.n_skipped + self.n_cut, "a row was lost"

    @property
    def n_skipped(self) -> int:
        """All skipped rows."""
        return sum(self.skipped.values())

    @property
    def n_cut(self) -> int:
        """All cut rows."""
        return sum(self.cut.values())

    def __add__(self, other: RowCounts) -> RowCounts:
        sums = (
            dict(Counter(mine) + Counter(theirs))
            for mine, theirs in (
                (self.skipped, other.skipped), (self.cut, other.cut), (self.omitted, other.omitted)
            )
        )  # fmt: skip
        return RowCounts(self.read + other.read, self.used + other.used, *sums)
