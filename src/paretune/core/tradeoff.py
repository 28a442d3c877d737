"""A trade-off: the point of the simplex that a user chose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.errors import ConfigError

_SUM_TOLERANCE = 1e-6


@final
@dataclass(frozen=True, order=True)
class TradeOff:
    """How much each objective weighs: non-negative numbers that sum to 1.

    Args:
        weights: ``(M,)`` in the order of the objectives.

    Raises:
        ConfigError: if a weight is negative or not finite, or the sum is not 1 within 1e-6.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        weights = tuple(float(w) for w in self.weights)
        if not weights:
            raise ConfigError("trade-off: found no weight, expected one an objective")
        if not all(math.isfinite(w) and w >= 0 for w in weights):
            raise ConfigError(f"trade-off: found {list(weights)}, expected weights >= 0")
        if abs(sum(weights) - 1) > _SUM_TOLERANCE:
            raise ConfigError(
                f"trade-off: found {list(weights)} with sum {sum(weights):g}, expected sum 1"
            )
        object.__setattr__(self, "weights", weights)

    @classmethod
    def only(cls, index: int, n_objectives: int) -> TradeOff:
        """The corner that wants one objective and nothing else."""
        return cls(tuple(float(i == index) for i in range(n_objectives)))

    @classmethod
    def even(cls, n_objectives: int) -> TradeOff:
        """The center of the simplex."""
        return cls((1 / n_objectives,) * n_objectives)

    @classmethod
    def from_mapping(cls, weights: Mapping[str, float], objectives: Objectives) -> TradeOff:
        """A trade-off from named weights; an objective that is not named weighs 0.

        Raises:
            ConfigError: if a name is unknown or the weights are not on the simplex.
        """
        values = [0.0] * len(objectives)
        for name, weight in weights.items():
            values[objectives.index(name)] = float(weight)
        return cls(tuple(values))

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def array(self) -> npt.NDArray[np.float64]:
        """The weights as a float64 array, ``(M,)``."""
        return np.asarray(self.weights, dtype=np.float64)

    @property
    def slug(self) -> str:
        """Short text for a file name or a job id: ``0.3-0.7``."""
        return "-".join(f"{w:.4f}".rstrip("0").rstrip(".") for w in self.weights)
