"""Rewards: responses x objectives, and the frozen normalizer of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.errors import NotScoredError, ShapeError

_TAILS = (0.001, 0.999)
_COLUMNS, _QUANTILES = ("mean", "std", "low", "high"), ("lower", "upper")


@final
@dataclass(frozen=True)
class RewardMatrix:
    """Rewards of N responses on M objectives, larger is better.

    Args:
        objectives: names of the columns.
        values: ``(N, M)`` float64, NaN = not scored; infinite values are refused.

    Raises:
        ShapeError: if the shape does not fit the objectives or a value is infinite.
    """

    objectives: Objectives
    values: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.objectives):
            raise ShapeError(
                f"rewards: found shape {self.values.shape}, expected (N, {len(self.objectives)})"
            )
        if np.isinf(self.values).any():
            row = int(np.argwhere(np.isinf(self.values))[0, 0])
            raise ShapeError(f"rewards: row {row} is infinite, expected finite numbers or NaN")

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """``(N,)`` rewards of one objective."""
        return self.values[:, self.objectives.index(name)]

    @property
    def is_scored(self) -> npt.NDArray[np.bool_]:
        """``(N,)`` True where every objective is scored."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    def require_scored(self, purpose: str) -> npt.NDArray[np.float64]:
        """The values, when every cell is scored.

        Raises:
            NotScoredError: naming the first unscored response and objective, and the purpose.
        """
        holes = np.argwhere(np.isnan(self.values))
        if len(holes):
            row, column = holes[0]
            raise NotScoredError(
                f"{purpose} needs every reward: {len(holes)} of {self.values.size} cells are not "
                f"scored, the first is response {row}, {self.objectives.names[column]}"
            )
        return self.values


@final
@dataclass(frozen=True)
class Normalizer:
    """Statistics of the training rewards, computed once and saved with the run.

    Args:
        mean: ``(M,)`` mean of each objective.
        std: ``(M,)`` standard deviation, > 0 (1 where the objective is constant).
        low: ``(M,)`` smallest training reward.
        high: ``(M,)`` largest training reward.
        n: number of scored responses behind the statistics.
        lower: ``(M,)`` 0.1 % quantile of the training rewards; empty in files that lack it.
        upper: ``(M,)`` 99.9 % quantile; empty in files that lack it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()

    @classmethod
    def fit(cls, rewards: RewardMatrix) -> Normalizer:
        """Statistics of the scored cells of each column.

        Raises:
            NotScoredError: if an objective has no scored cell at all.
        """
        values = rewards.values
        for column, name in enumerate(rewards.objectives):
            if np.isnan(values[:, column]).all():
                raise NotScoredError(f"no response has a reward for objective {name!r}")
        std = np.nanstd(values, axis=0)
        return cls(
            tuple(float(v) for v in np.nanmean(values, axis=0)),
            tuple(float(v) if v > 0 else 1.0 for v in std),
            tuple(float(v) for v in np.nanmin(values, axis=0)),
            tuple(float(v) for v in np.nanmax(values, axis=0)),
            int((~np.isnan(values)).all(axis=1).sum()),
            *(tuple(float(v) for v in np.nanquantile(values, q, axis=0)) for q in _TAILS),
        )

    def standardize(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """z-scores, ``(..., M)``: ``(r - mean) / std`` with the frozen statistics."""
        z: npt.NDArray[np.float64] = (values - np.asarray(self.mean)) / np.asarray(self.std)
        return z

    @property
    def bulk(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """``(M,)`` z-scores between which all training rewards lie but a thousandth on each side.

        The extremes where the statistics hold no quantiles.
        """
        lower, upper = self.lower or self.low, self.upper or self.high
        return self.standardize(np.asarray(lower)), self.standardize(np.asarray(upper))

    def to_json(self, objectives: Objectives) -> dict[str, Any]:
        """Plain JSON values, one entry an objective."""
        columns = {name: getattr(self, name) for name in (*_COLUMNS, *_QUANTILES)}
        known = {name: column for name, column in columns.items() if column}
        return {
            "n": self.n,
            "objectives": {
                objective: {name: column[i] for name, column in known.items()}
                for i, objective in enumerate(objectives)
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], objectives: Objectives) -> Normalizer:
        """Inverse of :meth:`to_json`, columns in the order of ``objectives``."""
        rows = [data["objectives"][name] for name in objectives]
        mean, std, low, high = (tuple(float(row[key]) for row in rows) for key in _COLUMNS)
        lower, upper = (
            tuple(float(row[key]) for row in rows) if all(key in row for row in rows) else ()
            for key in _QUANTILES
        )
        return cls(mean, std, low, high, int(data["n"]), lower, upper)
