"""What methods answer on exact problems, and what they claim to converge to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretune.bench.claims import Claim
from paretune.bench.problem import Problem
from paretune.core.job import Shown
from paretune.core.method import Method
from paretune.core.record import PreferenceData
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork
from paretune.engines.tabular import TabularEngine
from paretune.functional.closed_form import kl_regularized_optimum, rewarded_clone
from paretune.functional.mixing import mix_logps
from paretune.functional.pairing import comparison_keys
from paretune.functional.rewarded_likelihood import calibrate, inside


def undefined(problem: Problem, claim: Claim, method: Method) -> str | None:
    """Why a method is not defined on a problem; ``None`` where it is."""
    if "scores" in method.needs and problem.rewards is None:
        return "needs rewards"
    if claim.method == "mopo" and not problem.floors:
        return "no floors"
    labels = problem.data(is_compared="pairs" in method.needs).labels
    keys = comparison_keys(len(labels), seed=0)
    for job in method.plan(len(problem.objectives), problem.tradeoffs):
        if isinstance(job.source, Shown):
            return "needs prompts with text; paretune.bench.taste measures it"
        rule: Any = job.rows
        if job.kind == "pairwise" and not len(rule(labels, keys).index):
            return "its pair rule keeps no comparison"
    return None


def answers(
    problem: Problem, method: Method, tradeoffs: Sequence[TradeOff], copies: int = 0, seed: int = 0
) -> list[Tensor]:
    """``(S, A)`` log-probabilities of the policy that a method answers with, for each trade-off.

    Args:
        problem: one that the method is defined on.
        method: any.
        tradeoffs: trained for and asked for.
        copies: comparisons are repeated until there are about so many rows.
        seed: of the draws that the method makes.
    """
    data = problem.data(is_compared="pairs" in method.needs)
    if copies and data.n_comparisons:
        data = _repeated(data, max(1, copies // data.n_comparisons))
    model: Table | TanhNetwork = Table(problem.ref_logps)
    tolerance = 1e-7
    if problem.hidden is not None:
        # Below, line searches of a network end in the last digits of its loss.
        model, tolerance = TanhNetwork(problem.ref_logps, problem.hidden), 2e-6
    engine = TabularEngine(model, data, problem.action_of, problem.rewards, seed, tolerance)
    trained = engine.train(method.plan(len(problem.objectives), tradeoffs))
    return [engine.steered(trained, method.steer(t, tradeoffs)) for t in tradeoffs]


def aims_of(
    problem: Problem, claim: Claim, tradeoffs: Sequence[TradeOff]
) -> Sequence[Tensor | None]:
    """``(S, A)`` log-probabilities that a claim says a method converges to, for each trade-off."""
    n_objectives = len(problem.objectives)
    has_rewards = problem.rewards is not None
    if claim.aim == "responses":
        return [torch.log(torch.full_like(problem.ref_logps, 1 / problem.shape[1]))] * len(
            tradeoffs
        )
    if claim.aim == "constrained":
        heads = torch.stack([problem.constrained(i).logps for i in range(n_objectives)])
        return [mix_logps(heads, t.weights) for t in tradeoffs]
    if claim.aim == "cloned" and problem.rewards is not None:
        return _clones(problem, tradeoffs)
    if claim.aim == "weighted" and has_rewards:
        return [problem.optimum(t) for t in tradeoffs]
    if claim.aim == "first" and has_rewards:
        return [problem.optimum(TradeOff.only(0, n_objectives))] * len(tradeoffs)
    if claim.aim == "summed" and has_rewards:
        ones = torch.ones(n_objectives, dtype=torch.float64)
        best = kl_regularized_optimum(problem.ref_logps, problem.values, ones, problem.beta)
        return [best] * len(tradeoffs)
    return [None] * len(tradeoffs)


def _clones(problem: Problem, tradeoffs: Sequence[TradeOff]) -> list[Tensor]:
    """Every cell is a response once, so a context's data are uniform."""
    cells = problem.values.flatten(0, 1).numpy()
    found = calibrate(cells)
    strengths = inside([t.weights for t in tradeoffs]) / (found.high - found.low)
    rewards = torch.from_numpy(found.weights).view_as(problem.values)
    uniform = torch.zeros_like(problem.ref_logps).log_softmax(-1)
    return [rewarded_clone(uniform, rewards, torch.from_numpy(row)) for row in strengths]


def _repeated(data: PreferenceData, copies: int) -> PreferenceData:
    counts = np.ones(data.n_comparisons) if data.multiplicity is None else data.multiplicity
    return dataclasses.replace(
        data,
        first=np.tile(data.first, copies),
        second=np.tile(data.second, copies),
        labels=np.tile(data.labels, (copies, 1)),
        multiplicity=np.tile(counts, copies),
    )
