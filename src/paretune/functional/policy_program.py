"""Linear programs over all policies of a table, solved on their corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from paretune.errors import InputError, RunError, ShapeError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PRECISE = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_CLOSED = 1e-12
_ROUNDS = 1000


@final
@dataclass(frozen=True)
class PolicyProgram:
    r"""All policies on a table, by what they are worth on average.

    What policies can reach is a polytope with few dimensions and very many corners; a corner is a
    deterministic policy, found for any weights by taking the best action of every context. Linear
    programs are solved by column generation (Dantzig and Wolfe): over mixtures of the corners
    known so far, whose prices say which corner to add, until none would help.

    Args:
        values: ``(S, A, C)`` values times the probability of their context; ``-inf`` where an
            action is not allowed.
    """

    values: Floats

    @classmethod
    def of(
        cls, values: Floats, context_weights: Floats | None, is_allowed: Bools | None
    ) -> PolicyProgram:
        """The policies on ``(S, A, C)`` values; see :func:`feasibility.check_floors`."""
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
        if not np.isfinite(values[allowed]).all():
            raise InputError("table: found values that are not finite, expected numbers")
        return cls(np.where(allowed[..., None], values * weights[:, None, None], -np.inf))

    def best_actions(self, weights: Floats) -> Ints:
        """``(S,)`` best action of every context for a weighted sum; the first of equal ones."""
        is_allowed = np.isfinite(self.values[..., 0])
        scores = np.where(is_allowed[..., None], self.values, 0.0) @ weights
        return np.asarray(np.where(is_allowed, scores, -np.inf).argmax(axis=1))

    def worth(self, actions: Ints) -> Floats:
        """``(C,)`` average values of a deterministic policy."""
        return np.asarray(self.values[np.arange(len(actions)), actions].sum(axis=0))

    def mean(self, policy: Floats) -> Floats:
        """``(C,)`` average values of a policy ``(S, A)``."""
        values = np.where(np.isfinite(self.values), self.values, 0.0)
        return np.asarray(np.einsum("sa,sac->c", policy, values))

    def margin(self, floors: Floats) -> float:
        """Largest amount by which one policy exceeds every floor; negative if none keeps them."""
        return self._raise_all(floors)[0]

    def maximize(self, weights: Floats, is_kept: Bools, floors: Floats) -> Floats | None:
        """``(S, A)`` best policy for a weighted sum that keeps some of the floors, if any does.

        Args:
            weights: ``(C,)`` of the sum.
            is_kept: ``(C,)`` floors that must be kept, to a relative 1e-9.
            floors: ``(C,)``.
        """
        corners = [self.best_actions(weights)]
        if is_kept.any():
            part = PolicyProgram(self.values[..., is_kept])
            margin, known = part._raise_all(floors[is_kept])
            slack = 1e-9 * (1 + np.abs(floors).max())
            if margin < -slack:
                return None
            corners += known
            # Floors that can only just be met may be missed by rounding.
            floors = floors + min(0.0, margin)
        for _ in range(_ROUNDS):
            worths = np.stack([self.worth(actions) for actions in corners])
            result = _solve(
                -(worths @ weights), -worths[:, is_kept].T, -floors[is_kept], np.ones(len(corners))
            )
            prices = weights.copy()
            prices[is_kept] -= result.ineqlin.marginals
            new = self.best_actions(prices)
            gain = float(prices @ self.worth(new) - (worths @ prices).max())
            if gain <= _CLOSED * (1 + np.abs(worths).max()):
                break
            corners.append(new)
        policy = np.zeros(self.values.shape[:2])
        for share, actions in zip(result.x, corners, strict=True):
            policy[np.arange(len(actions)), actions] += share
        return np.asarray(policy / policy.sum(axis=1, keepdims=True))

    def _raise_all(self, floors: Floats) -> tuple[float, list[Ints]]:
        """The margin, and corners whose mixtures reach it."""
        n = len(floors)
        corners = [self.best_actions(row) for row in np.eye(n)]
        margin = -np.inf
        for _ in range(_ROUNDS):
            worths = np.stack([self.worth(actions) for actions in corners])
            result = _solve(
                np.append(np.zeros(len(corners)), -1.0),
                np.column_stack([-worths.T, np.ones(n)]),
                -floors,
                np.append(np.ones(len(corners)), 0.0),
            )
            margin = float(-result.fun)
            prices = -result.ineqlin.marginals
            new = self.best_actions(prices)
            gain = float(prices @ self.worth(new) - (worths @ prices).max())
            if gain <= _CLOSED * (1 + np.abs(worths).max()):
                break
            corners.append(new)
        return margin, corners


def _solve(costs: Floats, bounded: Floats, bounds: Floats, shares: Floats) -> Any:
    """Smallest cost of a mixture: shares are >= 0 and sum to 1, another variable is free."""
    result = linprog(
        costs,
        A_ub=bounded,
        b_ub=bounds,
        A_eq=shares[None],
        b_eq=[1.0],
        bounds=[(0, None) if share else (None, None) for share in shares],
        method="highs",
        options=_PRECISE,
    )
    if result.status != 0:
        raise RunError(f"linear program over policies: {result.message}")
    return result
