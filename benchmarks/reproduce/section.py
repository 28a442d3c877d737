"""What a reproduction page is made of: one claim of a paper, and what was measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Verdict = Literal["holds", "holds only if", "does not hold"]


@final
@dataclass(frozen=True)
class Section:
    """One claim, in words of our own, and what was measured.

    Args:
        claim: what the paper says, one sentence that is also the heading.
        where_in_paper: section, table or equation.
        measured: one sentence with the numbers, for the summary at the top.
        verdict: :data:`Verdict`; ``holds only if`` and ``does not hold`` may be followed by a
            colon and the condition or the reason (``holds only if: the lag is infinite``).
        body_markdown: the tables and what to read in them, without a heading.
    """

    claim: str
    where_in_paper: str
    measured: str
    verdict: str
    body_markdown: str

    def __post_init__(self) -> None:
        head = self.verdict.split(":", 1)[0]
        if head not in ("holds", "holds only if", "does not hold"):
            raise ValueError(f"section {self.claim!r}: found verdict {self.verdict!r}")
