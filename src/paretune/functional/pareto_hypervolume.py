"""Hypervolume over the pairs of a step: the hardest pairs weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from paretune.errors import ConfigError
from paretune.functional.hypervolume_facets import hypervolume_contributions
from paretune.functional.ranges import require_number, require_word
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses, scalarized
from paretune.functional.step_means import pair_mean, pair_weights


@final
@dataclass(frozen=True)
class ParetoHypervolume(Scalarizer):
    r"""Weighted sum of each pair, plus a temperature times what the pair adds to a hypervolume.

    With :math:`P_{bd} = w_{bd}L_{bd}`, each pair a point and the reference point below all of
    them, the front holds the pairs with the largest losses, and

    .. math:: \frac1B\sum_b\Big(\sum_d P_{bd} + T\,c_b\Big)

    gives those more weight in the gradient: hard pairs are emphasized. Pairs are different prompts
    and no alternatives to each other, so a front over pairs says nothing about the front of the
    policy. One pair alone, an offset of 1: the weighted sum times :math:`1 + T`. All pairs alike:
    the weighted sum.

    Args:
        temperature: :math:`T` >= 0.
        offset: distance of the reference point from the smallest :math:`P` of each objective, > 0.
        gradient: ``own`` differentiates :math:`c_b` with respect to the losses of pair b;
            ``detach`` holds it constant, which trains the weighted sum exactly.
        orientation: ``max`` as above; ``min`` puts the reference above all pairs and subtracts,
            which emphasizes pairs of the front of smallest losses.
        max_front: keep only so many pairs of a larger front, those of largest (``min``: smallest)
            sum, >= 1.

    Raises:
        ConfigError: for a field out of range.

    Source:
        The multi-objective FSPO report, Algorithm 1, which leaves gradient, orientation and
        temperature open. A cell without label stands at the end of its objective that is no part
        of the front. Fronts and volumes in float64.
    """

    temperature: float = 0.1
    offset: float = 1.0
    gradient: Literal["own", "detach"] = "own"
    orientation: Literal["max", "min"] = "max"
    max_front: int = 64

    def __post_init__(self) -> None:
        require_number(self, "temperature", at_least=0)
        require_number(self, "offset", above=0)
        require_word(self, "gradient", ("own", "detach"))
        require_word(self, "orientation", ("max", "min"))
        if not isinstance(self.max_front, int) or self.max_front < 1:
            raise ConfigError(
                f"ParetoHypervolume: found max_front {self.max_front!r}, expected an integer >= 1"
            )

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """Weighted sums and contributions, averaged over pairs."""
        return scalarized(lambda losses: self._value(losses, step), step)

    def _value(self, losses: Tensor, step: StepLosses) -> Tensor:
        weights = pair_weights(step)
        sums = weights * losses
        says = weights.sum(1) > 0
        if not says.any():
            return sums.sum()
        sign = 1.0 if self.orientation == "max" else -1.0
        points, is_labelled = sign * sums[says].double(), step.is_labelled[says]
        lowest = torch.where(is_labelled, points.detach(), torch.inf).amin(0)
        lowest = torch.where(is_labelled.any(0), lowest, 0)
        points = torch.where(is_labelled, points, lowest)
        if self.gradient == "detach":
            points = points.detach()
        added = hypervolume_contributions(points, lowest - self.offset, self.max_front)
        bonus = torch.zeros_like(sums[:, 0])
        bonus = bonus.masked_scatter(says, (sign * self.temperature * added).to(bonus))
        return pair_mean(sums.sum(1) + bonus, step)
