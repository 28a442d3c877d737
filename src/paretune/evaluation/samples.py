"""Replies side by side: the same prompt along the trade-offs of every method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.results import Sample
from paretune.evaluation.replies import MethodReplies
from paretune.functional.simplex import spread

MOST = 21
"""Trade-offs kept of one method, spread over those it has: a page holds them all."""


def pick_samples(
    methods: Sequence[MethodReplies], prompts: Sequence[str], n: int, rng: np.random.Generator
) -> tuple[Sample, ...]:
    """Prompts drawn at random (so that nobody chose the flattering ones), all methods on each.

    Args:
        methods: what each method said; those without a point are left out.
        prompts: S evaluation prompts as text.
        n: prompts shown; all of them when fewer exist.
        rng: draws the prompts.

    Returns:
        Samples by prompt, then by method; of several replies to a prompt the first.
    """
    shown = np.sort(rng.choice(len(prompts), size=min(n, len(prompts)), replace=False))
    return tuple(
        _sample(method, int(prompt), prompts[prompt])
        for prompt in shown
        for method in methods
        if method.points
    )


def _sample(method: MethodReplies, prompt: int, text: str) -> Sample:
    asked = [point.tradeoff for point in method.points]
    kept = set(spread(asked, min(MOST, len(set(asked)))))
    points = [point for point in method.points if point.tradeoff in kept]
    rows = [int(np.flatnonzero(p.table.prompt_of == prompt)[0]) for p in points]
    return Sample(
        method.name,
        text,
        tuple(p.table.texts[row] for p, row in zip(points, rows, strict=True)),
        tuple(
            tuple(float(v) for v in p.table.rewards[row])
            for p, row in zip(points, rows, strict=True)
        ),
        tuple(p.tradeoff.weights for p in points),
    )
