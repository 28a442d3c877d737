"""Targets on the front: which scored responses serve a trade-off best, by either yardstick.

A target is a distribution over the responses of a pool. No response weighs more than ``N / k``
times its share of the pool, so that a target never hangs on fewer than ``k`` of them. Each group of
prompts keeps its share of the mass: else a target would leave out the prompts where objectives
conflict, and a policy would learn nothing about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from paretune.core.job import ConditionedRows, Pool
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, InputError
from paretune.functional.prompt_groups import group_prompts
from paretune.functional.ray import reward_range

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Yardstick = Literal["expected", "per_reply"]

_EFFICIENCY = 1e-3
"""Weight of the mean shortfall beside the worst one: what costs nothing is not given away."""
_DIGITS = 9
_GOLDEN, _SILVER = (5**0.5 - 1) / 2, 2**0.5 - 1
_TURN = 16
"""More trade-offs than this are not all in a small batch."""


def target_weights(
    shortfall: npt.ArrayLike,
    weights: Sequence[float],
    k: int,
    yardstick: Yardstick = "expected",
    group_of: npt.ArrayLike | None = None,
    shares: npt.ArrayLike | None = None,
) -> Floats:
    r"""The best distribution over responses for a trade-off.

    ``expected`` minimizes the worst weighted shortfall of the mean,
    :math:`\max_i w_i E_q[s_i]`: a linear program, whose optimum may mix responses that none of the
    trade-offs would choose alone. ``per_reply`` minimizes the mean of the worst weighted shortfall,
    :math:`E_q[\max_i w_i s_i]`: the responses with the best Chebyshev utility. To both a thousandth
    of the mean shortfall of all objectives is added. Both under :math:`q_n \le 1/k` and the mass of
    each group of prompts; responses of a group with equal rewards share their mass evenly. A group
    whose responses are too few for its mass takes them all evenly.

    Args:
        shortfall: ``(N, M)`` ideal minus reward, in the unit of the range, of N responses.
        weights: ``(M,)`` trade-off on the simplex.
        k: fewest responses that share the mass, in [1, N].
        yardstick: what is served.
        group_of: ``(N,)`` group of the prompt that each answers, in 0 to G - 1, every group with a
            response; ``None`` = one group.
        shares: ``(G,)`` mass of each group, > 0 with sum 1; ``None`` = its share of the responses.

    Returns:
        ``(N,)`` >= 0 with sum 1.

    Raises:
        ConfigError: if the yardstick is unknown or the weights are not on the simplex.
        InputError: if there are fewer than ``k`` responses.

    Example:
        >>> shortfall = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]]
        >>> target_weights(shortfall, (0.5, 0.5), k=1).round(3)
        array([0.5, 0.5, 0. ])
        >>> target_weights(shortfall, (0.5, 0.5), k=1, yardstick="per_reply")
        array([0., 0., 1.])
        >>> target_weights(shortfall, (0.5, 0.5), k=1, group_of=[0, 0, 1]).round(3)
        array([0.333, 0.333, 0.333])
    """
    s = np.asarray(shortfall, dtype=np.float64)
    w = TradeOff(tuple(weights)).array
    if yardstick not in ("expected", "per_reply"):
        raise ConfigError(f"target: found yardstick {yardstick!r}, expected expected or per_reply")
    if not 1 <= k <= len(s):
        raise InputError(f"target: found {len(s)} responses, expected at least k = {k} >= 1")
    group = np.zeros(len(s)) if group_of is None else np.asarray(group_of, dtype=np.float64)
    kinds, kind_of, counts = np.unique(
        np.round(np.column_stack([group, s]), _DIGITS),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    of_kind = kinds[:, 0].astype(np.int64)
    sizes = np.bincount(of_kind, counts).astype(np.float64)
    mass = sizes / len(s) if shares is None else np.asarray(shares, dtype=np.float64)
    most = np.asarray(counts * np.maximum(1 / k, mass / sizes)[of_kind], dtype=np.float64)
    # For a corner both yardsticks are the mean of one objective, and a sort is enough.
    is_linear = np.count_nonzero(w) == 1
    solve = _best_replies if is_linear or yardstick == "per_reply" else _best_mean
    found = solve(kinds[:, 1:].astype(np.float64), w, most, of_kind, mass)
    return np.asarray((found / counts)[kind_of.ravel()])


def _best_mean(kinds: Floats, weights: Floats, most: Floats, group: Ints, shares: Floats) -> Floats:
    """Mass of each kind of response that makes the worst weighted mean shortfall smallest."""
    n_objectives = kinds.shape[1]
    member = (group == np.arange(len(shares))[:, None]).astype(np.float64)
    kinds = kinds / (kinds.max() or 1.0)
    # Variables: the mass of each kind, and the worst weighted shortfall. A group that takes
    # everything it has must not miss its mass by a rounding error.
    room = np.column_stack([np.zeros(len(most)), most * (1 + 1e-9)])
    found = linprog(
        np.append(_EFFICIENCY * kinds.mean(axis=1), 1.0),
        A_ub=np.column_stack([(kinds * weights).T, -np.ones(n_objectives)]),
        b_ub=np.zeros(n_objectives),
        A_eq=np.column_stack([member, np.zeros(len(shares))]),
        b_eq=shares,
        bounds=np.vstack([room, [-np.inf, np.inf]]),
        method="highs",
    )
    assert found.success, found.message
    mass = np.clip(found.x[:-1], 0.0, None)
    return np.asarray(mass / mass.sum())


def _best_replies(
    kinds: Floats, weights: Floats, most: Floats, group: Ints, shares: Floats
) -> Floats:
    """Mass of each kind, the best utility first; the last ones that are reached share the rest."""
    cost = np.round((kinds * weights).max(axis=1) + _EFFICIENCY * kinds.mean(axis=1), _DIGITS)
    mass = np.zeros(len(kinds))
    for number, left in enumerate(shares):
        for value in np.unique(cost[group == number]):
            alike = (group == number) & (cost == value)
            room = most[alike].sum()
            mass[alike] = most[alike] * min(1.0, left / room)
            left = left - room
            if left <= 0:
                break
    return np.asarray(mass / mass.sum())


def spread_rows(target: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """``n`` rows whose counts follow a distribution as closely as whole numbers can.

    Args:
        target: ``(N,)`` >= 0, some mass.
        n: rows wanted, >= 1.

    Returns:
        ``(n,)`` ascending; every running sum of counts is within 1 of its expectation.

    Example:
        >>> spread_rows([0.5, 0.25, 0.25], 4)
        array([0, 0, 1, 2])
    """
    edges = np.cumsum(np.asarray(target, dtype=np.float64))
    places = (np.arange(n) + 0.5) / n * edges[-1]
    return np.asarray(np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1))


def even_order(n: int, n_tradeoffs: int) -> Ints:
    """An order of the rows of all trade-offs in which every stretch holds what the whole holds.

    In random order a stretch of training has, by chance, more of one kind of reply than the target
    has, and what a policy saw last it says too often. Here trade-offs take turns, and the rows of
    each come in steps of the golden ratio, so that few or many of them are spread evenly. So do
    more than sixteen trade-offs: neighbors in their grid would be a batch of one corner.

    Args:
        n: rows of each trade-off, in the order of :func:`spread_rows`.
        n_tradeoffs: K, whose rows follow each other.

    Returns:
        ``(K n,)`` a permutation.

    Example:
        >>> even_order(5, 2)
        array([0, 7, 3, 5, 1, 8, 4, 6, 2, 9])
    """
    places = np.arange(n)[:, None] * _GOLDEN + np.arange(n_tradeoffs)[None] * _SILVER
    rank = np.argsort(np.argsort(places % 1.0, axis=0), axis=0)
    turn = np.arange(n_tradeoffs)
    if n_tradeoffs > _TURN:
        turn = np.argsort(turn * _GOLDEN % 1.0)
    return np.asarray((rank + np.arange(n_tradeoffs) * n)[:, turn].ravel())


def select_targets(
    pool: Pool,
    *,
    tradeoffs: Sequence[Sequence[float]],
    k: int,
    n: int,
    yardstick: Yardstick,
    groups: int = 1,
    range_quantile: float = 0.0,
) -> ConditionedRows:
    """Rows that follow the target of every trade-off, each told which, in :func:`even_order`.

    Exact repeats of a response to the same prompt count once. A group's mass is its share of the
    prompts.

    Args:
        pool: N responses, every reward scored.
        tradeoffs: K points of the simplex.
        k: fewest responses that share a target.
        n: rows a trade-off.
        yardstick: what is served.
        groups: of prompts, at most (:func:`paretune.functional.prompt_groups.group_prompts`).
        range_quantile: the ideal and the worst corner are these quantiles of the rewards.

    Returns:
        K n rows, told the trade-off.

    Raises:
        InputError: if a reward is not scored or fewer than ``k`` distinct responses are there.
    """
    if np.isnan(pool.rewards).any():
        row = int(np.isnan(pool.rewards).any(axis=1).argmax())
        raise InputError(f"target: response {row} is not scored, expected every reward")
    answers = np.column_stack([pool.prompt_of, pool.text_of])
    rows = np.sort(np.unique(answers, axis=0, return_index=True)[1])
    rewards, prompt_of = pool.rewards[rows], pool.prompt_of[rows]
    low, high = reward_range(rewards, range_quantile)
    span = np.where(high > low, high - low, 1.0)
    shortfall = np.clip((high - rewards) / span, 0.0, None)
    # Without texts all prompts are one group.
    group_of = group_prompts(pool.prompts, rewards, prompt_of, groups) if pool.prompts else None
    shares = None
    if group_of is not None:
        asked = np.unique(prompt_of)
        _, group_of[asked] = np.unique(group_of[asked], return_inverse=True)
        shares, group_of = np.bincount(group_of[asked]) / len(asked), group_of[prompt_of]
    chosen = np.concatenate([
        spread_rows(target_weights(shortfall, w, k, yardstick, group_of, shares), n)
        for w in tradeoffs
    ])  # fmt: skip
    told = np.repeat(np.asarray(tradeoffs, dtype=np.float64), n, axis=0)
    order = even_order(n, len(tradeoffs))
    return ConditionedRows(rows[chosen[order]], told[order], is_ordered=True)
