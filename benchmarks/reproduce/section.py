"""What a reproduction page is made of: one claim of a paper, and what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

from pagetext import table

Verdict = Literal["holds", "holds only if", "does not hold", "not decided"]


def claims(sections: Sequence[Section]) -> list[str]:
    """The summary of all claims, and the body of each."""
    rows = [
        [f"{i}. {s.claim}", s.where_in_paper, s.measured, _bold(s.verdict)]
        for i, s in enumerate(sections, start=1)
    ]
    summary = table(["claim", "where", "measured", "verdict"], rows, 4)
    bodies = [
        f"## {i}. {s.claim}\n\n{s.where_in_paper}. {_bold(s.verdict)}.\n\n{s.body_markdown}"
        for i, s in enumerate(sections, start=1)
    ]
    return [f"## Summary\n\n{summary}", *bodies]


def _bold(verdict: str) -> str:
    head, *rest = verdict.split(":", 1)
    return f"**{head}**" + "".join(f":{more}" for more in rest)


@final
@dataclass(frozen=True)
class Section:
    """One claim, in words of our own, and what was measured.

    Args:
        claim: what the paper says, one sentence that is also the heading.
        where_in_paper: section, table or equation.
        measured: one sentence with the numbers, for the summary at the top.
        verdict: :data:`Verdict`; all but ``holds`` may be followed by a colon and the condition or
            the reason (``holds only if: the lag is infinite``); ``not decided`` where chance could
            explain what was found, or too little was measured.
        body_markdown: the tables and what to read in them, without a heading.
    """

    claim: str
    where_in_paper: str
    measured: str
    verdict: str
    body_markdown: str

    def __post_init__(self) -> None:
        head = self.verdict.split(":", 1)[0]
        if head not in get_args(Verdict):
            raise ValueError(f"section {self.claim!r}: found verdict {self.verdict!r}")
