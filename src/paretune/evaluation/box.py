"""The unit box: which raw reward counts as 0 and which as 1, frozen before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.core.rewards import Normalizer
from paretune.errors import InputError, ShapeError
from paretune.functional.unit_box import unit_rewards


@final
@dataclass(frozen=True)
class Box:
    """The frame in which hypervolume, utilities and distances are taken.

    Args:
        low: raw reward that maps to 0, ``(M,)``.
        high: raw reward that maps to 1, ``(M,)``, above ``low``.
        origin: where the numbers came from, in words; stored with the results.

    Raises:
        InputError: if an objective has no finite positive range.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    origin: str

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ShapeError(
                f"box: found {len(self.low)} lower and {len(self.high)} upper bounds, "
                "expected one of each an objective"
            )
        for column, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise InputError(
                    f"box: objective {column} ranges from {low:g} to {high:g}, expected finite "
                    f"bounds with low < high ({self.origin}); a constant reward cannot be traded"
                )

    def unit(self, rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Unit rewards ``(..., M)``: 0 at ``low``, 1 at ``high``, not clipped.

        Example:
            >>> Box((0.0, -2.0), (1.0, 2.0), "declared").unit(np.array([[0.5, -2.0]]))
            array([[0.5, 0. ]])
        """
        return unit_rewards(rewards, self.low, self.high, is_clipped=False)


def frozen_box(
    objectives: Objectives,
    *,
    normalizer: Normalizer | None = None,
    bounds: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Box:
    """The box of a run, from its frozen training statistics or from declared bounds.

    It must not depend on what the methods reached, or adding a method would change the numbers of
    the others. Rewards with a declared range (the embedded world: 0 to 1) use that range; all
    others use the smallest and largest *training* reward of each objective, which the saved
    normalizer holds.

    Args:
        objectives: the axes, in order.
        normalizer: statistics of the training rewards.
        bounds: declared ``(low, high)``, each ``(M,)``.

    Returns:
        The box, with its origin in words.

    Raises:
        InputError: unless exactly one source is given, and for an objective without a range.

    Example:
        >>> frozen_box(Objectives.of("helpful", "concise"), bounds=([0, 0], [1, 1])).origin
        'declared range of the rewards'
    """
    if (normalizer is None) == (bounds is None):
        raise InputError("box: give either a normalizer or bounds, found both or none")
    if bounds is not None:
        low, high, origin = bounds[0], bounds[1], "declared range of the rewards"
    else:
        assert normalizer is not None
        low, high = normalizer.low, normalizer.high
        origin = f"smallest and largest of {normalizer.n:,} training rewards"
    if len(low) != len(objectives):
        raise ShapeError(f"box: found {len(low)} bounds, expected {len(objectives)} objectives")
    return Box(tuple(float(v) for v in low), tuple(float(v) for v in high), origin)
