"""Comparisons of a table: how likely each action is preferred, and every way to label a pair."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Seen = tuple[int, int, int, tuple[float, ...]]
"""Context, first action, second action, and a label in [-1, 1] for each objective."""


def seen_preferences(seen: Sequence[Seen], shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """What comparisons say of every two actions, and of every action.

    Args:
        seen: each counting once.
        shape: (S, A, M).

    Returns:
        ``(M, S, A, A)`` probability that the first action is preferred to the second, NaN where
        they were never compared, 1/2 on the diagonal; and ``(S, A, M)`` mean over the comparisons
        of an action, 0 where there are none: what nobody compared is not preferred.

    Example:
        >>> table, mean = seen_preferences([(0, 0, 1, (1.0,)), (0, 0, 2, (0.0,))], (1, 3, 1))
        >>> table[0, 0]
        tensor([[0.5000, 1.0000, 0.5000],
                [0.0000, 0.5000,    nan],
                [0.5000,    nan, 0.5000]], dtype=torch.float64)
        >>> mean[0, :, 0]
        tensor([0.7500, 0.0000, 0.5000], dtype=torch.float64)
    """
    n_contexts, n_actions, n_objectives = shape
    sums = torch.zeros(n_objectives, n_contexts, n_actions, n_actions).double()
    counts = torch.zeros(n_contexts, n_actions, n_actions).double()
    for context, first, second, labels in seen:
        chance = (1 + torch.tensor(labels).double()) / 2
        sums[:, context, first, second] += chance
        sums[:, context, second, first] += 1 - chance
        counts[context, [first, second], [second, first]] += 1
    mean = sums.sum(-1) / counts.sum(-1).clamp(min=1.0)
    table = sums / counts
    table[..., range(n_actions), range(n_actions)] = 0.5
    return table, mean.movedim(0, -1)


def against_others(preferences: Tensor, behavior: Tensor) -> Tensor:
    """``(S, A, M)`` probability to be preferred to another action of the behavior policy.

    Args:
        preferences: ``(M, S, A, A)``.
        behavior: ``(S, A)`` probabilities of the opponents.

    Example:
        >>> chances = torch.tensor([[[[0.5, 0.9], [0.1, 0.5]]]])
        >>> against_others(chances, torch.tensor([[0.2, 0.8]])).ravel()
        tensor([0.9000, 0.1000])
    """
    n_actions = behavior.shape[1]
    opponent = behavior[:, None, :].repeat(1, n_actions, 1)
    opponent[:, range(n_actions), range(n_actions)] = 0.0
    opponent = opponent / opponent.sum(-1, keepdim=True)
    return torch.einsum("msab,sab->sam", preferences, opponent)


def label_ways(
    rewards: Floats, behavior: Floats, slope: float
) -> tuple[Ints, Ints, Floats, Floats]:
    r"""Every way to label every two actions of a context, with its probability.

    Objective i prefers the first with probability :math:`\sigma(\text{slope}\,\Delta r_i)`,
    independently of the others.

    Args:
        rewards: ``(S, A, M)``.
        behavior: ``(S, A)`` probabilities of the actions that are compared.
        slope: log-odds per unit of reward, > 0.

    Returns:
        ``(P,)`` first and second row (``context * A + action``), ``(P, M)`` labels and ``(P,)``
        multiplicity: A squared times the probability of both actions and of the labels.

    Raises:
        ConfigError: if ``slope`` is not positive.
    """
    if not slope > 0:
        raise ConfigError(f"problem: found slope {slope}, expected a number > 0")
    n_contexts, n_actions, n_objectives = rewards.shape
    a, b = np.triu_indices(n_actions, k=1)
    offset = np.arange(n_contexts)[:, None] * n_actions
    ways = np.array(list(itertools.product((1.0, -1.0), repeat=n_objectives)))
    first = np.repeat((offset + a).ravel(), len(ways))
    second = np.repeat((offset + b).ravel(), len(ways))
    labels = np.tile(ways, (len(first) // len(ways), 1))
    values = rewards.reshape(-1, n_objectives)
    margins = values[first] - values[second]
    chances = (1 / (1 + np.exp(-slope * labels * margins))).prod(axis=1)
    share = behavior.reshape(-1) * n_actions
    return first, second, labels, chances * share[first] * share[second]
