"""Which rewards to ask a conditioned policy for: of a trade-off, and goals to explore."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from paretune.core.rewards import Normalizer
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, ShapeError
from paretune.functional.draws import Keys, hash_keys, uniform

Floats = npt.NDArray[np.float64]
Rule = Literal["norm", "linf", "linear"]
RangeFrom = Literal["data", "gauss"]

_NORMALS = 14
"""Names the draws of ``gauss_range``."""


def desired_share(weights: Sequence[float], rule: Rule = "norm", p: float = 2.0) -> Floats:
    r"""Share of each objective's range that a trade-off asks for.

    With ``norm`` the best point of an abstract front: the maximum of :math:`\sum_i w_i s_i` over
    :math:`s \in [0,1]^M` with :math:`\lVert s\rVert_p \le 1`, by Hoelder's inequality

    .. math:: s_i = (w_i / \lVert w\rVert_q)^{q-1}, \qquad 1/p + 1/q = 1.

    A larger p asks for more of everything at once, which real rewards in conflict do not offer:
    what is asked then lies far from every training response.

    Args:
        weights: ``(M,)`` trade-off on the simplex.
        rule: ``norm`` as above; ``linf`` asks for all of the objective with the largest weight and
            ``min(M w, 1)`` of the others (a rule of thumb, not ``norm`` with infinite p);
            ``linear`` asks for the weights.
        p: of ``norm``, in [1, inf]: 1 asks for the objective with the largest weight alone (ties
            share it evenly), infinity for all of everything.

    Returns:
        ``(M,)`` in [0, 1].

    Raises:
        ConfigError: if the weights are not on the simplex, the rule is unknown or p is below 1.

    Source:
        Yang et al. 2024, "Rewards-in-Context", the preference-to-reward mapping; ``linf`` and
        ``linear`` are rules of its published code.

    Example:
        >>> desired_share((0.3, 0.7)).round(4), desired_share((0.3, 0.7), p=4).round(4)
        (array([0.3939, 0.9191]), array([0.703 , 0.9324]))
        >>> desired_share((0.3, 0.7), "linf")
        array([0.6, 1. ])
    """
    w = TradeOff(tuple(weights)).array
    if rule not in ("norm", "linf", "linear"):
        raise ConfigError(f"desired rewards: found rule {rule!r}, expected norm, linf or linear")
    if not p >= 1:
        raise ConfigError(f"desired rewards: found p={p}, expected a number >= 1")
    if rule == "linear":
        return w
    if rule == "linf":
        return np.where(w == w.max(), 1.0, np.minimum(len(w) * w, 1.0))
    if p == math.inf:
        return np.ones_like(w)
    # Relative to the largest weight no power overflows, and p -> 1 has its limit.
    u = w / w.max()
    if p == 1:
        return np.where(u == 1, 1.0 / (u == 1).sum(), 0.0)
    total = float((u ** (p / (p - 1))).sum())
    return np.asarray(u ** (1 / (p - 1)) / total ** (1 / p))


def desired_rewards(
    weights: Sequence[float], low: Floats, high: Floats, rule: Rule = "norm", p: float = 2.0
) -> Floats:
    r"""Rewards to ask for at a trade-off: :math:`\rho_i = l_i + s_i (h_i - l_i)`.

    Args:
        weights: ``(M,)`` trade-off on the simplex.
        low: ``(M,)`` where the range of each objective begins, any unit.
        high: ``(M,)`` where it ends.
        rule: of :func:`desired_share`.
        p: of :func:`desired_share`.

    Returns:
        ``(M,)`` in the unit of the ranges.

    Raises:
        ShapeError: if the ranges do not fit the weights.
        ConfigError: as :func:`desired_share`.

    Source:
        Yang et al. 2024, "Rewards-in-Context", the preference-to-reward mapping.

    Example:
        >>> desired_rewards((1.0, 0.0), np.array([-2.0, -1.0]), np.array([2.0, 3.0]))
        array([ 2., -1.])
    """
    if not len(low) == len(high) == len(weights):
        raise ShapeError(
            f"desired rewards: found ranges of {len(low)} and {len(high)} objectives, expected "
            f"{len(weights)}"
        )
    return np.asarray(low + desired_share(weights, rule, p) * (high - low))


def sample_goals(keys: Keys, low: Floats, high: Floats) -> Floats:
    """Goals near the upper faces of the box of rewards: all but one objective at their best.

    Every objective gets a uniform share of its range; the smallest share is kept and the others
    are set to 1. The mean of the objective that is kept is ``low + (high - low) / (M + 1)``.

    Args:
        keys: ``(P,)`` random 64-bit keys, one a goal.
        low: ``(M,)`` where the range of each objective begins.
        high: ``(M,)`` where it ends.

    Returns:
        ``(P, M)`` rounded to tenths.

    Source:
        Yang et al. 2024, "Rewards-in-Context", online stage, as in its published code. There all
        objectives have one range; with a range each, *smallest* is meant in shares of the range.

    Example:
        >>> goals = sample_goals(hash_keys(0, 1, np.arange(500)), np.zeros(2), np.ones(2))
        >>> bool((goals.max(axis=1) == 1).all())
        True
    """
    share = np.stack([uniform(keys, i) for i in range(len(low))], axis=1)
    is_kept = np.arange(len(low)) == share.argmin(axis=1)[:, None]
    goals: Floats = low + np.where(is_kept, share, 1.0) * (high - low)
    return np.round(goals, 1)


@functools.cache
def gauss_range(n: int = 50_000) -> tuple[float, float]:
    """Smallest and largest of ``n`` standard normals, one fixed draw.

    Stands for the range of z-scores whatever the rewards are, which the source's code does. Of
    50,000 the largest is 4.2 on average, beyond most real rewards.

    Args:
        n: how many, >= 1.

    Source:
        Published code of Yang et al. 2024: 50,000 to answer, 100,000 for the goals of the online
        stage. It draws them anew in every run; here they are the same everywhere.

    Example:
        >>> low, high = gauss_range()
        >>> -4.8 < low < -3.8 < 3.8 < high < 4.8
        True
    """
    # The inverse of the distribution function is monotone, so two values are enough.
    shares = uniform(hash_keys(0, _NORMALS, np.arange(n)))
    normal = NormalDist()
    return normal.inv_cdf(float(shares.min())), normal.inv_cdf(float(shares.max()))


def goal_range(
    normalizer: Normalizer, range_from: RangeFrom = "data", n_normals: int = 50_000
) -> tuple[Floats, Floats]:
    """``(M,)`` smallest and largest z-score that is asked for.

    Args:
        normalizer: statistics of the training rewards.
        range_from: ``data`` = the 0.1 % and 99.9 % quantiles of the training rewards; ``gauss`` =
            :func:`gauss_range`, the same for every objective.
        n_normals: of ``gauss``.

    Raises:
        ConfigError: for another ``range_from``.
    """
    if range_from == "data":
        return normalizer.bulk
    if range_from != "gauss":
        raise ConfigError(f"desired rewards: found range {range_from!r}, expected data or gauss")
    low, high = gauss_range(n_normals)
    n = len(normalizer.mean)
    return np.full(n, low), np.full(n, high)
