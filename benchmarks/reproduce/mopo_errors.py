"""Mistakes of the MOPO paper, each with the smallest example that shows it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch
from budget import Budget
from mistake import Mistake
from mopo_motivating import MIDDLE, SETS, distances, exact_points
from mopo_tau import limit

from paretune.bench.problem import Problem
from paretune.bench.problems import motivating_problem, random_problem, structure
from paretune.core.constrained import ConstrainedGoal
from paretune.core.objective import Objectives
from paretune.engines.constrained_table import constrained_policy
from paretune.engines.goal_cells import goal_cells
from paretune.errors import InfeasibleError
from paretune.functional.closed_form import dpo_optimum, expected_rewards, kl_divergence
from paretune.functional.dominance import non_dominated
from paretune.functional.feasibility import front_gap
from paretune.functional.pairing import comparison_keys, order_by_agreement
from paretune.functional.robust import plug_in_optimum, robust_optimum
from paretune.functional.robust_bound import kl_ball_bound
from paretune.functional.thresholds import constrained_row, floor_ranges


def mistakes(budget: Budget) -> list[Mistake]:
    """M1 to M14, in the order of the reading notes."""
    return [
        Mistake(
            "M1", "App. A.6.2: MOPO normalizes rewards, puts them into prompts, and samples 25,000 "
            "normal numbers.", "", "Belongs to RiC: MOPO has no reward in a prompt.",
        ),
        Mistake(
            "M2", "Sec. 4.2: batch 4 and 5,000 steps. App. A.6, Table 2: batch 8 and 10,000 steps.",
            "", "Two settings for one experiment; ours are in the recipe, by name.",
        ),
        normalizer(),
        weights_without_adversary(),
        floors_of_another_quantity(),
        order_of_policies(budget),
        insertion(budget),
        Mistake(
            "M8", "Remark A.1.1: reward models are only used for evaluation.", "",
            "The Helpful Assistant data have one human label a comparison; labels for three "
            "objectives can only come from the reward models.",
        ),
        not_exact(),
        agreement(),
        direction(),
        Mistake(
            "M12", "App. A.2 and A.6: inference, beams, JSD beside reverse KL, compute.", "",
            "Pieces of the MOD paper; how MOPO answers for a trade-off is not said.",
        ),
        Mistake(
            "M13", "Sec. 4.1: an antichain and a pairwise incomparable set are two structures.", "",
            "In order theory they are one: no two elements are comparable.",
        ),
        feasibility(),
    ]  # fmt: skip


def normalizer() -> Mistake:
    """M3: the weights as printed do not average to 1."""
    problem = structure("d3b")
    goal = ConstrainedGoal(
        primary=0, thresholds=(None, 2 / 3), reward_floors=(None, None), tau=0.1, labels="table",
        lag=None,
    )  # fmt: skip
    cells = goal_cells(goal, problem.data(), problem.action_of, problem.shape)

    def solved(is_literal: bool) -> tuple[float, float]:
        asked = dataclasses.replace(goal, is_literal=is_literal)
        found = constrained_policy(asked, cells, problem.ref_logps, ["secondary"])
        reached = (found.logps.exp()[0] * cells.secondary[0, :, 0]).sum()
        return float(found.multipliers[0]), float(reached)

    (right, kept), (printed, missed) = solved(False), solved(True)
    return Mistake(
        "M3 (A1)",
        "Eq. 3: w = exp((p + lambda q) / tau - 1), without E[w | x] = 1.",
        "D3b, tau .1, floor 2/3: minimum of the dual",
        f"lambda {printed:.3f} as printed, and the constraint ends at {missed:.3f}; normalized "
        f"{right:.6f} and {kept:.3f}",
        {"printed": printed, "right": right, "missed": missed, "kept": kept, "floor": 2 / 3},
    )


def weights_without_adversary() -> Mistake:
    """M4: the weights of the robust problem are not those of the plain one."""
    ref = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    p = torch.tensor([[0.8, 0.5, 0.2]], dtype=torch.float64)
    q = torch.tensor([[[0.3], [0.6], [0.5]]], dtype=torch.float64)
    asked = (ref, p, q, torch.tensor([0.38], dtype=torch.float64), 0.3, 0.05)
    best, printed = robust_optimum(*asked), plug_in_optimum(*asked, steps=2000)
    values = {
        "lost": float(best.value - printed.value),
        "apart": float((best.logps.exp() - printed.logps.exp()).abs().max()),
        "gap": float(best.gap),
        "slack": float(printed.bounds) - 0.38,
    }
    return Mistake(
        "M4",
        "Eq. 6 is solved by the weights of Eq. 3, in which the adversary is missing.",
        "three actions, tau .3, radius .05, floor .38",
        f"keeps the bound, loses {values['lost']:.4f} of the value, probabilities off by "
        f"{values['apart']:.3f}; proven gap of the exact optimum {abs(values['gap']):.0e}",
        values,
    )


def floors_of_another_quantity() -> Mistake:
    """M5: a floor from the expectation, kept by the lower bound."""
    problem = structure("d3b")
    p, radius = problem.expected_preferences, 0.15
    base = problem.ref_logps.exp()[0]
    expected = float(base @ p[0, :, 1])
    bound = float(kl_ball_bound(p[0, :, 1], base, radius)[0])

    def is_feasible(floor: float) -> bool:
        floors = torch.tensor([floor], dtype=torch.float64)
        try:
            robust_optimum(problem.ref_logps, p[..., 0], p[..., 1:], floors, 0.08, radius)
        except InfeasibleError:
            return False
        return True

    values = {
        "expected": 0.9995 * expected,
        "bound": 0.9995 * bound,
        "printed": float(is_feasible(0.9995 * expected)),
        "ours": float(is_feasible(0.9995 * bound)),
    }
    says = {0.0: "no policy keeps it", 1.0: "some policy keeps it"}
    return Mistake(
        "M5 (A2)",
        "Sec. 3.1: b is a share of G, the expectation; Eq. 13 compares it with the lower bound.",
        "D3b at the reference, radius .15, relaxation .9995",
        f"b = {values['expected']:.3f} from the expectation: {says[values['printed']]}; "
        f"{values['bound']:.3f} from the bound: {says[values['ours']]}",
        values,
    )


def order_of_policies(budget: Budget) -> Mistake:
    """M6: expected reward and expected preference can order policies differently."""
    problem = Problem(
        Objectives.of("r"), torch.tensor([[[0.0], [1.0], [10.0]]]).double(),
        torch.full((1, 3), 1 / 3).double().log(),
    )  # fmt: skip
    policies = torch.tensor([[[0, 1, 0]], [[0.89, 0, 0.11]]], dtype=torch.float64).log()
    # The opponent is uniform over all three, as in the lemma: an action meets itself too.
    chance = problem.preferences.mean(-1).movedim(0, -1)
    (r1, r2), (p1, p2) = (
        [float(expected_rewards(policy, table)[0]) for policy in policies]
        for table in (problem.values, chance)
    )
    generator = np.random.default_rng(0)
    sure, mixed = (_reversed(generator, budget.draws, is_mixed) for is_mixed in (False, True))
    return Mistake(
        "M6",
        "Lemma A.3.1: policies are ordered alike by expected reward and expected preference.",
        "rewards (0, 1, 10), uniform opponent; action 2 against 89 % action 1 and 11 % action 3",
        f"rewards {r1:.2f} < {r2:.2f}, preferences {p1:.4f} > {p2:.4f}; {mixed} of {budget.draws} "
        f"random pairs of policies reversed, {sure} of deterministic ones",
        {"r1": r1, "r2": r2, "p1": p1, "p2": p2, "mixed": mixed, "sure": sure},
    )


def _reversed(generator: np.random.Generator, n: int, is_mixed: bool) -> int:
    """How many random pairs of policies on four actions change their order."""
    rewards = generator.normal(scale=3, size=(n, 4))
    chance = (1 / (1 + np.exp(rewards[:, None, :] - rewards[:, :, None]))).mean(-1)
    if is_mixed:
        policies = generator.dirichlet(np.ones(4), size=(2, n))
    else:
        policies = np.eye(4)[generator.integers(4, size=(2, n))]
    by_reward, by_chance = (
        np.sign(np.round(((policies[0] - policies[1]) * table).sum(-1), 12))
        for table in (rewards, chance)
    )
    return int((by_reward * by_chance < 0).sum())


def insertion(budget: Budget) -> Mistake:
    """M7: floors strictly inside the printed range may admit a dominated optimum."""
    points = np.array([[1.0, 0.6], [0.2, 0.9], [1.0, 0.3]])
    front = points[:2]
    low, high = floor_ranges(front, 0)
    floors = np.array([0.0, 0.2])
    assert low[1] < floors[1] <= high[1]
    best = _worst_row(points, floors)
    ours = constrained_row(points, floors, primary=0)
    generator = np.random.default_rng(0)
    inside, at_value, tie_break = 0, 0, 0
    for _ in range(budget.draws):
        some = generator.integers(0, 6, size=(8, 2)) / 5
        is_best = non_dominated(some)
        front = np.unique(some[is_best], axis=0)
        row = int(generator.integers(len(front)))
        low, high = floor_ranges(front, row)
        below = low if np.isfinite(low[1]) else high - 1
        middle = (below + high) / 2
        inside += not is_best[_worst_row(some, middle)]
        at_value += not is_best[_worst_row(some, high)]
        tie_break += not is_best[constrained_row(some, middle, primary=0)]
    return Mistake(
        "M7",
        "Prop. A.3.3: floors in the insertion range of a Pareto point give a Pareto optimum.",
        "points (1, .6), (.2, .9), (1, .3), floor .2 for the second",
        f"({points[best, 0]:g}, {points[best, 1]:g}) solves the problem and is dominated, with the "
        f"tie-break ({points[ours, 0]:g}, {points[ours, 1]:g}) does; {budget.draws} random sets "
        f"with ties: {inside} dominated optima inside the range, {at_value} at its upper end, "
        f"{tie_break} with the tie-break",
        {"printed": float(points[best, 1]), "ours": float(points[ours, 1]), "inside": inside,
         "at_value": at_value, "tie_break": tie_break},
    )  # fmt: skip


def _worst_row(points: np.ndarray, floors: np.ndarray) -> int:
    """An optimum of the constrained problem: among ties the one with the worst second value."""
    rows = np.flatnonzero(points[:, 1] >= floors[1])
    best = points[rows, 0].max()
    tied = rows[points[rows, 0] == best]
    return int(tied[points[tied, 1].argmin()])


def not_exact() -> Mistake:
    """M9: a penalty keeps every policy off the front."""
    far = [float(distances(w, exact_points(w, 0.08))[MIDDLE]) for w in SETS]
    left = 1 - float(limit(0.1, 1).exp()[0, 0])
    return Mistake(
        "M9",
        "Sec. 4 (i): MOPO exactly recovers the optimum; Sec. 5: the true Pareto front.",
        "D1 at tau .1; motivating sets at tau .08 and a middle floor",
        f"{left:.4f} of the probability is not on the best action; {far[0]:.3f} (A) and "
        f"{far[1]:.3f} (B) of the range below the front",
        {"left": left, "far_a": far[0], "far_b": far[1]},
    )


def agreement() -> Mistake:
    """M10: agreeing Bradley-Terry labels are Bradley-Terry labels of the sum."""
    problem = random_problem(1, 4, seed=0)
    data = problem.data()
    keys = comparison_keys(data.n_comparisons, seed=0)
    order = order_by_agreement(data.labels, keys)
    assert data.multiplicity is not None
    total = problem.values.sum(-1).flatten().numpy()
    worst = 0.0
    for a, b in itertools.combinations(range(4), 2):
        mine = (data.first[order.index] == a) & (data.second[order.index] == b)
        counts, flipped = data.multiplicity[order.index][mine], order.flipped[mine]
        share = counts[~flipped].sum() / counts.sum()
        worst = max(worst, abs(float(share) - 1 / (1 + np.exp(total[b] - total[a]))))
    front = motivating_problem("a")
    policy = dpo_optimum(front.ref_logps, front.values.sum(-1), 0.01, front.slope)
    below = front_gap(front.values.numpy(), expected_rewards(policy, front.values).numpy())
    return Mistake(
        "M10",
        "App. A.1: records on which both objectives agree discard the trade-offs and are biased.",
        "four actions, every pair and labelling in proportion",
        f"agreeing labels are Bradley-Terry labels of r1 + r2, to {worst:.0e}; DPO on them (set A, "
        f"beta .01) can gain {below:.4f} on both objectives: one point, but on the front",
        {"worst": float(worst), "below": below},
    )


def direction() -> Mistake:
    """M11: larger tau is nearer to the reference."""
    reference = structure("d1").ref_logps
    small, large = (float(kl_divergence(limit(tau, 1), reference)) for tau in (0.1, 5.0))
    return Mistake(
        "M11",
        "Sec. 4.1: increasing tau goes from the reference to the optimum.",
        "D1, no lag: nats from the reference",
        f"{small:.3f} at tau .1, {large:.3f} at tau 5: the direction is reversed",
        {"small": small, "large": large},
    )


def feasibility() -> Mistake:
    """M14: nothing in the printed rule makes floors feasible."""
    problem = structure("d4")
    verdict = problem.verdict(0, (None, 2 / 3))
    told = verdict.explain(["secondary"])
    return Mistake(
        "M14",
        "Proof of Prop. 3.1: primal feasibility follows from Prop. A.3.3.",
        "D4 with a floor of 2/3",
        f"{told}; the dual has no minimum, so feasibility must be checked",
        {"margin": verdict.margin, "best": verdict.best[0]},
    )
