"""Feasibility: which floors a policy can keep, told in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.errors import InfeasibleError, ShapeError
from paretune.functional.dominance import non_dominated
from paretune.functional.policy_program import PolicyProgram

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

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
            f"{name} reaches {_number(reached)}"
            for name, reached in zip(names, self.best_together, strict=True)
            if not np.isnan(reached)
        ]
        alternatives = [f"with the other floors kept {', '.join(offers)}"] if offers else []
        alternatives.append(f"all can be met when each is lowered by {_number(-self.margin)}")
        return f"{' and '.join(asked)} cannot be met together: {'; '.join(alternatives)}"


def check_floors(
    secondary: Floats,
    floors: Floats,
    context_weights: Floats | None = None,
    is_allowed: Bools | None = None,
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
        kind >= 0.7 and short >= 0.4 cannot be met together: with the other floors kept kind
        reaches 0.6, short reaches 0.3; all can be met when each is lowered by 0.05
    """
    program = PolicyProgram.of(secondary, context_weights, is_allowed)
    floors = np.asarray(floors, dtype=np.float64)
    n_constraints = program.values.shape[-1]
    if floors.shape != (n_constraints,):
        raise ShapeError(f"floors: found {floors.shape}, expected ({n_constraints},)")
    best = tuple(
        float(program.worth(program.best_actions(row))[k])
        for k, row in enumerate(np.eye(n_constraints))
    )
    if not n_constraints:
        return Verdict((), (), (), 0.0)
    margin = program.margin(floors)
    others = []
    for k in range(n_constraints):
        rest = np.arange(n_constraints) != k
        policy = program.maximize(np.eye(n_constraints)[k], rest, floors)
        others.append(float("nan") if policy is None else program.mean(policy)[k])
    return Verdict(tuple(floors.tolist()), best, tuple(others), margin)


def unregularized_optimum(
    primary: Floats,
    secondary: Floats,
    floors: Floats,
    context_weights: Floats | None = None,
    is_allowed: Bools | None = None,
) -> Floats:
    r"""Best policy for one objective under floors for the others, without a divergence penalty.

    The limit of constrained optima as their tau goes to 0: a linear program, solved by a mixture
    of at most C + 1 deterministic policies.

    Args:
        primary: ``(S, A)`` values of the objective that is maximized.
        secondary: ``(S, A, C)`` values of the constrained objectives.
        floors: ``(C,)``.
        context_weights: ``(S,)`` probabilities; ``None`` = evenly likely.
        is_allowed: ``(S, A)``; ``None`` = every action.

    Returns:
        ``(S, A)`` probabilities, one best policy where there are several.

    Raises:
        ShapeError: if the shapes do not agree.
        InfeasibleError: if no policy keeps the floors.

    Example:
        >>> p, q = np.array([[1.0, 0.5, 0.0]]), np.array([[[0.5], [1.0], [0.0]]])
        >>> unregularized_optimum(p, q, np.array([2 / 3])).round(4)
        array([[0.6667, 0.3333, 0.    ]])
    """
    if primary.shape != secondary.shape[:-1]:
        raise ShapeError(f"table: found primary {primary.shape} for secondary {secondary.shape}")
    both = np.concatenate([primary[..., None], secondary], axis=-1)
    program = PolicyProgram.of(both, context_weights, is_allowed)
    is_floor = np.arange(both.shape[-1]) > 0
    policy = program.maximize(np.eye(len(is_floor))[0], is_floor, np.append(0.0, floors))
    if policy is None:
        verdict = check_floors(secondary, floors, context_weights, is_allowed)
        raise InfeasibleError(f"constrained optimum: {verdict.explain()}", verdict)
    return policy


