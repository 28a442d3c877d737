"""Which responses rays and weighted sums select, on rewards alone.

The policy of a trade-off replies with one of its selected responses, all equally likely: what
fine-tuning on them aims at, so its rewards are known without training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from fspo_numbers import Gap, gap, listed, signed
from pagetext import interval, table
from paretohqd_budget import Budget
from section import Section

from paretune.core.job import Pool
from paretune.functional.indicators import (
    attainable_hypervolume,
    hypervolume,
    largest_angle_gap,
    shortfall_angles,
)
from paretune.functional.scalarize import chebyshev
from paretune.functional.select import select_linear, select_ray
from paretune.functional.simplex import lattice

Floats = npt.NDArray[np.float64]
Rule = Callable[..., npt.NDArray[np.int64]]

BINS = 20
ALL_ROWS = "ray, all rows"
CLOUDS = ("convex", "straight", "dented", "normal", "coarse")
RAY, FEWEST, LINEAR = "ray, layers of 5 k", "ray, fewest layers", "weighted sum, all rows"
"""The method with layers enough for thin fronts, at its default, and the paper's ablation."""
DEPTH = 5


def rules(k: int) -> dict[str, Rule]:
    """What is compared."""
    return {
        RAY: partial(select_ray, min_rows=DEPTH * k),
        FEWEST: select_ray,
        ALL_ROWS: partial(select_ray, pool_rows="all"),
        "weighted sum, layers of 5 k": partial(
            select_linear, pool_rows="pareto", min_rows=DEPTH * k
        ),
        LINEAR: select_linear,
    }


COLUMNS = ("gap", "bins", "pooled", "means", "E[min]", "Chebyshev", "distinct")
_POWERS = {"convex": 0.5, "straight": 1.0, "dented": 2.0}
HOW = """\
{rows:,} responses with two rewards, 11 trade-offs, k = {k}, {seeds} seeds; each policy replies \
with one of its selected responses. `convex`, `straight` and `dented` fill the region below a \
front of that shape; `normal`: correlation -.45, as helpful and harmless have it; `coarse`: \
`normal` rounded to quarters, so that whole groups of responses tie. `gap`: largest hole in the \
directions of the selected responses (1 = one end only); `bins`: of 20 directions reached; \
`pooled`: hypervolume of all selected responses over that of all responses; then percent of the \
best that any policy reaches: `means`: hypervolume of the mean rewards; `E[min]`: smallest \
reward of a reply, mean over replies, best policy; `Chebyshev`: per-reply utility of each \
policy, mean over trade-offs; `distinct`: different responses over 11 k."""


def cloud(name: str, seed: int, rows: int) -> Floats:
    """``(rows, 2)`` rewards."""
    rng = np.random.default_rng(seed)
    if name in ("normal", "coarse"):
        drawn = rng.multivariate_normal([0, 0], [[1, -0.45], [-0.45, 1]], size=rows)
        return np.asarray((4 * drawn).round() / 4 if name == "coarse" else drawn)
    along, depth = rng.random(rows), rng.random(rows) ** 0.5
    power = _POWERS[name]
    return np.asarray(depth[:, None] * np.stack([along**power, (1 - along) ** power], axis=1))


def pool_of(rewards: Floats) -> Pool:
    """Every row is another prompt and text."""
    rows = np.arange(len(rewards))
    return Pool(rewards, rows, rows)


def scores(rewards: Floats, rule: Rule, k: int) -> dict[str, float]:
    """What is said in :data:`HOW`, by column."""
    tradeoffs = [t.weights for t in lattice(2, 10)]
    pool = pool_of(rewards)
    chosen = [rule(pool, weights=t, k=k) for t in tradeoffs]
    low, high = rewards.min(axis=0), rewards.max(axis=0)
    unit = (rewards - low) / (high - low)
    together = np.unique(np.concatenate(chosen))
    angles = shortfall_angles(unit[together])
    means = np.array([unit[rows].mean(axis=0) for rows in chosen])
    smallest = unit.min(axis=1)
    utility = [(chebyshev(unit, t), rows) for t, rows in zip(tradeoffs, chosen, strict=True)]
    return {
        "gap": largest_angle_gap(unit[together]),
        "bins": len(np.unique(np.minimum((angles * BINS).astype(int), BINS - 1))),
        "pooled": hypervolume(unit[together]) / hypervolume(unit),
        "means": 100 * hypervolume(means) / attainable_hypervolume(unit),
        "E[min]": 100 * max(smallest[rows].mean() for rows in chosen) / smallest.max(),
        "Chebyshev": 100
        * float(np.mean([u[rows].mean() for u, rows in utility]))
        / float(np.mean([u.max() for u, _ in utility])),
        "distinct": len(together) / (len(chosen) * k),
    }


