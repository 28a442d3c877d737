"""What is not told of ParetoHqD, the smallest example of what hangs on it, and what we do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from mistake import Mistake
from paretohqd_budget import Budget
from paretohqd_selection import Floats, cloud, pool_of

from paretune.core.job import Pool
from paretune.functional.indicators import pareto_rank
from paretune.functional.select import select_ray
from paretune.functional.simplex import lattice

Rule = Callable[..., npt.NDArray[np.int64]]
Found = tuple[str, str, dict[str, float]]


def mistakes(budget: Budget) -> list[Mistake]:
    """G1 to G10."""
    return [
        Mistake("G1", "How many layers the top few are.", *layers(budget)),
        Mistake("G2", "Whether distances are taken in raw rewards or in units of their ranges.",
                *spaces(budget)),
        Mistake("G3", "How extremes are found: one odd reward moves the ideal, and with it every "
                "ray.", *outliers(budget)),
        Mistake("G4", "Whether the range is that of the dataset or of its top layers.",
                *ranges(budget)),
        Mistake("G5", "Which preferences with three objectives.", *grids()),
        Mistake("G6", "Whether rewards are rounded, as RiC's code does.", *ties(budget)),
        Mistake("G7", "Stage 2: whether 10,000 prompts are shared or split; what a policy goes on "
                "from; whether its steps count apart; its layers and ranges.", "",
                "Shared; its own first stage, with a new optimizer; 200 more; those of the "
                "replies (`stage2_pool` adds the records)."),
        Mistake("G8", "Reference point and scale of hypervolume.", "",
                "The world's box, reference 0; the section on twice the hypervolume "
                "shows another."),
        Mistake("G9", "Thresholds of collapse.", "",
                "Fewer than 3 words, loops over 30 % of a reply, or half of its 4-grams repeated; "
                "reports tell each cause, and the base policy's share."),
        Mistake("G10", "Learning rate, schedule, LoRA, decoding.", "",
                "Those of the run, one for all methods, or searched for each in a comparison."),
    ]  # fmt: skip


def overlap(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Share of the rows of one that are in the other."""
    return len(np.intersect1d(one, other)) / len(one)


def overlaps(one: Pool, other: Pool, rule: Rule, parts: int = 10) -> list[float]:
    """Of the rows chosen from two pools, over trade-offs."""
    n_objectives = one.rewards.shape[1]
    return [
        overlap(rule(one, weights=t.weights), rule(other, weights=t.weights))
        for t in lattice(n_objectives, parts)
    ]


def layers(budget: Budget) -> Found:
    """G1: on a cloud of the size of the paper's data."""
    rewards = cloud("normal", 0, budget.dialogues).round(1)
    pool, k = pool_of(rewards), budget.k
    sizes = np.cumsum(np.bincount(pareto_rank(rewards)))
    few, many = (int((sizes < wanted).sum()) + 1 for wanted in (k, 5 * k))
    shared, balanced = [], []
    for n in (few, many):
        rule: Any = partial(select_ray, k=k, n_layers=n)
        near = [rule(pool, weights=(w, 1 - w)) for w in (0.4, 0.5)]
        shared.append(overlap(*near))
        balanced.append(rewards[near[1]].mean(axis=0))
    qualities = " and ".join(f"({b[0]:.2f}, {b[1]:.2f})" for b in balanced)
    return (
        f"{budget.dialogues:,} normal rewards, correlation -.45, rounded to 0.1, k = {k}",
        f"{few} layers hold k rows, {many} hold 5 k; then neighbors (.4 and .5) share "
        f"{100 * shared[0]:.0f} and {100 * shared[1]:.0f} % of their rows, whose mean rewards at "
        f"even weights are {qualities}: the fewest that hold k, or `min_rows`",
        {"few": few, "many": many, "near": shared[0], "far": shared[1]},
    )


def spaces(budget: Budget) -> Found:
    """G2: the same for two objectives, not for three."""
    rng = np.random.default_rng(0)
    found = {}
    for n_objectives, parts in ((2, 10), (3, 4)):
        one = pool_of(rng.random((budget.rows // 4, n_objectives)))
        other = pool_of(one.rewards * np.array([1, 5, 0.2])[:n_objectives])
        for space in ("unit", "raw"):
            rule: Any = partial(select_ray, k=budget.k // 2, min_rows=5 * budget.k // 2,
                                space=space)  # fmt: skip
            found[f"{space}-{n_objectives}"] = float(np.mean(overlaps(one, other, rule, parts)))
    return (
        "rewards multiplied by 1, 5 and .2: rows that stay selected",
        f"two objectives {found['unit-2']:.2f} (unit) and {found['raw-2']:.2f} (raw), three "
        f"{found['unit-3']:.2f} and {found['raw-3']:.2f}: unit",
        found,
    )


def outliers(budget: Budget) -> Found:
    """G3: one row among many."""
    rewards = cloud("normal", 0, budget.dialogues // 5)
    odd = pool_of(np.concatenate([rewards, [[10.0, -10.0]]]))
    found = {}
    for quantile in (0.0, 1e-4):
        rule: Any = partial(select_ray, k=budget.k, min_rows=5 * budget.k,
                            range_quantile=quantile)  # fmt: skip
        found[str(quantile)] = min(overlaps(pool_of(rewards), odd, rule))
    return (
        f"(10, -10) added to {len(rewards):,} normal rewards: rows that stay selected, worst of "
        "11 trade-offs",
        f"{found['0.0']:.2f} with extremes, {found['0.0001']:.2f} with the quantiles 1e-4 and "
        "1 - 1e-4: extremes, `range_quantile` for large data",
        found,
    )


def ranges(budget: Budget) -> Found:
    """G4: the ideal is the same, the nadir is not."""
    pool = pool_of(cloud("normal", 0, budget.rows))
    rules = [
        partial(select_ray, k=budget.k, min_rows=5 * budget.k, range_from=r)
        for r in ("dataset", "pareto")
    ]
    found = [overlap(*(rule(pool, weights=t.weights) for rule in rules)) for t in lattice(2, 10)]
    return (
        f"{budget.rows:,} normal rewards, 11 trade-offs: rows in common",
        f"{min(found):.2f} to {max(found):.2f}: dataset",
        {"least": min(found), "most": max(found)},
    )


def grids() -> Found:
    """G5: lattices."""
    sizes = {f"{m}/{h}": float(len(lattice(m, h))) for m, h in ((2, 10), (3, 4), (3, 10))}
    return (
        "multiples of 1/10 with two objectives; of 1/4 and of 1/10 with three",
        f"{' / '.join(f'{s:.0f}' for s in sizes.values())} trade-offs: even steps",
        sizes,
    )


def ties(budget: Budget) -> Found:
    """G6: what rounding does to the choice."""
    rewards = cloud("normal", 0, budget.rows)
    rule: Any = partial(select_ray, k=budget.k, min_rows=5 * budget.k)
    found = overlaps(pool_of(rewards), pool_of(rewards.round(1)), rule)
    tied = 1 - len(_distinct(rewards.round(1))) / len(rewards)
    return (
        f"{budget.rows:,} normal rewards, rounded to 0.1",
        f"{100 * tied:.0f} % of the rows repeat another's rewards; rows that stay selected "
        f"{np.mean(found):.2f}: as scored; ties by distance down the ray, layer, row",
        {"tied": tied, "kept": float(np.mean(found))},
    )


def _distinct(rewards: Floats) -> Floats:
    return np.unique(rewards, axis=0)
