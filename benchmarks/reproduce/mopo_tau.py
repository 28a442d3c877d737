"""What tau does: with a fixed reference, and with one that follows the policy."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from budget import Budget
from mopo_motivating import SETS, Which, distances
from pagetext import interval, numbers, table
from section import Section
from torch import Tensor

from paretune.bench.problem import Problem
from paretune.bench.problems import motivating_problem, structure
from paretune.core.constrained import ConstrainedGoal
from paretune.engines.algorithm_one import algorithm_one
from paretune.engines.constrained_table import constrained_policy
from paretune.engines.goal_cells import goal_cells
from paretune.functional.closed_form import expected_rewards, kl_divergence

Floats = npt.NDArray[np.float64]

TAUS = (0.05, 0.1, 0.5, 1.0, 5.0)
LAG = 500
SEGMENTS = (1, 3, 5, 10, 20)
PAPER_TAU = 0.08
PAPER_STEPS = 20_000
GOAL = ConstrainedGoal(
    primary=0, thresholds=(None, 0.0), reward_floors=(None, None), labels="table", lag=None
)


def sections(budget: Budget) -> list[Section]:
    """Regularization on a structure, and on the motivating example."""
    return [_regularization(budget)]


@cache
def limit(tau: float, n_segments: int) -> Tensor:
    """``(1, 3)`` log-probabilities on the total order, without a binding floor.

    The reference moves at the end of each segment to the policy of the segment before.
    """
    problem = structure("d1")
    goal = dataclasses.replace(GOAL, tau=tau)
    return _exact(problem, goal, n_segments)


@cache
def lagged_distance(which: Which, n_segments: int) -> float:
    """Distance to the front at the paper's tau and a floor in the middle, which is fixed."""
    problem = motivating_problem(which)
    p = problem.expected_preferences[..., 1]
    best = problem.expected_preferences[..., 0].argmax(1, keepdim=True)
    floor = float((p.gather(1, best).mean() + p.amax(1).mean()) / 2)
    goal = dataclasses.replace(
        GOAL, thresholds=(None, floor), tau=PAPER_TAU, labels="pool", slope=problem.slope
    )
    values = expected_rewards(_exact(problem, goal, n_segments), problem.values)
    return float(distances(which, values.numpy()[None])[0])


@cache
def learned(tau: float, lag: int | None, budget: Budget) -> Floats:
    """``(seeds, 3)`` Algorithm 1 on the total order, with as many segments as the paper's."""
    problem = structure("d1")
    short = None if lag is None else max(1, lag * budget.steps // PAPER_STEPS)
    goal = dataclasses.replace(GOAL, tau=tau, lag=short, updates="alternating")
    seeds: Any = range(budget.seeds)
    found = algorithm_one(
        goal, problem.data(), problem.action_of, problem.ref_logps, seeds, steps=budget.steps
    )
    return found.logps.exp()[:, 0].numpy()


def _exact(problem: Problem, goal: ConstrainedGoal, n_segments: int) -> Tensor:
    cells = goal_cells(goal, problem.data(), problem.action_of, problem.shape)
    asked = dataclasses.replace(goal, lag=1)
    return constrained_policy(asked, cells, problem.ref_logps, ["second"], n_segments).logps


def _regularization(budget: Budget) -> Section:
    n_segments = PAPER_STEPS // LAG
    reference = structure("d1").ref_logps
    rows, nats = [], {1: [], n_segments: []}
    for tau in TAUS:
        cells = [f"{tau:g}"]
        for n in (1, n_segments):
            policy = limit(tau, n)
            nats[n].append(float(kl_divergence(policy, reference)))
            cells += [", ".join(numbers(policy.exp()[0].tolist())), f"{nats[n][-1]:.3f}"]
        rows.append(cells)
    still, moved = (learned(TAUS[-1], lag, budget) for lag in (None, LAG))
    front = [
        [w.upper(), *(f"{lagged_distance(w, n):.3f}" for n in SEGMENTS)] for w in SETS
    ]  # fmt: skip
    falls = all(a >= b for a, b in itertools.pairwise(nats[1]))
    stays = nats[n_segments][-1] > 0.5 * nats[n_segments][0]
    verdict = "does not hold"
    if falls:
        verdict = "holds only if: read backwards (a small tau is the optimum)"
        verdict += ", and the reference never moves" if stays else ""
    ours = [
        [name, *(interval(found[:, action]) for action in range(3))]
        for name, found in (("no lag", still), (f"lag of {n_segments} segments", moved))
    ]
    body = (
        f"Total order, floor 0, exact: policy and nats from the uniform reference. With a lag of "
        f"{LAG} steps the reference moves {n_segments - 1} times in {PAPER_STEPS:,} steps, m "
        f"segments tilt it m / 2 times, and tau only sets the pace (M11).\n\n"
        + table(["tau", "policy, no lag", "nats", f"policy, lag {LAG}", "nats"], rows, n_words=0)
        + f"\n\nAlgorithm 1 at tau = {TAUS[-1]:g}, {budget.steps:,} steps:\n\n"
        + table(["setting", "action 1", "action 2", "action 3"], ours)
        + f"\n\nMotivating example at tau = {PAPER_TAU:g} and a fixed middle floor: distance "
        "to the front after some segments. A lag reaches what a small tau reaches.\n\n"
        + table(["set", *map(str, SEGMENTS)], front)
    )
    return Section(
        "Increasing tau interpolates between the reference and the optimum",
        "Sec. 4.1",
        f"nats from the reference at tau {TAUS[0]:g} to {TAUS[-1]:g}: {nats[1][0]:.2f} to "
        f"{nats[1][-1]:.2f} without lag, {nats[n_segments][0]:.2f} to {nats[n_segments][-1]:.2f} "
        f"with a lag of {LAG} steps",
        verdict,
        body,
    )
