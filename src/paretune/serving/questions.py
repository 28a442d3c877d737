"""Questions out of measured replies: pairs to one prompt that two trade-offs tell apart."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.question import Option, Question
from paretune.functional.collapse import collapse_cause
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.unit_box import unit_rewards
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

    Equal texts are no question, replies with equal rewards tell nothing, and collapsed ones are not
    shown. Where there are too many pairs, those are kept first in which neither reply is better in
    everything; among these a hash decides.

    Args:
        replies: to each prompt.
        low: raw reward that maps to 0, ``(M,)``.
        high: raw reward that maps to 1, ``(M,)``.
        most: questions, at most.

    Returns:
        In the order of the prompts and replies, with unit rewards clipped to [0, 1].

    Example:
        >>> told = [ShownReply("1-0", "Oil it now.", (2, 0)), ShownReply("0-1", "Do not.", (0, 1))]
        >>> more = [ShownReply("0.5-0.5", "Ask me once more.", (1.0, 1.0))]
        >>> [q.key for q in questions_of({"It squeaks.": told + more}, (0.0, 0.0), (4.0, 1.0))]
        [('It squeaks.', '0.5-0.5', '1-0')]
    """
    every_distinct = {prompt: _distinct(shown) for prompt, shown in replies.items()}
    distinct = {prompt: shown for prompt, shown in every_distinct.items() if len(shown) > 1}
    prompts, pairs, is_clear = list(distinct), [], []
    for number, shown in enumerate(distinct.values()):
        rows, clear = _pairs(unit_rewards([r.rewards for r in shown], low, high))
        pairs.append(np.column_stack([np.full(len(rows), number), rows]))
        is_clear.append(clear)
    if not pairs:
        return ()
    every, clear = np.concatenate(pairs), np.concatenate(is_clear)
    draw = uniform(hash_keys(0, _KEPT, np.arange(len(every))))

    @functools.cache
    def option(prompt: int, row: int) -> Option | None:
        """``None`` = not to be shown. Looked at last: to read every reply of a run takes long."""
        reply = distinct[prompts[prompt]][row]
        if collapse_cause(reply.text) is not None:
            return None
        return Option(reply.id, tuple(unit_rewards(reply.rewards, low, high).tolist()))

    found = []
    for at in np.lexsort((draw, clear)).tolist():
        prompt, *rows = every[at].tolist()
        first, second = (option(prompt, row) for row in rows)
        if first is not None and second is not None:
            found.append((at, Question(first, second, prompts[prompt])))
            if len(found) == most:
                break
    return tuple(question for _, question in sorted(found, key=lambda pair: pair[0]))


def _distinct(shown: Sequence[ShownReply]) -> list[ShownReply]:
    """One reply a text: of equal ones the first."""
    found: dict[str, ShownReply] = {}
    for reply in shown:
        found.setdefault(" ".join(reply.text.split()), reply)
    return list(found.values())


def _pairs(
    rewards: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """``(Q, 2)`` rows that differ in their rewards, and whether one is better throughout."""
    first, second = np.triu_indices(len(rewards), k=1)
    gaps = rewards[first] - rewards[second]
    differ = np.abs(gaps).max(axis=1) > 1e-9
    clear = (gaps >= 0).all(axis=1) | (gaps <= 0).all(axis=1)
    return np.column_stack([first, second])[differ], clear[differ]
