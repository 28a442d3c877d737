"""What the MOPO paper leaves open, each choice with the smallest example that decides it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from budget import Budget
from mistake import Mistake
from mopo_lag import instance
from mopo_robust import FEASIBLE_RADII, N_FEASIBLE, reach
from mopo_structures import exact, unknown_is_even
from scipy.stats import binom

from paretune.bench.problem import Problem
from paretune.bench.problems import structure
from paretune.core.constrained import ConstrainedGoal
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.engines.algorithm_one import algorithm_one
from paretune.engines.constrained_table import constrained_policy
from paretune.engines.goal_cells import goal_cells
from paretune.functional.closed_form import expected_rewards
from paretune.functional.constrained import constrained_optimum
from paretune.functional.robust_bound import bound_at, kl_ball_bound

GOAL = ConstrainedGoal(
    primary=0, thresholds=(None, 0.5), reward_floors=(None, None), tau=0.08, labels="table",
    lag=None,
)  # fmt: skip
LABELS = (1, 8, 32, 128)
BATCHES = (4, 8, 16, 64)
HARD_RADIUS = 0.15


def mistakes(budget: Budget) -> list[Mistake]:
    """A1 to A13, those with consequences."""
    return [
        normalizer(budget),
        bounded_quantity(budget),
        swapped_opponent(),
        label_in_exponent(budget),
        unobserved(),
        small_batches(),
    ]


def normalizer(budget: Budget) -> Mistake:
    """A1: with or without E[w | x] = 1, on many tables."""
    taus = (0.08, 1.0)
    found = {tau: [_literal(seed, tau) for seed in range(budget.instances)] for tau in taus}
    zero = [sum(price == 0 for price, _ in found[tau]) for tau in taus]
    missed = [float(np.mean([short for _, short in found[tau]])) for tau in taus]
    return Mistake(
        "A1",
        "Whether weights average to 1 in each context.",
        f"{budget.instances} random tables whose floor binds, printed dual at tau .08 and 1",
        f"lambda stays 0 in {zero[0]} and {zero[1]} of {budget.instances}, floors are missed by "
        f"{missed[0]:.3f} and {missed[1]:.3f} on average: normalize",
        {"n": budget.instances, "zero": zero[0], "zero_1": zero[1], "missed": missed[0],
         "missed_1": missed[1]},
    )  # fmt: skip


def _literal(seed: int, tau: float) -> tuple[float, float]:
    """Multiplier of the printed dual, and by how much its policy misses a floor that binds."""
    problem = instance(seed)
    p = problem.expected_preferences
    goal = dataclasses.replace(
        GOAL, thresholds=(None, 0.0), tau=tau, labels="pool", slope=problem.slope
    )
    cells = goal_cells(goal, problem.data(is_compared=False), problem.action_of, problem.shape)
    free = constrained_policy(goal, cells, problem.ref_logps, ["second"])
    floor = float(free.values[0] + p[..., 1].amax(1).mean()) / 2
    goal = dataclasses.replace(goal, thresholds=(None, floor), is_literal=True)
    cells = goal_cells(goal, problem.data(is_compared=False), problem.action_of, problem.shape)
    found = constrained_policy(goal, cells, problem.ref_logps, ["second"])
    reached = float(expected_rewards(found.logps, p)[1])
    return float(found.multipliers[0]), max(0.0, floor - reached)


def bounded_quantity(budget: Budget) -> Mistake:
    """A2: what is bounded, and with what its floor is compared."""
    n = min(N_FEASIBLE, budget.instances)
    radius = FEASIBLE_RADII[-1]
    printed, ours = (
        sum(reach(seed, radius, is_bound).is_feasible for seed in range(n))
        for is_bound in (False, True)
    )
    kept = sum(reach(seed, radius, True).missed <= 1e-6 for seed in range(n))
    return Mistake(
        "A2",
        "Which value the floor is a share of, and whether weights carry the adversary's.",
        f"{n} random tables, radius .15, relaxation .9995, tau .08",
        f"share of the expectation: {printed} feasible; of the bound: {ours}; printed weights "
        f"keep {kept} even then: share of the bound, adversary's weights in the policy's",
        {"n": n, "printed": printed, "ours": ours, "kept": kept},
    )


def swapped_opponent() -> Mistake:
    """A4: counting every record from both sides needs one policy on both sides."""
    ref, opponent = np.array([0.9, 0.1]), np.array([0.2, 0.8])
    prefers = np.array([[0.5, 0.8], [0.2, 0.5]])
    rows, counts = [], []
    for first, second, won in np.ndindex(2, 2, 2):
        chance = prefers[first, second]
        rows.append((first, second, 2 * won - 1))
        counts.append(ref[first] * opponent[second] * (chance if won else 1 - chance))
    columns = np.array(rows)
    data = PreferenceData(
        prompts=("context",), texts=("first", "second"), prompt_of=np.zeros(2, dtype=np.int64),
        rewards=RewardMatrix(Objectives.of("p", "q"), np.full((2, 2), np.nan)),
        first=columns[:, 0], second=columns[:, 1],
        labels=np.repeat(columns[:, 2:].astype(float), 2, axis=1), multiplicity=np.array(counts),
    )  # fmt: skip
    truth = float(ref @ prefers @ opponent)
    goal = dataclasses.replace(
        GOAL, thresholds=(None, None), labels="pair_hard", tau=0.5, relaxation=1.0,
        updates="alternating",
    )  # fmt: skip
    logps, other = (torch.as_tensor(np.log(policy))[None] for policy in (ref, opponent))

    def reached(is_literal: bool = False, **more: Any) -> float:
        asked = dataclasses.replace(goal, is_literal=is_literal)
        found = algorithm_one(asked, data, np.arange(2), logps, [0], steps=1, **more)
        return float(found.state.floors)

    printed, naive, weighted = reached(True), reached(), reached(opponent_logps=other)
    return Mistake(
        "A4",
        "Sec. 3.1: add every record with its sides swapped, for any behavior policy.",
        "two actions, reference (.9, .1), opponent (.2, .8), first preferred with .8",
        f"what the reference reaches: {truth:.4f}; swapped as printed {printed:.4f}, as it is on "
        f"any records; with both sides weighed as the reference draws them {naive:.4f}; by the "
        f"ratio of the two policies {weighted:.4f}: weigh by the ratio",
        {"truth": truth, "printed": printed, "naive": naive, "weighted": weighted},
    )


def label_in_exponent(budget: Budget) -> Mistake:
    """A5: a single label is not its mean, least of all inside an exponential."""
    problem = instance(0)
    p = problem.expected_preferences
    start = float(expected_rewards(problem.ref_logps, p)[1])
    floor = (start + float(p[..., 1].amax(1).mean())) / 2
    goal = dataclasses.replace(GOAL, thresholds=(None, floor), labels="pair_hard")
    cells = goal_cells(goal, problem.data(), problem.action_of, problem.shape)
    found = constrained_policy(goal, cells, problem.ref_logps, ["second"])
    seen, true = float(found.values[0]), float(expected_rewards(found.logps, p)[1])
    means = [_averaged(problem, floor, n, budget.draws // 20) for n in LABELS]
    told = ", ".join(f"{mean:.3f} (n = {n})" for n, mean in zip(LABELS, means, strict=True))
    return Mistake(
        "A5",
        "Eq. 11: the score in the exponent is the label of one record.",
        f"2 contexts, 8 actions, all labels in proportion, floor {floor:.3f}, tau .08",
        f"the estimate reads {seen:.3f}, the policy reaches {true:.3f}; with the mean of n labels "
        f"a response {told}: pool labels, measure the floor on others",
        {"floor": floor, "seen": seen, "true": true,
         **{f"n_{n}": mean for n, mean in zip(LABELS, means, strict=True)}},
    )  # fmt: skip


def _averaged(problem: Problem, floor: float, n: int, draws: int) -> float:
    """Mean true constraint value where the scores are means of n labels a response."""
    p = problem.expected_preferences
    generator = np.random.default_rng(n)
    shares = generator.binomial(n, p.numpy().clip(0, 1), size=(draws, *p.shape)) / n
    estimate = torch.as_tensor(shares)
    is_feasible = estimate[..., 1].amax(-1).mean(-1) >= floor
    estimate = estimate[is_feasible]
    floors = torch.full((len(estimate), 1), floor, dtype=torch.float64)
    found = constrained_optimum(
        problem.ref_logps, estimate[..., 0], estimate[..., 1:], floors, GOAL.tau
    )
    return float(torch.einsum("rsa,sa->r", found.logps.exp(), p[..., 1]).mean()) / len(p)


def unobserved() -> Mistake:
    """A6: an action without records, three ways."""
    problem, tau = structure("d5"), 5.0
    goal = dataclasses.replace(GOAL, thresholds=(None, 0.0), labels="pair_hard", tau=tau)
    cells = goal_cells(goal, problem.data(), problem.action_of, problem.shape)
    imitated = constrained_policy(goal, cells, problem.ref_logps, ["secondary"])
    values = {
        "closed": float(exact("d5", 0.0, tau)[0][2]),
        "half": unknown_is_even(tau),
        "imitated": float(imitated.logps.exp()[0, 2]),
    }
    return Mistake(
        "A6",
        "Eq. 7: the policy imitates records; Sec. 4.1: unobserved actions fade as tau falls.",
        "D5 at tau 5: probability of the unobserved action",
        f"imitation {values['imitated']:.3f} at any tau; closed form {values['closed']:.3f} if it "
        f"counts 0, {values['half']:.3f} if it counts 1/2: closed form, 0",
        values,
    )


def small_batches() -> Mistake:
    """A13: the bound of a mini-batch is optimistic."""
    values = torch.tensor([0.0, 1.0], dtype=torch.float64)
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    bound, chi = kl_ball_bound(values, even, HARD_RADIUS)
    bias = {n: _mean_bound(n, chi) - float(bound) for n in BATCHES}
    told = ", ".join(f"{b:+.3f} (M = {n})" for n, b in bias.items())
    return Mistake(
        "A13",
        "Eq. 8: the bound is estimated on mini-batches of 4 or 8.",
        "one hard label in two is 1, radius .15, best temperature; expectation over batches",
        f"bound {float(bound):.6f}; bias of a batch {told}: 64 records or a moving average",
        {"bound": float(bound), "chi": float(chi), **{f"m_{n}": b for n, b in bias.items()}},
    )


def _mean_bound(n: int, chi: torch.Tensor) -> float:
    """Expected bound of n independent labels, by how many of them are 1."""
    ones = np.arange(n + 1)
    values = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(n + 1, 2)
    base = torch.as_tensor(np.stack([n - ones, ones], axis=1) / n)
    bounds = bound_at(values, base, chi.expand(n + 1), HARD_RADIUS)
    return float((bounds.numpy() * binom.pmf(ones, n, 0.5)).sum())