@cache
def measured(budget: Budget) -> Mapping[tuple[str, str], Any]:
    """Cloud and rule to ``{column: (seeds,)}``."""
    found: dict[tuple[str, str], Any] = {}
    for name in CLOUDS:
        clouds = [cloud(name, seed, budget.rows) for seed in range(budget.seeds)]
        for label, rule in rules(budget.k).items():
            each = [scores(rewards, rule, budget.k) for rewards in clouds]
            found[name, label] = {c: np.array([one[c] for one in each]) for c in COLUMNS}
    return found


def rows_of(found: Mapping[tuple[str, str], Any]) -> list[list[str]]:
    """Rows of a table."""
    digits = {"gap": 3, "bins": 1, "pooled": 3, "distinct": 2}
    return [
        [name, label, *(interval(values[c], digits.get(c, 1)) for c in COLUMNS)]
        for (name, label), values in found.items()
    ]


def section(budget: Budget) -> Section:
    """Rays against weighted sums where nothing is trained."""
    found = measured(budget)
    differences = {
        name: {c: gap(found[name, RAY][c], found[name, LINEAR][c]) for c in COLUMNS[3:6]}
        for name in CLOUDS
    }
    ray, linear = found["dented", RAY], found["dented", LINEAR]
    mean = {c: (float(ray[c].mean()), float(linear[c].mean())) for c in COLUMNS}
    return Section(
        "A preference ray covers non-convex fronts, a weighted sum does not (selection of data)",
        "Key design 1; ablation of the preference direction",
        "on the dent: largest hole {:.3f} against {:.3f}, ".format(*mean["gap"])
        + "{:.0f} against {:.0f} directions; ".format(*mean["bins"])
        + "hypervolume of means {:.0f} against {:.0f} %, ".format(*mean["means"])
        + "E[min] {:.0f} against {:.0f} %".format(*mean["E[min]"]),
        verdict(ray, linear, differences["dented"]),
        "\n\n".join([
            HOW.format(rows=budget.rows, k=budget.k, seeds=budget.seeds),
            table(["front", "selection", *COLUMNS], rows_of(found), 2),
            f"{RAY.capitalize()}, less {LINEAR} (`*`: beyond chance):",
            table(
                ["front", *COLUMNS[3:6]],
                [[n, *(signed(g, 1) for g in gaps.values())] for n, gaps in differences.items()],
            ),
            "A policy may answer by chance, so what it earns on average is a mixture, and the "
            "chord between two ends lies outside of a dent: no weighted sum selects a response of "
            "the dent, and yet the mean rewards of its policies may dominate more. One by one "
            "those replies serve nobody who wants both. And rays alone, without layers, stay on "
            "course through the whole cloud: it is the layers that keep them at the front.",
        ]),
    )  # fmt: skip


def verdict(ray: Any, linear: Any, dented: Mapping[str, Gap]) -> str:
    """From coverage of the dent, and by which yardstick it pays."""
    wider = gap(linear["gap"], ray["gap"])
    if not (wider.mean > 0.1 and wider.is_beyond_chance):
        return "does not hold: weighted sums reach the dent as well"
    names = {"means": "hypervolume of mean rewards", "Chebyshev": "Chebyshev utility"}
    sides: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for column, g in dented.items():
        sides[int(np.sign(g.mean)) if g.is_beyond_chance else 0].append(names.get(column, column))
    if len(sides[1]) == len(dented):
        return "holds"
    said = [f"better {listed(sides[1])}"] if sides[1] else []
    said += [f"no difference in {listed(sides[0])}"] if sides[0] else []
    said += [f"worse {listed(sides[-1])}"] if sides[-1] else []
    return f"holds only if: coverage is what counts; on the dent {', '.join(said)}"
