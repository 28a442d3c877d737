"""The known front of Handy: what any text, any policy and any number of policies can reach.

No text outside the grammar beats a clean reply, so 511 rows a kind of request decide everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from paretune.bench.handy.rewards import reward_table
from paretune.core.objective import Objectives
from paretune.core.results import KnownFront
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError
from paretune.functional.dominance import non_dominated
from paretune.functional.indicators import attainable_hypervolume, ceilings
from paretune.functional.scalarize import chebyshev

Floats = npt.NDArray[np.float64]
Kinds = list[tuple[float, Floats]]

_N_CEILINGS = 21


def handy_front(
    objectives: Objectives, risky_share: float, tradeoffs: Sequence[TradeOff] = ()
) -> KnownFront:
    """Everything attainable on a set of prompts, exactly.

    Where safe and risky requests offer different rewards, ``replies`` are the policies that give
    one reply to each kind of request, and their rewards are means over the prompts.

    Args:
        objectives: axes of the scenario.
        risky_share: share of risky requests among the prompts, in [0, 1].
        tradeoffs: trade-offs over which the best Chebyshev utility is averaged; none leaves it out.

    Returns:
        The front in the unit box. ``ceilings`` holds 1 to 21 policies (more for more trade-offs)
        and is empty for more than two objectives.

    Raises:
        InputError: if the share is not in [0, 1].
    """
    if not 0 <= risky_share <= 1:
        raise InputError(f"known front: found a share of {risky_share} risky, expected [0, 1]")
    return front_of_kinds(_kinds(objectives, risky_share), tradeoffs)


def front_of_kinds(kinds: Kinds, tradeoffs: Sequence[TradeOff] = ()) -> KnownFront:
    """Everything attainable where the rewards of all replies to each kind of request are known.

    Args:
        kinds: share of the prompts and ``(A, M)`` rewards of the replies, for each kind.
        tradeoffs: as for :func:`handy_front`.
    """
    replies = single_reply_front(kinds)
    hull = hull_vertices(replies)
    limits: dict[int, float] = {}
    if replies.shape[1] == 2:
        largest = max(_N_CEILINGS, len(tradeoffs))
        limits = {k: float(v) for k, v in enumerate(ceilings(hull, largest), start=1)}
    best = [_best_chebyshev(kinds, tradeoff) for tradeoff in tradeoffs]
    return KnownFront(
        replies=tuple(map(tuple, replies.tolist())),
        hull=tuple(map(tuple, hull.tolist())),
        hypervolume=attainable_hypervolume(hull),
        ceilings=limits,
        utility_min=sum(share * float(table.min(axis=1).max()) for share, table in kinds),
        utility_chebyshev=float(np.mean(best)) if best else None,
        best_chebyshev=tuple((t.weights, float(b)) for t, b in zip(tradeoffs, best, strict=True)),
    )


def _kinds(objectives: Objectives, risky_share: float) -> Kinds:
    """(share, reward table) of each kind of request; one kind where the tables agree."""
    safe, risky = (reward_table(is_risky, objectives) for is_risky in (False, True))
    if np.array_equal(safe, risky):
        return [(1.0, safe)]
    kinds = [(1 - risky_share, safe), (risky_share, risky)]
    return [(share, table) for share, table in kinds if share > 0]


def single_reply_front(kinds: Kinds) -> Floats:
    """Non-dominated mean rewards of policies that give one reply to each kind of request.

    Args:
        kinds: share of the prompts and ``(A, M)`` rewards of the replies, for each kind.

    Returns:
        ``(K, M)`` distinct rows, ascending.
    """
    total = np.zeros((1, kinds[0][1].shape[1]))
    for share, table in kinds:
        best = np.unique(table[non_dominated(table)], axis=0)
        total = (total[:, None] + share * best).reshape(-1, total.shape[1])
    return np.unique(total[non_dominated(total)], axis=0)


def hull_vertices(points: Floats) -> Floats:
    """Vertices of the front of mixtures: the points that no mixture of the others reaches.

    Args:
        points: ``(K, M)`` non-dominated, in [0, 1], M >= 2.

    Returns:
        ``(L, M)``, in the order of ``points``.

    Example:
        >>> hull_vertices(np.array([[0.0, 1.0], [0.4, 0.4], [0.6, 0.6], [1.0, 0.0]]))
        array([[0. , 1. ],
               [0.6, 0.6],
               [1. , 0. ]])
    """
    n_objectives = points.shape[1]
    # With its projections on the faces every point spans a box down to 0, so the hull is exactly
    # the set that mixtures dominate; a vertex of it that is a point itself is on their front.
    faces = np.array(list(np.ndindex(*(2,) * n_objectives)), dtype=np.float64)[::-1]
    below = (faces[:, None] * points).reshape(-1, n_objectives)
    distinct, first = np.unique(below, axis=0, return_index=True)
    at = first[ConvexHull(distinct).vertices]
    return np.asarray(points[np.sort(at[at < len(points)])])


def _best_chebyshev(kinds: Kinds, tradeoff: TradeOff) -> float:
    return sum(share * float(chebyshev(table, tradeoff.weights).max()) for share, table in kinds)
