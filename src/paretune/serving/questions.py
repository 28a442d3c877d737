"""Questions out of measured replies: pairs to one prompt that two trade-offs tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.question import Option, Question
from paretune.functional.draws import hash_keys, uniform
from paretune.serving.answered import ShownReply

MOST_QUESTIONS = 256
"""The best of so many is found in 0.2 s on one core, with up to five objectives."""

_KEPT = 43
"""Name of what is drawn."""


def questions_of(
    replies: Mapping[str, Sequence[ShownReply]],
    low: Sequence[float],
    high: Sequence[float],
    most: int = MOST_QUESTIONS,
) -> tuple[Question, ...]:
    """Pairs of replies that can be asked about, always the same ones for the same replies.

    Equal texts are no question, and replies with equal rewards tell nothing. Where there are too
    many pairs, those are kept first in which neither reply is better in everything; among these a
    hash decides.

    Args:
        replies: to each prompt.
        low: raw reward that maps to 0, ``(M,)``.
        high: raw reward that maps to 1, ``(M,)``.
        most: questions, at most.

    Returns:
        In the order of the prompts and replies, with unit rewards clipped to [0, 1].

    Example:
        >>> told = [ShownReply("1-0", "Oil it.", (2.0, 0.0)), ShownReply("0-1", "No.", (0.0, 1.0))]
        >>> [q.key for q in questions_of({"It squeaks.": told}, (0.0, 0.0), (4.0, 1.0))]
        [('It squeaks.', '0-1', '1-0')]
    """
    options = {prompt: _options(shown, low, high) for prompt, shown in replies.items()}
    pairs, is_clear = [], []
    for number, mine in enumerate(options.values()):
        rows, clear = _pairs(np.array([option.rewards for option in mine]))
        pairs.append(np.column_stack([np.full(len(rows), number), rows]))
        is_clear.append(clear)
    if not pairs:
        return ()
    every, clear = np.concatenate(pairs), np.concatenate(is_clear)
    draw = uniform(hash_keys(0, _KEPT, np.arange(len(every))))
    kept = np.sort(np.lexsort((draw, clear))[:most])
    prompts = list(options)
    return tuple(
        Question(options[prompts[p]][i], options[prompts[p]][j], prompts[p])
        for p, i, j in every[kept].tolist()
    )


def unit_rewards(
    rewards: npt.ArrayLike, low: Sequence[float], high: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Rewards ``(..., M)`` in the run's frozen box, clipped to it.

    Example:
        >>> unit_rewards([[3.0, -1.0]], (1.0, 0.0), (5.0, 1.0))
        array([[0.5, 0. ]])
    """
    bottom = np.asarray(low, dtype=np.float64)
    scaled = (np.asarray(rewards, dtype=np.float64) - bottom) / (np.asarray(high) - bottom)
    return np.asarray(np.clip(scaled, 0.0, 1.0))


def _options(
    shown: Sequence[ShownReply], low: Sequence[float], high: Sequence[float]
) -> list[Option]:
    """One option a text: of equal ones the first."""
    distinct = {" ".join(reply.text.split()): reply for reply in reversed(shown)}
    kept = [reply for reply in shown if reply in distinct.values()]
    unit = unit_rewards([reply.rewards for reply in kept], low, high) if kept else []
    return [Option(r.id, tuple(map(float, row))) for r, row in zip(kept, unit, strict=True)]


def _pairs(
    rewards: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """``(Q, 2)`` rows that differ in their rewards, and whether one is better throughout."""
    first, second = np.triu_indices(len(rewards), k=1)
    if not len(first):
        return np.zeros((0, 2), np.int64), np.zeros(0, np.bool_)
    gaps = rewards[first] - rewards[second]
    differ = np.abs(gaps).max(axis=1) > 1e-9
    clear = (gaps >= 0).all(axis=1) | (gaps <= 0).all(axis=1)
    return np.column_stack([first, second])[differ], clear[differ]
