"""Traces: what a training wrote down on its way, as curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np


@final
@dataclass(frozen=True)
class Curve:
    """Values of one quantity at optimizer steps.

    Args:
        steps: ``(T,)`` increasing, from 1.
        values: ``(T,)``.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, points: Iterable[tuple[int, float]]) -> Curve:
        """A curve from points in any order; of several at one step the last holds.

        A training that went on repeats the steps after its checkpoint.

        Example:
            >>> Curve.of([(2, 0.5), (1, 0.1), (2, 0.4)])
            Curve(steps=(1, 2), values=(0.1, 0.4))
        """
        found = sorted(dict(points).items())
        return cls(tuple(s for s, _ in found), tuple(v for _, v in found))

    def thinned(self, n: int) -> Curve:
        """The same curve on about ``n`` points: the ends, and the extremes of stretches between.

        Args:
            n: at least 4.

        Example:
            >>> Curve(tuple(range(9)), (0, 1, 9, 1, 1, 1, -5, 1, 2)).thinned(6)
            Curve(steps=(0, 1, 2, 5, 6, 8), values=(0, 1, 9, 1, -5, 2))
        """
        if len(self.steps) <= n:
            return self
        kept = {0, len(self.steps) - 1}
        for stretch in np.array_split(np.arange(1, len(self.steps) - 1), (n - 2) // 2):
            inside = np.array(self.values)[stretch]
            kept |= {int(stretch[inside.argmin()]), int(stretch[inside.argmax()])}
        rows = sorted(kept)
        return Curve(tuple(self.steps[i] for i in rows), tuple(self.values[i] for i in rows))


@final
@dataclass(frozen=True)
class FloorTrace:
    """One floor of a constrained policy while it trained.

    Args:
        objective: that has the floor.
        unit: ``preference`` or ``reward``, as of :class:`~paretune.core.results.ConstraintResult`.
        floor: that was to be kept; it may follow the policy.
        value: of the constraint on each step's batch.
        average: running average of the value; empty in logs of earlier versions.
        multiplier: price of the floor.
        refreshes: steps before which the reference moved.
    """

    objective: str
    unit: str
    floor: Curve
    value: Curve
    average: Curve
    multiplier: Curve
    refreshes: tuple[int, ...] = ()


@final
@dataclass(frozen=True)
class TrainingTrace:
    """What was logged of one policy, or of several that train together.

    Args:
        method: whose plan it was first.
        policy: its job, or the group.
        tradeoff: it was trained for; ``None`` for any, or for several.
        curves: (quantity, objective) to its curve; the objective is empty where there is none.
        floors: of a constrained policy.
    """

    method: str
    policy: str
    tradeoff: tuple[float, ...] | None
    curves: Mapping[tuple[str, str], Curve] = field(default_factory=dict)
    floors: tuple[FloorTrace, ...] = ()
