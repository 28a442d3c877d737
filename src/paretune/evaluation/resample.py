"""Resampled prompts: the same draws for every policy of a run, so that comparisons are paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.results import Interval
from paretune.errors import InputError

COVERAGE = 0.95
"""Share of the resamples inside an interval."""


@final
@dataclass(frozen=True)
class Resamples:
    """How often each prompt occurs in each resample.

    Replies to one prompt are not independent, so prompts are drawn with replacement and bring
    all their replies along. A resample is stored as counts: a mean over it is one matrix product.

    Args:
        counts: ``(B, S)`` float64, rows sum to S.
    """

    counts: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, n_prompts: int, n_resamples: int, rng: np.random.Generator) -> Resamples:
        """Prompts drawn with replacement, ``n_resamples`` times.

        Raises:
            InputError: if there is no prompt or no resample.
        """
        if n_prompts < 1 or n_resamples < 1:
            raise InputError(
                f"bootstrap: found {n_prompts} prompts and {n_resamples} resamples, expected >= 1"
            )
        counts = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_resamples)
        return cls(counts.astype(np.float64))

    @property
    def n_prompts(self) -> int:
        """S, the number of prompts."""
        return int(self.counts.shape[1])

    def means(
        self, values: npt.NDArray[np.float64], prompt_of: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Mean over replies in every resample.

        Args:
            values: ``(N, D)`` numbers of the replies.
            prompt_of: ``(N,)`` prompt of each reply; every prompt has at least one.

        Returns:
            ``(B, D)`` means; a prompt with more replies weighs more, as in the plain mean.

        Raises:
            InputError: if a prompt has no reply or an index is out of range.

        Example:
            >>> twice_first = Resamples(np.array([[2.0, 0.0], [1.0, 1.0]]))
            >>> twice_first.means(np.array([[1.0], [3.0]]), np.array([0, 1]))
            array([[1.],
                   [2.]])
        """
        if prompt_of.min() < 0 or prompt_of.max() >= self.n_prompts:
            raise InputError(
                f"replies: found prompts {prompt_of.min()} to {prompt_of.max()}, "
                f"expected 0 to {self.n_prompts - 1}"
            )
        n_replies = np.bincount(prompt_of, minlength=self.n_prompts).astype(np.float64)
        if (n_replies == 0).any():
            raise InputError(
                f"replies: prompt {int(np.argmin(n_replies))} has no reply, expected at least one "
                f"for each of the {self.n_prompts} evaluation prompts"
            )
        sums = np.zeros((self.n_prompts, values.shape[1]))
        np.add.at(sums, prompt_of, values)
        means: npt.NDArray[np.float64] = (self.counts @ sums) / (self.counts @ n_replies)[:, None]
        return means


def interval(value: float, draws: npt.NDArray[np.float64]) -> Interval:
    """Percentile interval of an estimate, widened where needed so that it holds the estimate.

    Args:
        value: the estimate on all prompts.
        draws: ``(B,)`` the same number on every resample.
    """
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))
