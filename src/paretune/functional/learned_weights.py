"""Scalarizers whose weights change from step to step: mirror ascent, uncertainty, chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

from paretune.errors import ConfigError
from paretune.functional.ranges import require_number, require_word
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses, scalarized
from paretune.functional.scalarizers import Linear
from paretune.functional.step_means import REDUCE, Reduce, mean_losses, objective_mean


@final
@dataclass(frozen=True)
class Mirror(Scalarizer):
    r"""Weights that follow the losses, on a leash to the trade-off.

    The weights of a pair are :math:`a_d \propto w_d e^{b_d}`, with one tilt :math:`b` for all users
    and no gradient through it; after each step

    .. math:: b_d \leftarrow (1 - \eta\tau)\,b_d + \eta\,(\bar L_d - \bar z_d)

    At constant losses the weights go to :math:`w_d e^{(L_d - z_d)/\tau}`, normalized: those of
    :class:`~paretune.functional.scalarizers.Tilted`, smoothed over steps. A weight of 0 stays 0.
    The tilt of an objective that no pair of a step is labelled on is kept.

    Args:
        eta: step of the tilt, > 0.
        tau: strength of the leash, > 0; ``eta * tau`` must be below 1.
        reduce: ``auto`` = ``batch``.

    Raises:
        ConfigError: for a field out of range.

    Source:
        The multi-objective FSPO report announces learned combinations without a definition; this
        is mirror ascent on :math:`\max_a \langle a, L\rangle - \tau\,KL(a\|w)`, as Nemirovski et
        al. 2009 for :math:`\tau = 0`.
    """

    eta: float = 0.1
    tau: float = 0.5
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_number(self, "eta", above=0)
        require_number(self, "tau", above=0)
        require_word(self, "reduce", REDUCE)
        if self.eta * self.tau >= 1:
            raise ConfigError(
                f"Mirror: found eta * tau = {self.eta * self.tau:g}, expected it below 1"
            )

    def start(self, n_objectives: int) -> Tensor:
        """``(M,)`` no tilt."""
        return torch.zeros(n_objectives, dtype=torch.float64)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The sum with tilted weights; ``state`` may be ``(B, M)``, a tilt for each pair."""
        tilted = step.weights.double().log() + state.to(step.weights.device)
        weights = tilted.softmax(-1).to(step.weights)
        return _weighted_sum(replace(step, weights=weights), self.reduce)

    def advance(self, step: StepLosses, state: Tensor) -> Tensor:
        """The tilt after a step."""
        losses = torch.where(step.is_labelled, step.losses.detach() - step.ideal, 0)
        means = mean_losses(losses, step).to(state)
        moved = (1 - self.eta * self.tau) * state + self.eta * means
        is_seen = (step.is_labelled & (step.weights > 0)).any(0).to(state.device)
        return torch.where(is_seen, moved, state)


@final
@dataclass(frozen=True)
class UncertaintyWeights(Scalarizer):
    r"""Homoscedastic uncertainty: :math:`\sum_d \tfrac12 e^{-v_d}\bar L_d + \tfrac12 v_d`.

    The log-variances :math:`v` descend the same loss, so weights go to :math:`1/\bar L_d`: it
    favors objectives that are already good, the opposite of a worst case, and it ignores the
    trade-off. For comparison.

    Args:
        learning_rate: of the log-variances, > 0.

    Source:
        Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses",
        Eq. 7, with halves. Deviation: plain gradient steps for :math:`v`, so that its state is the
        log-variances and nothing else.
    """

    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        require_number(self, "learning_rate", above=0)

    def start(self, n_objectives: int) -> Tensor:
        """``(M,)`` log-variances of 0."""
        return torch.zeros(n_objectives, dtype=torch.float64)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The sum with inverse variances, and what variances cost."""
        log_variance = state.to(step.losses)
        is_seen = step.is_labelled.any(0)

        def value(losses: Tensor) -> Tensor:
            each = (-log_variance).exp() * objective_mean(losses, step) + log_variance
            return (each * is_seen).sum() / 2

        return scalarized(value, step)

    def advance(self, step: StepLosses, state: Tensor) -> Tensor:
        """One gradient step of the log-variances of the objectives that are labelled."""
        means = objective_mean(step.losses.detach(), step).to(state)
        slope = (1 - (-state).exp() * means) / 2
        is_seen = step.is_labelled.any(0).to(state.device)
        return torch.where(is_seen, state - self.learning_rate * slope, state)


@final
@dataclass(frozen=True)
class RandomWeights(Scalarizer):
    r"""A weighted sum with new weights each step, :math:`a \sim \mathrm{Dirichlet}(c\,w)`.

    Right on average, since the mean of :math:`a` is the trade-off. A baseline. Users of one
    trade-off share the draw of a step. The state counts the steps, and the draw is a function of
    seed and count: a run that resumes draws what it would have drawn.

    Args:
        concentration: :math:`c` > 0; larger is closer to the trade-off.
        seed: of all draws, >= 0.
        reduce: ``auto`` = ``batch``.

    Source:
        Lin et al. 2021, "Reasonable Effectiveness of Random Weighting", with the trade-off as the
        mean.
    """

    concentration: float = 5.0
    seed: int = 0
    reduce: Reduce = "auto"

    def __post_init__(self) -> None:
        require_number(self, "concentration", above=0)
        require_number(self, "seed", at_least=0)
        if not isinstance(self.seed, int):
            raise ConfigError(f"RandomWeights: found seed {self.seed!r}, expected an integer")
        require_word(self, "reduce", REDUCE)

    def start(self, n_objectives: int) -> Tensor:
        """``(1,)`` no step."""
        return torch.zeros(1, dtype=torch.float64)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The sum with drawn weights."""
        rows = step.weights.detach().double().cpu().numpy()
        chance = np.random.default_rng((self.seed, int(state[0]))).random(rows.shape[1])
        # Dirichlet from Gamma variates by inversion: equal weights meet equal chances.
        shape = np.where(rows > 0, self.concentration * rows, 1.0)
        drawn = np.where(rows > 0, gammaincinv(shape, chance), 0.0)
        # Tiny shapes may all underflow; then the trade-off itself.
        drawn = np.where(drawn.sum(1, keepdims=True) > 0, drawn, rows)
        weights = torch.from_numpy(drawn / drawn.sum(1, keepdims=True)).to(step.weights)
        return _weighted_sum(replace(step, weights=weights), self.reduce)

    def advance(self, step: StepLosses, state: Tensor) -> Tensor:
        """One step more."""
        return state + 1


def _weighted_sum(step: StepLosses, reduce: Reduce) -> Scalarized:
    return Linear("example" if reduce == "example" else "batch")(step, torch.zeros(0))
