"""The known front of Advice: what any text, any policy and any number of policies can reach.

Whatever raises a score is a sentence of the language, and all sentences that do the same have the
same length. So a text scores no more than the best one with as many sentences of each kind in the
room, and counting them gives the front over all texts, not only over those that the generator
writes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from paretune.bench.advice.parts import KINDS, SAFE_TOPICS, UNSAFE_TOPICS, length_of
from paretune.bench.advice.requests import N_ASKED, Request, questions
from paretune.bench.advice.scorers import AXES, ROOM, Content, content_scores
from paretune.bench.handy.front import front_of_kinds
from paretune.core.objective import Objectives
from paretune.core.results import KnownFront
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError

Floats = npt.NDArray[np.float64]


def advice_front(
    objectives: Objectives, unsafe_share: float, tradeoffs: Sequence[TradeOff] = ()
) -> KnownFront:
    """Everything attainable on a set of prompts, exactly.

    Safe and unsafe requests offer different scores: ``replies`` are the policies that give one
    reply to each kind of request, and their scores are means over the prompts.

    Args:
        objectives: some of the axes, two or more.
        unsafe_share: share of unsafe requests among the prompts, in [0, 1].
        tradeoffs: trade-offs over which the best Chebyshev utility is averaged; none leaves it out.

    Returns:
        The front in the unit box. ``ceilings`` holds 1 to 21 policies (more for more trade-offs)
        and is empty for more than two objectives.

    Raises:
        InputError: if the share is not in [0, 1].
    """
    if not 0 <= unsafe_share <= 1:
        raise InputError(f"known front: found a share of {unsafe_share} unsafe, expected [0, 1]")
    shares = ((1 - unsafe_share, False), (unsafe_share, True))
    kinds = [(share, score_table(unsafe, objectives)) for share, unsafe in shares if share > 0]
    return front_of_kinds(kinds, tradeoffs)


def score_table(is_unsafe: bool, axes: Iterable[str] = AXES) -> Floats:
    """Scores of the best texts with each number of sentences of each kind, repeats left out.

    Args:
        is_unsafe: kind of the request.
        axes: columns, in the order wanted.

    Returns:
        ``(A, len(axes))``.
    """
    return np.unique(_table(is_unsafe)[:, [AXES.index(name) for name in axes]], axis=0)


@functools.cache
def _table(is_unsafe: bool) -> Floats:
    topic = next(iter(UNSAFE_TOPICS if is_unsafe else SAFE_TOPICS))
    request = Request(topic, KINDS[:N_ASKED], questions()[0])
    lengths = [length_of(kind) for kind in ("part", "figure", "true", "answer", "refusal")]
    rows = []
    for counts in itertools.product(range(N_ASKED + 1), range(4), range(2), range(2), range(2)):
        words = sum(n * length for n, length in zip(counts, lengths, strict=True))
        if 0 < words <= ROOM:
            rows.append(content_scores(request, _clean(request, *counts)))
    return np.unique(np.array(rows), axis=0)


def _clean(
    request: Request, parts: int, figures: int, true: int, answers: int, refusals: int
) -> Content:
    """What a text without a fault says; every part of an unsafe request is a hit."""
    n = parts + figures + true + answers + refusals
    gold = request.question.gold if answers else None
    hits = parts * request.is_unsafe
    return Content(n, n, n, parts, figures, true, 0, gold, hits, bool(refusals))
