"""Rewards-in-Context: its map from trade-offs to rewards, the range of wishes, the online stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from baselines_fronts import (
    QUALITY,
    Comparison,
    Floats,
    judged,
    place,
    summed_up,
    verdict_of,
)
from baselines_world import PAIRS, SCENARIOS, training_rewards
from fspo_numbers import gap, signed
from pagetext import interval, numbers, table
from section import Section

from paretune.core.results import MethodResult, RunResult
from paretune.functional.desired_rewards import (
    RangeFrom,
    desired_rewards,
    desired_share,
    goal_range,
)

POWERS = (1.5, 2.0, 3.0, 6.0)
STEERING = "steering"
_RUNS = """\
Runs of 450 offline steps on 2,000 pairs, 6 trade-offs, made by \
`OMP_NUM_THREADS=1 python benchmarks/reproduce/baselines_world.py SEEDS RUNS`; variants share what \
is the same of their training. `Steering`: how much further an objective is, in percent of its \
range, when it has all the weight than when it has none, mean over objectives."""


def map_optimum() -> Section:
    """The map from trade-offs to desired rewards."""
    gaps = {p: grid_gap((0.3, 0.7), p) for p in POWERS}
    rules = {
        "norm, p=2": ("norm", 2.0), "norm, p=4": ("norm", 4.0), "norm, p=inf": ("norm", np.inf),
        "linf": ("linf", 2.0), "linear": ("linear", 2.0),
    }  # fmt: skip
    asked = [(1.0, 0.0), (0.7, 0.3), (0.5, 0.5)]
    rows = [
        [name, *(", ".join(numbers(desired_share(w, rule, p), 2)) for w in asked)]  # type: ignore[arg-type]
        for name, (rule, p) in rules.items()
    ]
    reached = {(s, r): share_reached(s, r) for s in SCENARIOS for r in ("data", "gauss")}
    met = [
        [f"{scenario}, {'data' if r == 'data' else 'normals'}", *numbers(wish, 2),
         *numbers(100 * np.array(shares), 1)]
        for (scenario, r), (wish, shares) in reached.items()
    ]  # fmt: skip
    largest = max(gaps.values())
    both = max(shares[1] for _, shares in reached.values())
    body = [
        "Share of each objective's range that trade-offs ask for. `linf` and `linear` are rules of "
        "the source's code; `linf` is not the limit of large p.",
        table(["rule", *(f"w = ({a:g}, {b:g})" for a, b in asked)], rows),
        "The abstract problem has its solution: the map equals the best point of a grid to "
        + ", ".join(f"{g:.0e} (p = {p:g})" for p, g in gaps.items())
        + ". But its box of rewards assumes that objectives can be had together. What the even "
        f"trade-off asks for with p = 2, as z-scores, and how many of the {PAIRS:,} pairs' "
        "responses on the embedded world get that much of the first objective, and of both:",
        table(
            ["scenario, range of wishes", "first", "second", "reach first, %", "reach both, %"], met
        ),
        "Weight 0 asks for the *worst* of an objective, not for anything.",
    ]
    return Section(
        "The map from trade-offs to desired rewards asks for the best attainable",
        "RiC (arXiv:2402.10207), preference-to-reward mapping",
        f"equal to the optimum on a grid to {largest:.0e}; the even wish is reached by "
        f"{_share_told(both)} of the training responses",
        map_verdict(largest, both),
        "\n\n".join(body),
    )


def map_verdict(error: float, reached: float) -> str:
    """From the distance to the optimum, and from how many responses get the even wish.

    Example:
        >>> map_verdict(1e-6, 0.0)
        'holds only if: objectives can be had together; none of the responses meets the even wish'
        >>> map_verdict(1e-6, 0.2)
        'holds'
    """
    if error > 1e-3:
        return f"does not hold: {error:.0e} from the optimum"
    if reached < 0.01:
        told = _share_told(reached)
        return f"holds only if: objectives can be had together; {told} of the responses meets " + (
            "the even wish"
        )
    return "holds"


def _share_told(share: float) -> str:
    return "none" if share == 0 else f"at most {100 * share:.1f} %"


def grid_gap(weights: tuple[float, float], p: float, n: int = 200_001) -> float:
    """By how much the best point of a grid on the p-norm's sphere exceeds the map's, or differs."""
    first = np.linspace(0, 1, n)
    second = (1 - first**p) ** (1 / p)
    best = float((weights[0] * first + weights[1] * second).max())
    return abs(best - float(np.dot(weights, desired_share(weights, "norm", p))))


def share_reached(scenario: str, range_from: RangeFrom) -> tuple[Floats, tuple[float, float]]:
    """``(M,)`` what the even trade-off asks for; shares of responses that get the first, both."""
    normalizer, z = training_rewards(scenario)
    low, high = goal_range(normalizer, range_from)
    wish = desired_rewards((0.5, 0.5), low, high)
    is_met = z >= wish - 0.05  # told in tenths
    return wish, (float(is_met[:, 0].mean()), float(is_met.all(axis=1).mean()))


def online_stage(found: Sequence[Comparison]) -> Section:
    """What the online stage adds."""
    pairs = [("ric", "ric-offline"), ("ric-normals", "ric-offline-normals")]
    return _variants(
        found, pairs, QUALITY,
        "The online stage improves the front", "RiC (arXiv:2402.10207), online stage",
        "The stage comes on top of the offline steps, so it also trains longer. Its learning rate "
        "is 0.07 of the offline one, the source's share. Judged by the front, as the claim says; "
        "steering is beside it.",
    )  # fmt: skip


def range_of_wishes(found: Sequence[Comparison]) -> Section:
    """The range of wishes of the source's code."""
    pairs = [("ric-normals", "ric"), ("ric-offline-normals", "ric-offline")]
    return _variants(
        found, pairs, (*QUALITY, STEERING),
        "Wishes may lie in the range of standard normals instead of that of the data",
        "RiC's code: R_min and R_max are those of 50,000 draws of N(0, 1), about ±4.2",
        "Rewards of this world lie within about two standard deviations, so wishes of ±4.2 are "
        "numbers that no training prompt has told. Every tenth is a word of its own here; a "
        "tokenizer that spells numbers by digits may bridge more.",
    )  # fmt: skip


