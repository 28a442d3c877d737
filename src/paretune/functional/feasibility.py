"""Feasibility: which floors a policy can keep, told in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linprog

from paretune.errors import InputError, RunError, ShapeError

Floats = npt.NDArray[np.float64]

_MARGIN = 1e-9
"""Floors missed by less count as met: the precision of a linear program."""


@final
@dataclass(frozen=True)
class Verdict:
    """What the floors ask for, and what policies can reach.

    Args:
        floors: ``(C,)`` what was asked for.
        best: ``(C,)`` best that any policy reaches on each constraint alone.
        best_together: ``(C,)`` best on each constraint among the policies that keep every other
            floor; NaN where none keeps the others.
        margin: largest amount by which one policy can exceed all floors at once; negative: the
            smallest amount by which all floors must be lowered together.
    """

    floors: tuple[float, ...]
    best: tuple[float, ...]
    best_together: tuple[float, ...]
    margin: float

    @property
    def is_feasible(self) -> bool:
        """Whether a policy keeps every floor."""
        return self.margin >= -_MARGIN

    def explain(self, names: Sequence[str] | None = None) -> str:
        """The verdict for the person who asked.

        Args:
            names: ``(C,)`` of the constrained objectives; ``None``: "constraint 0", ...

        Example:
            >>> verdict = Verdict((0.9, 0.1), (0.82, 0.7), (0.8, float("nan")), -0.08)
            >>> verdict.explain(["harmless", "humor"])
            'harmless >= 0.9 cannot be met: best seen 0.82'
        """
        names = names or [f"constraint {i}" for i in range(len(self.floors))]
        asked = [f"{n} >= {_number(f)}" for n, f in zip(names, self.floors, strict=True)]
        if self.is_feasible:
            return f"{' and '.join(asked)} can be met" if asked else "no floor to meet"
        alone = [i for i, floor in enumerate(self.floors) if self.best[i] < floor - _MARGIN]
        if alone:
            return "; ".join(
                f"{asked[i]} cannot be met: best seen {_number(self.best[i])}" for i in alone
            )
        offers = [
            f"{names[i]} reaches {_number(reached)} when every other floor is kept"
            for i, reached in enumerate(self.best_together)
            if not np.isnan(reached)
        ]
        return (
            f"{' and '.join(asked)} cannot be met together: "
            + "; ".join(offers)
            + (" or " if offers else "")
            + f"all of them can when each is lowered by {_number(-self.margin)}"
        )


def check_floors(
    secondary: Floats,
    floors: Floats,
    context_weights: Floats | None = None,
    is_allowed: npt.NDArray[np.bool_] | None = None,
) -> Verdict:
    r"""Whether some policy has :math:`E_\nu E_\pi[q_i] \ge b_i` for all i, and how far it can go.

    A policy chooses a distribution over the actions of each context, so what can be reached is a
    polytope: each constraint alone takes its best action everywhere, all of them together are a
    linear program.

    Args:
        secondary: ``(S, A, C)`` values of the constrained objectives, any unit.
        floors: ``(C,)`` in the same units.
        context_weights: ``(S,)`` probabilities; ``None`` = evenly likely.
        is_allowed: ``(S, A)`` actions that a policy may take (the support of the reference);
            ``None`` = all.

    Raises:
        ShapeError: if the shapes do not agree.
        InputError: if a context has no action, or a value is not finite.

    Example:
        >>> table = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> check_floors(table, np.array([0.5, 0.4])).is_feasible
        True
        >>> print(check_floors(table, np.array([0.7, 0.4])).explain(["kind", "short"]))
        kind >= 0.7 and short >= 0.4 cannot be met together: kind reaches 0.6 when every other
        floor is kept; short reaches 0.3 when every other floor is kept or all of them can when
        each is lowered by 0.05
    """
    program = _Program.of(secondary, context_weights, is_allowed)
    floors = np.asarray(floors, dtype=np.float64)
    n_constraints = program.values.shape[1]
    if floors.shape != (n_constraints,):
        raise ShapeError(f"floors: found {floors.shape}, expected ({n_constraints},)")
    best = tuple(float(program.best(k)) for k in np.eye(n_constraints))
    if not n_constraints:
        return Verdict((), (), (), 0.0)
    margin = program.margin(floors)
    others = []
    for k in range(n_constraints):
        rest = np.arange(n_constraints) != k
        result = program.maximize(np.eye(n_constraints)[k], rest, floors)
        others.append(float("nan") if result is None else result)
    return Verdict(tuple(floors.tolist()), best, tuple(others), margin)


@final
@dataclass(frozen=True)
class _Program:
    """Policies as the variables of a linear program: one column per allowed (context, action).

    ``values`` ``(V, C)`` are weighted by the probability of their context.
    """

    values: Floats
    context: npt.NDArray[np.int64]
    n_contexts: int

    @classmethod
    def of(
        cls,
        values: Floats,
        context_weights: Floats | None,
        is_allowed: npt.NDArray[np.bool_] | None,
    ) -> _Program:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 3:
            raise ShapeError(f"table: found values {values.shape}, expected (S, A, C)")
        n_contexts, n_actions, _ = values.shape
        weights = (
            np.full(n_contexts, 1 / n_contexts) if context_weights is None else context_weights
        )
        allowed = np.ones((n_contexts, n_actions), dtype=bool) if is_allowed is None else is_allowed
        if weights.shape != (n_contexts,) or allowed.shape != (n_contexts, n_actions):
            raise ShapeError(
                f"table: found {weights.shape} context weights and {allowed.shape} allowed "
                f"actions for values {values.shape}"
            )
        if not allowed.any(axis=1).all():
            raise InputError("table: found a context without an allowed action, expected one")
        context, action = np.nonzero(allowed)
        kept = values[context, action]
        if not np.isfinite(kept).all():
            raise InputError("table: found values that are not finite, expected numbers")
        return cls(kept * weights[context, None], context.astype(np.int64), n_contexts)

    def best(self, weights: Floats) -> float:
        """Best mean of one weighted sum of the values: the best action of every context."""
        best = np.full(self.n_contexts, -np.inf)
        np.maximum.at(best, self.context, self.values @ weights)
        return float(best.sum())

    def margin(self, floors: Floats) -> float:
        n = len(self.values)
        result = linprog(
            np.append(np.zeros(n), -1.0),
            A_ub=np.column_stack([-self.values.T, np.ones(len(floors))]),
            b_ub=-floors,
            A_eq=sparse.hstack([self._sums(), sparse.csr_array((self.n_contexts, 1))]),
            b_eq=np.ones(self.n_contexts),
            bounds=[(0, None)] * n + [(None, None)],
            method="highs",
        )
        return float(-_solved(result).fun)

    def maximize(
        self, weights: Floats, is_kept: npt.NDArray[np.bool_], floors: Floats
    ) -> float | None:
        """Best weighted sum under some of the floors; ``None`` if no policy keeps them."""
        result = linprog(
            -(self.values @ weights),
            A_ub=-self.values.T[is_kept],
            b_ub=-floors[is_kept],
            A_eq=self._sums(),
            b_eq=np.ones(self.n_contexts),
            method="highs",
        )
        return None if result.status == 2 else float(-_solved(result).fun)

    def _sums(self) -> Any:
        """``(S, V)`` adds up the probabilities of each context."""
        n = len(self.values)
        return sparse.csr_array(
            (np.ones(n), (self.context, np.arange(n))), shape=(self.n_contexts, n)
        )


def _solved(result: Any) -> Any:
    if result.status != 0:
        raise RunError(f"linear program: {result.message}")
    return result


def _number(value: float) -> str:
    return f"{value:.4g}"
