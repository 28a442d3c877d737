"""The page's numbers against those of an independent prototype in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from budget import Budget
from mopo_errors import normalizer, order_of_policies
from mopo_gaps import small_batches
from mopo_lag import course
from mopo_motivating import (
    DPO,
    MIDDLE,
    PAIRS_TAU,
    SETS,
    TAUS,
    Which,
    coverage,
    distances,
    exact_points,
    reward_points,
    sampled_points,
)
from mopo_robust import robust_pair
from mopo_structures import HALF, exact, stochastic
from mopo_tau import LAG, SEGMENTS, lagged_distance, learned, limit
from pagetext import half_width

MIDDLES: dict[Which, tuple[float, ...]] = {
    "a": (0.342, 0.247, 0.109, 0.087, 0.030, 0.009, 0.002),
    "b": (0.279, 0.255, 0.181, 0.157, 0.053, 0.005, 0.000),
}
LAGGED: dict[Which, tuple[float, ...]] = {
    "a": (0.087, 0.041, 0.027, 0.015, 0.007),
    "b": (0.157, 0.079, 0.044, 0.017, 0.003),
}
SINGLE: dict[Which, tuple[float, ...]] = {
    "a": (0.045, 0.023, 0.020, 0.034, 0.032),
    "b": (0.011, 0.007, 0.019, 0.011, 0.014),
}
SWEEP_COVERS: dict[Which, float] = {"a": 0.916, "b": 0.740}
FROM_PAIRS: dict[Which, float] = {"a": 0.015, "b": 0.028}
COP: dict[Which, float] = {"a": 0.0074, "b": 0.0000}
SMALL_TAU: dict[Which, float] = {"a": 0.0089, "b": 0.0046}


@final
@dataclass(frozen=True)
class Check:
    """One number, twice.

    Args:
        name: what it is.
        found: here.
        prototype: there.
        tolerance: by which they may differ.
        why: they differ by more, where that is known.
    """

    name: str
    found: float
    prototype: float
    tolerance: float
    why: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the two agree."""
        return abs(self.found - self.prototype) <= self.tolerance

    def row(self) -> list[str]:
        """Cells of a table."""
        verdict = "yes" if self.is_met else f"no{': ' if self.why else ''}{self.why}"
        return [self.name, verdict, f"{self.found:.4f}", f"{self.prototype:.4f}",
                f"{self.tolerance:g}"]  # fmt: skip


def checks(budget: Budget) -> list[Check]:
    """All of them."""
    return [*_exact(budget), *_motivating(budget), *_stochastic(budget)]


def _exact(budget: Budget) -> Iterator[Check]:
    yield Check("D1, tau .1: action 1", float(limit(0.1, 1).exp()[0, 0]), 0.9933, 1e-3)
    yield Check("D3b, floor 2/3: action 1", float(exact("d3b", 2 / 3)[0][0]), 2 / 3, 1e-3)
    yield Check("D3c, first floor: action 1", float(exact("d3c", HALF)[0][0]), 0.5, 1e-3)
    yield Check("D3c, floor 2/3: action 1", float(exact("d3c", 2 / 3)[0][0]), 1 / 3, 1e-3)
    yield Check("D4: action 1", float(exact("d4", HALF)[0][0]), 1 / 3, 1e-3)
    for tau, share in ((5.0, 0.311), (0.5, 0.155), (0.1, 0.003)):
        found = float(exact("d5", 0.0, tau)[0][2])
        yield Check(f"D5, tau {tau:g}: action 3", found, share, 1e-3)
    yield Check("T1: multiplier", normalizer().values["right"], 0.86137105, 1e-6)
    yield Check("T1 as printed: multiplier", normalizer().values["printed"], 0.0, 1e-9)
    batch = small_batches().values
    yield Check("bound of a hard label, radius .15", batch["bound"], 0.233228, 1e-6)
    yield Check("its temperature", batch["chi"], 0.840213, 1e-6)
    order = order_of_policies(budget).values
    yield Check("M6: first preference", order["p1"], 0.4104, 1e-4)
    yield Check("M6: second preference", order["p2"], 0.3198, 1e-4)
    for name, policy in (("d3b", (0.7284, 0.2543)), ("d3c", (0.3563, 0.5392))):
        found = robust_pair(name, budget)[0]
        for action, share in enumerate(policy):
            label = f"{name.upper()} robust, radius .05: action {action + 1}"
            yield Check(label, float(found[action]), share, 1e-3)


