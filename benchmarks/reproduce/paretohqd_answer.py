"""The ParetoHqD page in a few sentences, which the numbers choose."""

from __future__ import annotations

from collections.abc import Sequence

from fspo_numbers import CHEBYSHEV, HYPERVOLUME, SMALLEST
from paretohqd_scores import between, told
from paretohqd_world import GRID, LINEAR, RAY, Runs, World
from section import Section

QUESTIONS = (
    ("covers non-convex fronts", "Does selection by rays beat selection by weighted sums?"),
    ("Policies of preference rays", "And the policies that are trained on what is selected?"),
    ("A second stage", "Does the second stage help?"),
    ("A hundred responses", "Are 100 responses a trade-off enough, and all of them worse?"),
    ("top few layers", "Are the top few layers the ones to learn from?"),
    ("Hypervolume is about twice", "Is the hypervolume about twice that of Rewarded Soups?"),
    ("Few replies collapse", "Do 7 % of replies collapse, and 30 % of the baselines'?"),
    ("GPU time", "Is the cost 2.5 % of MORLHF's, and 42 % of RiC's?"),
)
"""Words of a claim, and the question that a reader has."""


def answer(found: Sequence[Section], world: World, comparison: Runs) -> str:
    """Paragraphs."""
    parts = ["\n".join(f"- **{question(s)}** {_sentence(s.verdict)}" for s in found)]
    if world.main:
        parts.append(_yardsticks(world.main))
    parts.append(limits(world, comparison))
    return "\n\n".join(parts)


def question(section: Section) -> str:
    """Of the reader; the claim where there is none."""
    return next((asked for words, asked in QUESTIONS if words in section.claim), section.claim)


def _sentence(verdict: str) -> str:
    head, _, tail = verdict.partition(": ")
    words = {"holds": "Yes", "does not hold": "No", "not decided": "Not decided"}
    if head == "holds only if":
        return f"Only if {tail}."
    return f"{words[head]}: {tail}." if tail else f"{words[head]}."


def _yardsticks(runs: Runs) -> str:
    gaps = between(runs, RAY, LINEAR, (HYPERVOLUME, SMALLEST, CHEBYSHEV))
    said = "; ".join(told(gaps, measure) for measure in dict.fromkeys(m for _, m in gaps))
    return (
        f"Policies of rays less those of weighted sums, points of percent: {said}. On rewards "
        "alone, where a dent is as deep as one likes, rays select replies that weighted sums "
        "cannot, and the mean rewards can be worse all the same: averages may be mixtures, single "
        "replies may not."
    )


def limits(world: World, comparison: Runs) -> str:
    """What this page cannot say."""
    counts = [len(r) for runs in (world.main, world.sizes) for r in runs.values()]
    seeds = (
        f"{max(counts, default=0)}" if len(set(counts)) < 2 else f"{min(counts)} to {max(counts)}"
    )
    parts = [
        "Limits: a transformer of 0.2 million parameters on an embedded world of how-to requests "
        f"(113 words), exact programs as rewards, 120 evaluation prompts, {GRID + 1} trade-offs "
        "(11 and fewer in the comparison), "
        f"{seeds} seeds; the paper fine-tunes 7 billion parameters with learned reward models, "
        "which a selection of the highest rewards may also exploit: that cannot happen here."
    ]
    if not comparison:
        parts.append("Tuned baselines are missing: the comparison of all methods was not finished.")
    return " ".join(parts)