def expected_front(
    rewards: Floats,
    context_weights: Floats | None = None,
    is_allowed: Bools | None = None,
    weights: Floats | None = None,
) -> Floats:
    r"""Corners of the front of expected rewards: what deterministic policies of one trade-off earn.

    Expected rewards of all policies are a polytope; every corner of its front is the best policy
    of some trade-off, which takes in each context the action with the largest weighted sum. With
    two objectives all corners are found, and the front is the line through them. With more they
    are found for the trade-offs of ``weights``, and :func:`front_gap` measures exactly.

    Args:
        rewards: ``(S, A, M)``.
        context_weights: ``(S,)`` probabilities; ``None`` = evenly likely.
        is_allowed: ``(S, A)``; ``None`` = every action.
        weights: ``(K, M)`` trade-offs; required with three objectives or more, ignored with two.

    Returns:
        ``(P, M)`` different corners, none dominated, ascending in the first objective.

    Raises:
        ShapeError: if the shapes do not agree, or ``weights`` are missing.

    Example:
        >>> rewards = np.array([[[1.0, 0.0], [0.6, 0.6], [0.4, 0.4], [0.0, 1.0]]])
        >>> expected_front(rewards)
        array([[0. , 1. ],
               [0.6, 0.6],
               [1. , 0. ]])
    """
    program = PolicyProgram.of(rewards, context_weights, is_allowed)
    n_objectives = program.values.shape[-1]
    if n_objectives == 2:
        weights = _turning_weights(program)
    if weights is None or weights.ndim != 2 or weights.shape[1] != n_objectives:
        found = None if weights is None else weights.shape
        raise ShapeError(f"front: found weights {found}, expected (K, {n_objectives})")
    corners = np.stack([program.worth(program.best_actions(row)) for row in weights])
    # The same corner from two trade-offs differs by rounding at most.
    _, first = np.unique(corners.round(12), axis=0, return_index=True)
    corners = corners[first]
    return np.asarray(corners[non_dominated(corners)])


def front_gap(
    rewards: Floats,
    point: Floats,
    context_weights: Floats | None = None,
    is_allowed: Bools | None = None,
) -> float:
    """How much some policy gains on every objective over a point, by a linear program.

    Args:
        rewards: ``(S, A, M)``.
        point: ``(M,)`` expected rewards.
        context_weights: ``(S,)`` probabilities; ``None`` = evenly likely.
        is_allowed: ``(S, A)``; ``None`` = every action.

    Returns:
        The largest amount that can be added to every objective at once: 0 on the front of
        expected rewards, > 0 below it, < 0 beyond what any policy reaches. In reward units.

    Example:
        >>> round(front_gap(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([0.3, 0.3])), 9)
        0.2
    """
    return PolicyProgram.of(rewards, context_weights, is_allowed).margin(np.asarray(point))


def reply_front(rewards: Floats, is_allowed: Bools | None = None) -> Bools:
    """Actions that no other action of their context dominates: the front of single replies.

    Unlike the front of expected rewards it may have dents: an action that no trade-off of
    weighted sums would take can still be on it.

    Args:
        rewards: ``(S, A, M)``.
        is_allowed: ``(S, A)``; ``None`` = every action.

    Returns:
        ``(S, A)`` mask; equal actions are on it together.

    Example:
        >>> reply_front(np.array([[[1.0, 0.0], [0.4, 0.4], [0.3, 0.3], [0.0, 1.0]]]))
        array([[ True,  True, False,  True]])
    """
    allowed = np.ones(rewards.shape[:2], dtype=bool) if is_allowed is None else is_allowed
    mask = np.zeros_like(allowed)
    for context, actions in enumerate(allowed):
        mask[context, actions] = non_dominated(rewards[context, actions])
    return mask


def _turning_weights(program: PolicyProgram) -> Floats:
    """``(K, 2)`` one trade-off between each two at which the best action of a context changes."""
    shares = [np.array([0.0, 1.0])]
    for values in program.values:
        edges = np.diff(_upper_hull(values[np.isfinite(values[:, 0])]), axis=0)
        shares.append(-edges[:, 1] / (edges[:, 0] - edges[:, 1]))
    turns = np.unique(np.concatenate(shares))
    middle = (turns[1:] + turns[:-1]) / 2
    return np.stack([middle, 1 - middle], axis=1)


def _upper_hull(points: Floats) -> Floats:
    """``(H, 2)`` points that are best for some weights > 0, ascending in the first objective."""
    points = np.unique(points[non_dominated(points)], axis=0)
    hull: list[Floats] = []
    for point in points:
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return np.stack(hull)


def _turns_up(first: Floats, second: Floats, third: Floats) -> bool:
    """Whether the middle one of three points is not above the line through the others."""
    (x, y), (u, v) = second - first, third - second
    return bool(x * v - y * u >= 0)


def _number(value: float) -> str:
    return f"{value:.4g}"
