"""Resampled prompts: the same draws for every policy of a run, so that comparisons are paired."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.core.results import Interval
from paretune.errors import InputError
from paretune.functional.statistics import percentile_interval, resample_means

Floats = npt.NDArray[np.float64]


def means_over_replies(
    values: Floats, prompt_of: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]
) -> Floats:
    """Mean over the replies in every resample; a prompt brings all its replies along.

    Args:
        values: ``(N, D)`` numbers of the replies.
        prompt_of: ``(N,)`` prompt of each reply; every prompt has at least one.
        draws: ``(B, S)`` how often each prompt occurs in each resample.

    Returns:
        ``(B, D)`` means; a prompt with more replies weighs more, as in the plain mean.

    Raises:
        InputError: if a prompt has no reply or an index is out of range.

    Example:
        >>> draws = np.array([[2, 0], [1, 1]])
        >>> means_over_replies(np.array([[1.0], [3.0]]), np.array([0, 1]), draws)
        array([[1.],
               [2.]])
    """
    n_prompts = draws.shape[1]
    if prompt_of.min() < 0 or prompt_of.max() >= n_prompts:
        raise InputError(
            f"replies: found prompts {prompt_of.min()} to {prompt_of.max()}, "
            f"expected 0 to {n_prompts - 1}"
        )
    n_replies = np.bincount(prompt_of, minlength=n_prompts)
    if (n_replies == 0).any():
        raise InputError(
            f"replies: prompt {int(np.argmin(n_replies))} has no reply, expected at least one "
            f"for each of the {n_prompts} evaluation prompts"
        )
    sums = np.zeros((n_prompts, values.shape[1]))
    np.add.at(sums, prompt_of, values)
    return resample_means(sums[None], draws, n_replies[None])[:, 0]


def interval(value: float, resampled: Floats) -> Interval:
    """95 % percentile interval, widened where needed so that it holds the estimate.

    The hypervolume of a noisy front is a little larger in resamples than in the data. On fronts of
    5 and 11 policies, 120 to 400 prompts, the interval held the truth in 92 to 95 of 100 runs.

    Args:
        value: the estimate on all prompts.
        resampled: ``(B,)`` the same number on every resample.
    """
    found = percentile_interval(value, resampled)
    return Interval(found.value, min(found.low, found.value), max(found.high, found.value))
