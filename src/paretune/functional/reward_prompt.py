"""Rewards in a prompt: writing them, reading them back, and what a conditioned policy is told.

The three last functions are conditions of a job, of a round and of an answer. Fix their options by
keyword with :func:`functools.partial`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.rewards import Normalizer
from paretune.errors import InputError, NotScoredError
from paretune.functional.desired_rewards import (
    RangeFrom,
    Rule,
    desired_rewards,
    goal_range,
    sample_goals,
)

Floats = npt.NDArray[np.float64]

_FIRST = " <rm1_score> "
_ENTRY = re.compile(r" <rm([1-9]\d*)_score> (-?\d+\.\d)")
_GOAL_NORMALS = 100_000


def write_rewards(prompt: str, scores: Sequence[float] | Floats, marker: str = "") -> str:
    """A prompt that tells a policy the rewards of its reply.

    Args:
        prompt: its text.
        scores: ``(M,)`` z-scores, written with one decimal.
        marker: text that may end prompts to open the reply, such as ``"\\n\\nAssistant:"``; the
            rewards then go before it.

    Raises:
        NotScoredError: if a score is not a finite number.

    Source:
        Yang et al. 2024, "Rewards-in-Context", with the tags of its published code. That code
        strips the *characters* of the marker off the prompt, which eats letters of the prompt;
        here the marker is a suffix or it is not there.

    Example:
        >>> write_rewards("Hi!", (0.71, -0.04))
        'Hi! <rm1_score> 0.7 <rm2_score> 0.0'
        >>> write_rewards("Hi! Reply:", (1.0,), marker=" Reply:")
        'Hi! <rm1_score> 1.0 Reply:'
    """
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise NotScoredError(
            f"prompt {prompt[:40]!r}: found rewards {values.tolist()}, expected finite numbers"
        )
    # Adding zero turns -0.0 into 0.0, a word of its own for a tokenizer.
    tenths = np.round(values, 1) + 0.0
    told = "".join(f" <rm{i}_score> {value:.1f}" for i, value in enumerate(tenths, 1))
    is_marked = bool(marker) and prompt.endswith(marker)
    return prompt.removesuffix(marker) + told + (marker if is_marked else "")


def read_rewards(text: str, marker: str = "") -> tuple[str, tuple[float, ...]]:
    """Inverse of :func:`write_rewards`: the prompt as it was, and the rewards it was told.

    Args:
        text: a prompt with rewards.
        marker: as it was given to :func:`write_rewards`.

    Raises:
        InputError: if the text does not end with rewards 1 to M.

    Example:
        >>> read_rewards("Hi! <rm1_score> 0.7 <rm2_score> 0.0")
        ('Hi!', (0.7, 0.0))
    """
    is_marked = bool(marker) and text.endswith(marker)
    body = text.removesuffix(marker)
    # The last first tag is ours, even in a prompt that talks about tags.
    start = body.rfind(_FIRST)
    entries = _ENTRY.findall(body[start:]) if start >= 0 else []
    told = "".join(f" <rm{i}_score> {value}" for i, value in entries)
    if not entries or told != body[start:] or not _is_counted(entries):
        raise InputError(
            f"prompt: found {text[-60:]!r} at its end, expected <rm1_score> and so on with one "
            "number each"
        )
    prompt = body[:start] + (marker if is_marked else "")
    return prompt, tuple(float(value) for _, value in entries)


def tell_rewards(
    prompt: str,
    rewards: Floats,
    normalizer: Normalizer,
    *,
    limit: float = np.inf,
    marker: str = "",
) -> str:
    """A training prompt that is told the rewards its response got.

    Args:
        prompt: its text.
        rewards: ``(M,)`` of the response, in the unit of the scorers.
        normalizer: statistics of the training rewards.
        limit: z-scores beyond it are written as it; for tokenizers with words up to some number.
        marker: of :func:`write_rewards`.

    Source:
        Yang et al. 2024, "Rewards-in-Context", offline stage; the limit is ours.

    Example:
        >>> normalizer = Normalizer((1.0,), (2.0,), (0.0,), (9.0,), 5)
        >>> tell_rewards("Hi!", np.array([2.0]), normalizer)
        'Hi! <rm1_score> 0.5'
    """
    return _write(prompt, normalizer.standardize(rewards), limit, marker)


def ask_goal(
    prompt: str,
    key: np.uint64,
    normalizer: Normalizer,
    *,
    range_from: RangeFrom = "data",
    limit: float = np.inf,
    marker: str = "",
) -> str:
    """A prompt of the online stage, which asks for a random goal.

    Args:
        prompt: its text.
        key: random 64-bit key of the reply; see
            :func:`~paretune.functional.desired_rewards.sample_goals`.
        normalizer: statistics of the training rewards.
        range_from: see :func:`~paretune.functional.desired_rewards.goal_range`; of ``gauss``,
            100,000 normals.
        limit: of :func:`tell_rewards`.
        marker: of :func:`write_rewards`.

    Source:
        Yang et al. 2024, "Rewards-in-Context", online stage.
    """
    low, high = goal_range(normalizer, range_from, _GOAL_NORMALS)
    return _write(prompt, sample_goals(np.array([key]), low, high)[0], limit, marker)


def ask_tradeoff(
    prompt: str,
    normalizer: Normalizer,
    *,
    weights: Sequence[float],
    rule: Rule = "norm",
    p: float = 2.0,
    range_from: RangeFrom = "data",
    limit: float = np.inf,
    marker: str = "",
) -> str:
    """A prompt that asks for what a trade-off wishes.

    Args:
        prompt: its text.
        normalizer: statistics of the training rewards.
        weights: ``(M,)`` trade-off on the simplex.
        rule: of :func:`~paretune.functional.desired_rewards.desired_rewards`.
        p: of the rule.
        range_from: see :func:`~paretune.functional.desired_rewards.goal_range`; of ``gauss``,
            50,000 normals.
        limit: of :func:`tell_rewards`.
        marker: of :func:`write_rewards`.

    Source:
        Yang et al. 2024, "Rewards-in-Context", inference.

    Example:
        >>> normalizer = Normalizer((0.0, 0.0), (1.0, 1.0), (-2.0, -2.0), (2.0, 2.0), 5)
        >>> ask_tradeoff("Hi!", normalizer, weights=(1.0, 0.0))
        'Hi! <rm1_score> 2.0 <rm2_score> -2.0'
    """
    low, high = goal_range(normalizer, range_from)
    return _write(prompt, desired_rewards(weights, low, high, rule, p), limit, marker)


def _write(prompt: str, scores: Floats, limit: float, marker: str) -> str:
    return write_rewards(prompt, np.clip(scores, -limit, limit), marker)


def _is_counted(entries: Sequence[tuple[str, str]]) -> bool:
    return [number for number, _ in entries] == [str(i) for i in range(1, len(entries) + 1)]
