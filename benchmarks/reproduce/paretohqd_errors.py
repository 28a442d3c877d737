"""Mistakes of what is told of ParetoHqD, each with the smallest example that shows it."""

from __future__ import annotations

import numpy as np
from mistake import Mistake
from paretohqd_budget import Budget
from paretohqd_selection import pool_of
from paretohqd_source import BATCH, HQD, MORLHF, OF_RIC, ROWS, ROWS_2, SOUPS, STEPS

from paretune.functional.indicators import hypervolume
from paretune.functional.ray import is_reachable, ray_direction, ray_distance
from paretune.functional.select import select_ray

Found = tuple[str, str, dict[str, float]]


def mistakes(budget: Budget) -> list[Mistake]:
    """H1 to H10."""
    return [
        Mistake("H1", "Data along a direction keep a fixed ratio of objective values.",
                *fixed_ratio()),
        Mistake("H2", "A weighted sum cannot tell apart data on one contour; a direction can.",
                *one_distance()),
        Mistake("H3", "Data nearest to the front and closest to the direction are selected.",
                *dominated_first()),
        Mistake("H4", "Directions faithfully reflect what the user wants, any number of "
                "objectives.", *out_of_reach(budget)),
        Mistake("H5", "Covering a non-convex front improves the measured front of policies.",
                *chord()),
        Mistake("H6", "Stage 2 mitigates overfitting on little data.", *passes()),
        Mistake("H7", "GPU time is 2.5 % of MORLHF's.", *eleven_or_five()),
        Mistake("H8", "GPU time is about 42 % of RiC's.", *hours_of_ric()),
        Mistake("H9", "55.87 GPU hours align 11 preferences with 200 steps of 8 each.",
                *hours_of_what()),
        Mistake("H10", "All baselines collapse in more than 30 % of replies. Its table: RiC "
                "about moderate.", "", "Both cannot be meant; RiC's number is not told."),
        Mistake("H11", "RiC still relies on linear scalarization.", "",
                "RiC conditions on rewards; weights enter only where a preference is turned into "
                "the rewards to ask for."),
    ]  # fmt: skip


def fixed_ratio() -> Found:
    """H1: what is fixed are shortfalls from the ideal."""
    down = ray_direction((0.7, 0.3))
    near, far = (1 - t * down for t in (0.5, 0.8))
    values = {"near": near[0] / near[1], "far": far[0] / far[1], "shortfalls": down[1] / down[0]}
    return (
        "weights (.7, .3): two points of the ray, unit rewards",
        f"rewards in the ratio {values['near']:.2f} and {values['far']:.2f}; shortfalls from the "
        f"ideal in the ratio {values['shortfalls']:.2f} at both",
        values,
    )


def one_distance() -> Found:
    """H2: what lies at one distance from the ray is one to it as well."""
    points = np.array([[0.9, 0.7], [0.7, 0.9], [0.45, 0.65]])
    distance, _ = ray_distance(1 - points, ray_direction((0.5, 0.5)))
    return (
        "even weights; rewards (.9, .7), (.7, .9) and (.45, .65)",
        f"distances {', '.join(f'{d:.3f}' for d in distance)}: two opposite trade-offs, and one "
        "that both dominate, are alike",
        {"spread": float(np.ptp(distance)), "distance": float(distance[0])},
    )


def dominated_first() -> Found:
    """H3: distance to the ray is not distance to the front."""
    rewards = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.7], [0.3, 0.3]])
    pool = pool_of(rewards)
    front, everything = (
        select_ray(pool, weights=(0.5, 0.5), k=1, pool_rows=rows) for rows in ("pareto", "all")
    )
    return (
        "rewards (1, 0), (0, 1), (.8, .7), (.3, .3), even weights, k = 1",
        f"one layer takes row {front[0] + 1}; two layers or all rows take row {everything[0] + 1}, "
        "which is worse in both: only the layers know the front",
        {"front": float(front[0]), "all": float(everything[0])},
    )


def out_of_reach(budget: Budget) -> Found:
    """H4: no objective can carry more than 1/(M - 1) of the shortfall."""
    rng = np.random.default_rng(0)
    share = {
        m: float(is_reachable(rng.dirichlet(np.ones(m), budget.draws)).mean()) for m in (2, 3, 4)
    }
    return (
        f"{budget.draws:,} directions of shortfall drawn evenly, two, three and four objectives",
        f"{', '.join(f'{100 * s:.1f} %' for s in share.values())} belong to some trade-off: from "
        "three objectives on, most compromises cannot be asked for (`direction: chebyshev` "
        "reaches all)",
        {str(m): s for m, s in share.items()},
    )


def chord() -> Found:
    """H5: eleven replies of a dent against eleven mixtures of its ends."""
    along = np.linspace(0, 1, 11)
    dent = np.stack([along**2, (1 - along) ** 2], axis=1)
    mixed = np.stack([along, 1 - along], axis=1)
    values = {"dent": hypervolume(dent), "mixed": hypervolume(mixed)}
    return (
        "front of replies with a dent, sqrt(r1) + sqrt(r2) = 1: 11 policies of one reply each, "
        "and 11 that toss coins between its ends",
        f"hypervolume of means {values['dent']:.3f} and {values['mixed']:.3f}; smallest reward of "
        f"a reply, best policy, {dent.min(axis=1).max():.2f} and 0: no front of mean rewards has a "
        "dent to cover",
        values,
    )


def passes() -> Found:
    """H6: half of the data, the same number of steps."""
    first, second = STEPS * BATCH / ROWS, STEPS * BATCH / ROWS_2
    return (
        f"{STEPS} steps of {BATCH} on {ROWS} rows, then on {ROWS_2}",
        f"{first:.0f} passes, then {second:.0f}: twice as many over half as much",
        {"first": first, "second": second},
    )


def eleven_or_five() -> Found:
    """H7: preferences are not counted alike."""
    whole = HQD.hours / MORLHF.hours
    each = whole * MORLHF.trainings / HQD.trainings
    return (
        f"{HQD.hours} hours for 11 preferences, {MORLHF.hours} for 5",
        f"{100 * whole:.2f} % as they are, {100 * each:.2f} % for a preference; soups of two "
        f"experts cost {SOUPS.hours / 2:.0f} hours an expert, MORLHF {MORLHF.hours / 5:.0f} a "
        "policy",
        {"whole": 100 * whole, "each": 100 * each},
    )


def hours_of_ric() -> Found:
    """H8: a number that is not in the table."""
    hours = HQD.hours / OF_RIC
    return (
        f"{HQD.hours} hours / {OF_RIC}",
        f"{hours:.0f} hours, not in the table; for one preference RiC's whole run costs "
        f"{hours / (HQD.hours / 11):.0f} times ParetoHqD's, and RiC serves all with it",
        {"hours": hours},
    )


def hours_of_what() -> Found:
    """H9: training alone cannot take so long."""
    sequences = 11 * 2 * STEPS * BATCH
    seconds = HQD.hours * 3600 / sequences
    return (
        f"11 x 2 stages x {STEPS} x {BATCH} sequences",
        f"{sequences:,} sequences, {seconds:.1f} s each if training were all: scoring, replies "
        "of stage 2 and evaluation must be in, and are not told apart",
        {"sequences": float(sequences), "seconds": seconds},
    )
