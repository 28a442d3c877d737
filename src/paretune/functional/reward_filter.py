"""Row rules of conditioned policies: every scored response, and the better ones of each round."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from paretune.core.job import Pool
from paretune.errors import ConfigError, NotScoredError
from paretune.functional.dominance import top_layers
from paretune.functional.draws import hash_keys

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Keep = Literal["quantile", "pareto"]

_RECORDS = 15
"""Names the draws of which records a round keeps."""


def above_quantile(
    rewards: Floats, quantile: float = 0.7, match: Literal["any", "all"] = "any"
) -> Mask:
    r"""Rows that reach a quantile of the rows' own rewards on some objective.

    With ``any`` it is a mild filter: of independent objectives :math:`1 - q^M` of the rows stay,
    0.51 for two objectives and 0.7, and 0.6 of two that are opposed. It keeps responses that are
    good on one objective and the worst on all others, and drops balanced ones.

    Args:
        rewards: ``(N, M)``, any unit.
        quantile: of each objective, in [0, 1).
        match: ``any`` objective, or ``all`` of them, which keeps :math:`(1 - q)^M`.

    Returns:
        ``(N,)`` bool; a row on the quantile is above it.

    Raises:
        ConfigError: if the quantile is out of range.

    Source:
        Yang et al. 2024, "Rewards-in-Context", multi-objective rejection sampling, as in its
        published code (quantile 0.7, any).

    Example:
        >>> rewards = np.array([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
        >>> above_quantile(rewards)
        array([ True, False, False,  True])
    """
    if not 0 <= quantile < 1:
        raise ConfigError(f"filter: found quantile {quantile}, expected a number in [0, 1)")
    is_above = rewards >= np.quantile(rewards, quantile, axis=0)
    return np.asarray(is_above.any(axis=1) if match == "any" else is_above.all(axis=1))


def in_top_layers(rewards: Floats, share: float = 0.3) -> Mask:
    """Rows of the fewest Pareto layers that hold a share of all rows.

    Args:
        rewards: ``(N, M)``, any unit.
        share: of the rows, in (0, 1].

    Returns:
        ``(N,)`` bool.

    Raises:
        ConfigError: if the share is out of range.

    Example:
        >>> in_top_layers(np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0], [3.0, 0.0]]), 0.5)
        array([ True, False,  True,  True])
    """
    if not 0 < share <= 1:
        raise ConfigError(f"filter: found share {share}, expected a number in (0, 1]")
    # Rounding first: 0.3 of ten rows are three, whatever the last bit of 1 - 0.7 says.
    wanted = max(1, math.ceil(round(share * len(rewards), 6)))
    is_kept = np.zeros(len(rewards), dtype=np.bool_)
    is_kept[top_layers(rewards, min_rows=wanted)[0]] = True
    return is_kept


def select_scored(pool: Pool) -> Rows:
    """Every response, in the order of the pool.

    Raises:
        NotScoredError: if a reward is missing: each prompt is told all rewards.
    """
    is_missing = np.isnan(pool.rewards)
    if is_missing.any():
        row, column = np.argwhere(is_missing)[0]
        raise NotScoredError(
            f"rewards in prompts: {int(is_missing.any(axis=1).sum())} of {len(pool.rewards)} "
            f"responses lack a reward, the first is response {row} on objective {column}; expected "
            "a score of every response"
        )
    return np.arange(len(pool.rewards), dtype=np.int64)


def select_rounds(
    pool: Pool, *, keep: Keep = "quantile", quantile: float = 0.7, max_records: int, seed: int = 0
) -> Rows:
    """The better records and the better replies of each round.

    The records and the replies of every round are filtered by themselves: a threshold is a
    quantile *within* its own set.

    Args:
        pool: N responses, every reward scored, with their rounds.
        keep: ``quantile`` = :func:`above_quantile` on any objective; ``pareto`` =
            :func:`in_top_layers` with the share ``1 - quantile``.
        quantile: in [0, 1).
        max_records: of the records that pass, as many stay, chosen by chance; >= 0.
        seed: of that chance.

    Returns:
        ``(Q,)`` distinct rows in the order of the pool.

    Raises:
        NotScoredError: as :func:`select_scored`.
        ConfigError: if an option is out of range.

    Source:
        Yang et al. 2024, "Rewards-in-Context", online stage; its published code keeps 10,000
        records. Pareto layers are ours.

    Example:
        >>> rewards = np.array([[0.0], [1.0], [8.0], [9.0]])
        >>> pool = Pool(rewards, np.arange(4), np.arange(4), rounds=np.array([0, 0, 1, 1]))
        >>> select_rounds(pool, max_records=5)
        array([1, 3])
    """
    if keep not in ("quantile", "pareto"):
        raise ConfigError(f"filter: found {keep!r}, expected quantile or pareto")
    if max_records < 0:
        raise ConfigError(f"filter: found max_records={max_records}, expected at least 0")
    rounds = np.zeros(len(pool.rewards), dtype=np.int64) if pool.rounds is None else pool.rounds
    select_scored(pool)
    kept = []
    for number in np.unique(rounds):
        rows = np.flatnonzero(rounds == number)
        rewards = pool.rewards[rows]
        is_kept = (
            above_quantile(rewards, quantile)
            if keep == "quantile"
            else in_top_layers(rewards, 1 - quantile)
        )
        rows = rows[is_kept]
        if number == 0:
            rows = rows[np.argsort(hash_keys(seed, _RECORDS, rows), kind="stable")[:max_records]]
        kept.append(rows)
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *kept]))