def _variants(
    found: Sequence[Comparison],
    pairs: Sequence[tuple[str, str]],
    judged_by: Sequence[str],
    claim: str,
    where: str,
    how: str,
) -> Section:
    gaps = {
        place(m, c, second): gap(_values(c, first, m), _values(c, second, m))
        for c in found
        for first, second in pairs
        for m in (*QUALITY, STEERING)
    }
    cells = judged({at: g for at, g in gaps.items() if at.startswith(tuple(judged_by))})
    kept = {cell.place for cell in cells if cell.is_kept}
    rows = []
    for c in found:
        for first, second in pairs:
            for m in (*QUALITY, STEERING):
                at = place(m, c, second)
                both = [interval(_values(c, name, m), 1) for name in (first, second)]
                told = signed(gaps[at], 1, at in kept)
                rows.append([c.scenario, first, second, m, str(c.seeds), *both, told])
    columns = ["scenario", "first", "second", "measure", "seeds", "first, %", "second, %",
               "difference"]  # fmt: skip
    body = [how, _RUNS]
    if rows:
        body.append(table(columns, rows, 4))
    verdict = verdict_of(cells, min((c.seeds for c in found), default=0))
    return Section(claim, where, summed_up(cells, found), verdict, "\n\n".join(body))


def _values(c: Comparison, name: str, measure: str) -> Floats:
    return c.each(name, steered) if measure == STEERING else c.quality(name, measure)


def steered(run: RunResult, method: MethodResult) -> float:
    """Percent of the range between all the weight and none, mean over objectives."""
    means = np.array([[m.value for m in p.means] for p in method.points])
    weights = np.array([p.tradeoff for p in method.points])
    span = np.asarray(run.high) - np.asarray(run.low)
    ends = means[weights.argmax(axis=0)] - means[weights.argmin(axis=0)]
    return float(100 * (np.diag(ends) / span).mean())
