"""Weights from the gradients of the objectives: MGDA and UPGrad, by way of torchjd.

Both find steps that harm no objective, and with them *a* point of the front. They do not find the
point that a trade-off asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from paretune.errors import ConfigError, ShapeError
from paretune.functional.ranges import require_number
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses, scalarized
from paretune.functional.step_means import mean_losses


@final
@dataclass(frozen=True)
class MGDA(Scalarizer):
    r"""Shortest convex combination of the gradients: :math:`\min_{\lambda}\|\lambda^\top J\|`.

    Ignores how much the trade-off gives an objective, as long as it gives something.

    Args:
        epsilon: the search stops below this step, > 0.
        max_rounds: most rounds of the search, >= 1.

    Raises:
        ConfigError: for a field out of range, or, when combining, if torchjd is not installed.

    Source:
        Désidéri 2012; Sener and Koltun 2018, "Multi-Task Learning as Multi-Objective
        Optimization", Algorithm 2, of torchjd. Deviation: the gradients are of batch means; on a
        single pair they are parallel, and the weakest would take all.
    """

    epsilon: float = 0.001
    max_rounds: int = 100
    needs_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self, "epsilon", above=0)
        require_number(self, "max_rounds", at_least=1)
        if self.max_rounds != int(self.max_rounds):
            raise ConfigError(f"MGDA: found max_rounds {self.max_rounds}, expected a whole number")

    def start(self, n_objectives: int) -> Tensor:
        """``(M,)`` even weights, until the first are combined."""
        return _even(n_objectives)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The mean losses with combined weights."""
        return _weighted(step, state)

    def combine(self, gramian: Tensor, weights: Tensor) -> Tensor:
        """``(M,)`` on the simplex, 0 where the trade-off is 0."""
        rule = _torchjd("MGDA").MGDAWeighting(self.epsilon, int(self.max_rounds))
        return _over_wanted(rule, gramian, weights)


@final
@dataclass(frozen=True)
class UPGrad(Scalarizer):
    r"""Sum of the weighted gradients, each projected onto the cone that harms no objective.

    .. math:: \sum_d \arg\min_{v \ge w_d e_d}\ v^\top G v

    with :math:`G` the inner products of the gradients. Without conflict it is the weighted sum.

    Raises:
        ConfigError: when combining, if torchjd is not installed.

    Source:
        Quinton and Rey 2024, "Jacobian Descent for Multi-Objective Optimization", Eq. 5, of
        torchjd.
    """

    needs_gradients: ClassVar[bool] = True

    def start(self, n_objectives: int) -> Tensor:
        """``(M,)`` even weights, until the first are combined."""
        return _even(n_objectives)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The mean losses with combined weights."""
        return _weighted(step, state)

    def combine(self, gramian: Tensor, weights: Tensor) -> Tensor:
        """``(M,)``, each at least the trade-off's."""
        wanted = weights > 0
        prior = (weights[wanted] / weights.sum()).to(gramian)
        rule = _torchjd("UPGrad").UPGradWeighting(prior)
        return _over_wanted(rule, gramian, weights)


def _weighted(step: StepLosses, state: Tensor) -> Scalarized:
    return scalarized(lambda losses: (mean_losses(losses, step) * state.to(losses)).sum(), step)


def _over_wanted(rule: Any, gramian: Tensor, weights: Tensor) -> Tensor:
    """The rule on the objectives that somebody wants; 0 for the others."""
    if gramian.shape != (len(weights), len(weights)):
        raise ShapeError(
            f"combine: found inner products of shape {tuple(gramian.shape)} for {len(weights)} "
            "weights"
        )
    wanted = weights > 0
    found = torch.zeros_like(gramian[0])
    found[wanted] = rule(gramian[wanted][:, wanted])
    return found


def _even(n_objectives: int) -> Tensor:
    return torch.full((n_objectives,), 1 / n_objectives, dtype=torch.float64)


def _torchjd(who: str) -> Any:
    """``torchjd.aggregation``, which is an extra of the installation."""
    try:
        import torchjd.aggregation
    except ImportError:
        raise ConfigError(
            f"{who}: found no torchjd, expected it installed: pip install 'paretune[gradients]'"
        ) from None
    return torchjd.aggregation
