"""Particles: the persons that a prior thinks possible, as arrays."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import final, get_args

import numpy as np
import numpy.typing as npt

from paretune.core.question import ANSWERS
from paretune.core.user import Utility
from paretune.errors import InputError
from paretune.functional.answer_model import answer_log_chances, utilities
from paretune.functional.simplex import lattice

Floats = npt.NDArray[np.float64]

_MOST_CELLS, _FINEST = 350, 99


@final
@dataclass(frozen=True)
class Prior:
    """Who might be asking, before the first answer: all combinations, equally likely.

    Args:
        utilities: kinds of utility.
        temperatures: how unsure answers are, > 0, in units of utility
            (:func:`~paretune.functional.answer_model.answer_log_chances`). 0.1 is the noise of the
            embedded world's labels; 0.5 stands for somebody who hardly looks.
        same: how readily "same" is said, >= 0.
        steps: of the lattice of weights along an edge, H; 0 takes as many as give at most 350
            points, and at most 99.

    Raises:
        InputError: if a list is empty or a number is out of range.
    """

    utilities: tuple[Utility, ...] = get_args(Utility)
    temperatures: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5)
    same: tuple[float, ...] = (0.25, 2.0)
    steps: int = 0

    def __post_init__(self) -> None:
        is_right = (
            bool(self.utilities and self.temperatures and self.same)
            and set(self.utilities) <= set(get_args(Utility))
            and all(0 < t < math.inf for t in self.temperatures)
            and all(0 <= s < math.inf for s in self.same)
            and self.steps >= 0
        )
        if not is_right:
            raise InputError(
                f"prior: found {self}, expected utilities of {', '.join(get_args(Utility))}, "
                "temperatures > 0, same >= 0 and steps >= 0, none empty"
            )


@final
@dataclass(frozen=True, eq=False)
class Particles:
    """Persons that are possible, as arrays: utilities x weights x noise, the last the fastest.

    Args:
        weights: ``(W, M)`` rows inside the simplex.
        utilities: F kinds.
        temperature: ``(T,)`` of each kind of noise.
        same: ``(T,)`` of each kind of noise.
    """

    weights: Floats
    utilities: tuple[Utility, ...]
    temperature: Floats
    same: Floats

    @property
    def n_tastes(self) -> int:
        """Tastes (a kind of utility with weights), ``F * W``."""
        return len(self.utilities) * len(self.weights)

    @property
    def n_noises(self) -> int:
        """Kinds of noise of each taste, T; there are ``F * W * T`` particles."""
        return len(self.same)

    def rate(self, rewards: npt.ArrayLike) -> Floats:
        """``(F * W, N)`` utilities of rewards ``(N, M)`` to each taste."""
        return np.concatenate([utilities(rewards, self.weights, kind) for kind in self.utilities])

    def answer_log_chances(self, first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
        """``(P, Q, 3)`` nats: what each particle would answer to questions ``(Q, M)``."""
        gaps = self.rate(first) - self.rate(second)
        logs = answer_log_chances(gaps[:, None], self.temperature[:, None], self.same[:, None])
        return logs.reshape(-1, gaps.shape[1], len(ANSWERS))


@functools.lru_cache(maxsize=16)
def particles(n_objectives: int, prior: Prior = Prior()) -> Particles:
    r"""Every person a prior thinks possible.

    Weights are the points :math:`a` of a lattice with sum :math:`H`, drawn toward the center,

    .. math:: w = \frac{1}{M} + \frac{a - H/M}{\sqrt{H(H + M)}},

    so that their mean and covariance are exactly those of the uniform (Dirichlet(1)) prior, where a
    lattice that reaches the corners would believe too much in extremes; and so that a permutation
    of the objectives permutes the particles.

    Args:
        n_objectives: M, >= 2.
        prior: the combinations.

    Raises:
        InputError: if there are fewer than two objectives: nothing to trade.

    Example:
        >>> particles(2, Prior(steps=2)).weights.round(3).tolist()
        [[0.146, 0.854], [0.5, 0.5], [0.854, 0.146]]
    """
    if n_objectives < 2:
        raise InputError(f"particles: found {n_objectives} objectives, expected at least 2")
    steps = prior.steps or max(
        h
        for h in range(1, _FINEST + 1)
        if h == 1 or math.comb(h + n_objectives - 1, n_objectives - 1) <= _MOST_CELLS
    )
    points = np.array([t.weights for t in lattice(n_objectives, steps)])
    shrink = math.sqrt(steps / (steps + n_objectives))
    weights = (1 + (n_objectives * points - 1) * shrink) / n_objectives
    temperature, same = np.meshgrid(prior.temperatures, prior.same, indexing="ij")
    for array in (weights, temperature, same):
        array.flags.writeable = False
    return Particles(weights, prior.utilities, temperature.ravel(), same.ravel())
