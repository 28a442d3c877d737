"""What synthetic preferences must be: different between users, consistent inside each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from paretune.bench.advice.world import Advice
from paretune.core.record import PreferenceData
from paretune.errors import InputError, ShapeError
from paretune.functional.pair_scores import pair_scores

Floats = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]

# Gaps this close to 0 are ties: sums of a few labels of size 1 are exact to far less.
_TIE = 1e-9


@final
@dataclass(frozen=True)
class UsersReport:
    """Diversity and consistency of users over one set of comparisons.

    Args:
        n_users: U, how many.
        n_comparisons: how many each of them judged.
        diversity: mean over pairs of users of the share of comparisons on which they prefer
            different sides; 0 = all alike, 0.5 = as if by coins.
        one_taste: share of users whose preferred sides one trade-off explains, all of them.
        transitive: share of triples of replies, over all users, that are ranked without a cycle.
    """

    n_users: int
    n_comparisons: int
    diversity: float
    one_taste: float
    transitive: float


def users_report(world: Advice, weights: npt.ArrayLike, n: int = 500, seed: int = 0) -> UsersReport:
    """Measure users on fresh training comparisons of a world.

    Args:
        world: whose axes the users weigh.
        weights: ``(U, M)`` a trade-off a user, U >= 2.
        n: comparisons, >= 1; as many triples of replies.
        seed: of the comparisons.

    Raises:
        InputError: if ``n`` is below 1 or there are fewer than two users.
        ShapeError: if there is not one weight an axis.
    """
    users = np.asarray(weights, dtype=np.float64)
    if users.ndim != 2 or users.shape[1] != len(world.objectives):
        raise ShapeError(
            f"users: found weights of shape {users.shape}, expected (U, {len(world.objectives)})"
        )
    if n < 1:
        raise InputError(f"users: found n = {n}, expected at least 1 comparison")
    records = world.preferences(n, seed, n_replies=3)
    data = PreferenceData.from_records(records, world.objectives.names)
    sides = preferred_sides(data.labels, users)
    return UsersReport(
        n_users=len(users),
        n_comparisons=n,
        diversity=disagreement(sides),
        one_taste=float(np.mean([is_one_taste(data.labels, row) for row in sides])),
        transitive=transitive_share(data.rewards.values.reshape(n, 3, -1), world.scales, users),
    )


def preferred_sides(labels: npt.ArrayLike, weights: npt.ArrayLike) -> Signs:
    r"""Which reply each user prefers: the sign of :math:`w \cdot s`.

    Args:
        labels: ``(P, M)`` in [-1, 1].
        weights: ``(U, M)``.

    Returns:
        ``(U, P)`` 1 = the first, -1 = the second, 0 = neither.

    Example:
        >>> preferred_sides([[1.0, -0.5], [0.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]])
        array([[ 1,  0], [-1,  0]], dtype=int8)
    """
    gaps = np.asarray(weights, dtype=np.float64) @ np.asarray(labels, dtype=np.float64).T
    return np.asarray(np.where(np.abs(gaps) < _TIE, 0, np.sign(gaps)), dtype=np.int8)


def disagreement(sides: npt.ArrayLike) -> float:
    """Diversity: how often two users prefer different sides, on average.

    A comparison on which either user prefers neither side does not count for the pair; pairs of
    users without any comparison left are not counted.

    Args:
        sides: ``(U, P)`` of :func:`preferred_sides`, U >= 2.

    Returns:
        In [0, 1].

    Raises:
        InputError: if there are fewer than two users, or no two of them judged the same.

    Example:
        >>> disagreement([[1, 1, 1, 0], [1, -1, 1, 1]])
        0.3333333333333333
    """
    signs = np.asarray(sides, dtype=np.float64)
    if signs.ndim != 2 or len(signs) < 2:
        raise InputError(f"users: found sides of shape {signs.shape}, expected two users or more")
    both = np.abs(signs) @ np.abs(signs).T
    opposed = (both - signs @ signs.T) / 2
    pairs = np.triu(both > 0, k=1)
    if not pairs.any():
        raise InputError("users: found no comparison that two users judged, expected some")
    return float((opposed[pairs] / both[pairs]).mean())


def is_one_taste(labels: npt.ArrayLike, sides: npt.ArrayLike) -> bool:
    r"""Whether some trade-off prefers all the sides that a user preferred.

    A linear program looks for weights on the simplex with :math:`side_p\,(w \cdot s_p) > 0` for
    every comparison with a side; those without one are not asked.

    Args:
        labels: ``(P, M)`` in [-1, 1].
        sides: ``(P,)`` in {-1, 0, 1}.

    Example:
        >>> labels = [[1.0, -0.5], [-0.5, 1.0]]
        >>> is_one_taste(labels, [1, 1]), is_one_taste(labels, [-1, -1])
        (True, False)
    """
    signs = np.asarray(sides, dtype=np.float64)
    rows = (signs[:, None] * np.asarray(labels, dtype=np.float64))[signs != 0]
    if not len(rows):
        return True
    # Maximize t subject to t <= w . row for every row, w on the simplex.
    n_axes = rows.shape[1]
    found = linprog(
        c=[*[0.0] * n_axes, -1.0],
        A_ub=np.hstack([-rows, np.ones((len(rows), 1))]),
        b_ub=np.zeros(len(rows)),
        A_eq=[[*[1.0] * n_axes, 0.0]],
        b_eq=[1.0],
        bounds=[*[(0.0, 1.0)] * n_axes, (None, None)],
        # Gaps of users are small where tastes are nearly balanced on a comparison.
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return bool(found.status == 0 and -found.fun > _TIE / 10)


def transitive_share(scores: Floats, scales: Floats, weights: Floats) -> float:
    """How often users rank three replies without going in a circle.

    Preferences follow a sum of labels; labels are cut at 1, so that a > b > c > a can happen.

    Args:
        scores: ``(P, 3, M)`` of three replies to each prompt.
        scales: ``(M,)`` of the world.
        weights: ``(U, M)``.

    Returns:
        Share of the U * P rankings, in [0, 1].
    """
    circle = [
        preferred_sides(pair_scores(scores[:, i] - scores[:, j], scales), weights)
        for i, j in ((0, 1), (1, 2), (2, 0))
    ]
    # Around the circle, all steps one way (or all but ties) is a cycle.
    steps = np.stack(circle)
    n_ties = (steps == 0).sum(axis=0)
    is_cycle = (n_ties < 3) & (np.abs(steps.sum(axis=0)) == 3 - n_ties)
    return float(1 - is_cycle.mean())