def _motivating(budget: Budget) -> Iterator[Check]:
    self_pairs = "there an action also meets itself"
    for which in SETS:
        set_ = which.upper()
        for tau, far in zip(TAUS, MIDDLES[which], strict=True):
            found = float(distances(which, exact_points(which, tau))[MIDDLE])
            yield Check(f"{set_}, tau {tau:g}: distance, middle floor", found, far, 0.008,
                        self_pairs)  # fmt: skip
        for n, far in zip(SEGMENTS, LAGGED[which], strict=True):
            found = lagged_distance(which, n)
            yield Check(f"{set_}, {n} segments: distance", found, far, 0.008, self_pairs)
        far = float(distances(which, reward_points(which)).mean())
        yield Check(f"{set_}, COP: distance", far, COP[which], 0.001)
        far = float(distances(which, exact_points(which, PAIRS_TAU)).mean())
        yield Check(f"{set_}, MOPO, tau .01: mean distance", far, SMALL_TAU[which], 0.002)


def _stochastic(budget: Budget) -> Iterator[Check]:
    for name, floor, is_literal, share in (
        ("d1", HALF, False, 1.0), ("d2", HALF, False, 0.501), ("d3b", 2 / 3, False, 0.668),
        ("d4", HALF, False, 0.334), ("d1", HALF, True, 0.667), ("d3b", HALF, True, 0.667),
    ):  # fmt: skip
        policies, prices = stochastic(name, floor, budget, is_literal)
        label = f"Algorithm 1{' as printed' if is_literal else ''}, {name.upper()}"
        yield Check(f"{label}: action 1", float(policies[:, 0].mean()), share, 2e-2)
        if floor != HALF:
            yield Check(f"{label}: multiplier", float(prices.mean()), 0.93, 2e-2)
    tilted = float(learned(5.0, LAG, budget)[:, 0].mean())
    recursion = float(limit(5.0, 40).exp()[0, 0])
    why = f"there the policy trailed the recursion, whose exact value is {recursion:.3f}"
    yield Check("Algorithm 1, D1, tau 5, lag 500: action 1", tilted, 0.805, 2e-2, why)
    for which in SETS:
        points = [sampled_points(which, budget.pairs, seed) for seed in range(budget.seeds)]
        for name, far in zip(DPO, SINGLE[which], strict=True):
            found = [float(distances(which, p[name]).mean()) for p in points]
            # One draw there; here an interval over seeds.
            tolerance = max(0.02, half_width(found))
            label = f"{which.upper()}, {name}: distance"
            yield Check(label, float(np.mean(found)), far, tolerance)
        swept = "DPO on Dmix, 11 weights"
        found = float(np.mean([coverage(which, p[swept]) for p in points]))
        yield Check(f"{which.upper()}, {swept}: covered", found, SWEEP_COVERS[which], 0.03,
                    "beta and box were not recorded there")  # fmt: skip
        far = [float(distances(which, p["MOPO"]).mean()) for p in points]
        yield Check(
            f"{which.upper()}, MOPO from pairs: distance",
            float(np.mean(far)),
            FROM_PAIRS[which],
            max(0.01, half_width(far)),
        )
    solves = [course(n, budget.instances, kind) for n in (100, 20, 10) for kind in (True, False)]
    yield Check("infeasible solves with adaptive floors", sum(s.n_infeasible for s in solves), 0, 0)
