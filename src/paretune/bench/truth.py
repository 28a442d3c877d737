"""The truth bench: every method on every exact problem, against the exact answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from paretune.bench.answers import aims_of, answers, undefined
from paretune.bench.claims import EXACT, Claim
from paretune.bench.fronts import unit_values
from paretune.bench.problem import Problem
from paretune.core.method import Method
from paretune.core.tradeoff import TradeOff
from paretune.core.truth import MethodTruth, Policy, ProblemTruth, TruthPoint
from paretune.engines.table_policy import total_variation
from paretune.functional.closed_form import expected_rewards, kl_divergence
from paretune.functional.indicators import hypervolume
from paretune.functional.scalarize import chebyshev
from paretune.methods import build

Progress = Callable[[str, int, int], None]
"""What is done now, how many measurements are done, of how many."""


def measure(
    problems: Sequence[Problem],
    claims: Sequence[Claim],
    progress: Progress = lambda what, done, total: None,
    seed: int = 0,
) -> list[ProblemTruth]:
    """Every claimed method on every problem that it is defined on.

    Args:
        problems: with every answer known.
        claims: methods and what they should reach.
        progress: called before each method.
        seed: of the draws that a method makes.

    Raises:
        RunError: if a job does not converge.
    """
    total = len(problems) * len(claims)
    found = []
    for i, problem in enumerate(problems):

        def within(what: str, done: int, done_before: int = i * len(claims)) -> None:
            progress(what, done_before + done, total)

        found.append(measure_problem(problem, claims, within, seed))
    return found


def measure_problem(
    problem: Problem,
    claims: Sequence[Claim],
    progress: Callable[[str, int], None] = lambda what, done: None,
    seed: int = 0,
) -> ProblemTruth:
    """Every claimed method that is defined on a problem, and what is known of the problem.

    Args:
        problem: with every answer known.
        claims: methods and what they should reach.
        progress: called before each method.
        seed: of the draws that a method makes.

    Raises:
        RunError: if a job does not converge.
    """
    optimum = [problem.optimum(t) for t in problem.tradeoffs]
    methods = {c.name: build(c.method, c.options(problem)) for c in claims}
    skipped = {c.name: undefined(problem, c, methods[c.name]) for c in claims}
    found = []
    for i, claim in enumerate(claims):
        if skipped[claim.name] is None:
            progress(f"{problem.name}/{claim.name}", i)
            found.append(measure_method(problem, claim, methods[claim.name], seed))
    return ProblemTruth(
        name=problem.name,
        about=problem.about,
        objectives=problem.objectives.names,
        measured_in="preference" if problem.rewards is None else "reward",
        reference=_policy(problem.ref_logps),
        reference_values=_values(problem, problem.ref_logps),
        cells=_cells(problem.values),
        preferences=_cells(problem.expected_preferences),
        floors=problem.floors,
        known=problem.known_front,
        optimum=tuple(map(_policy, optimum)),
        optimum_values=tuple(_values(problem, p) for p in optimum),
        methods=tuple(found),
        skipped={name: why for name, why in skipped.items() if why is not None},
    )


def measure_method(problem: Problem, claim: Claim, method: Method, seed: int = 0) -> MethodTruth:
    """One method on one problem, at every trade-off, checked against its claim.

    Args:
        problem: one that the method is defined on.
        claim: what it should reach.
        method: built with the options of the claim.
        seed: of the draws that the method makes.
    """
    started = time.perf_counter()
    tradeoffs = problem.tradeoffs
    policies = answers(problem, method, tradeoffs, claim.copies, seed)
    aims = aims_of(problem, claim, tradeoffs)
    points = tuple(
        _point(problem, t, p, aim) for t, p, aim in zip(tradeoffs, policies, aims, strict=True)
    )
    is_claimed, broken = checked(problem, claim, points)
    seconds = time.perf_counter() - started
    shares = _shares(problem, points)
    return MethodTruth(claim.name, claim.says, points, *shares, is_claimed, broken, seconds)


def checked(
    problem: Problem, claim: Claim, points: Sequence[TruthPoint]
) -> tuple[bool, tuple[str, ...]]:
    """Whether anything is claimed on a problem, and which claims the points do not keep."""
    checks: list[list[str]] = []
    apart = [p.to_aim for p in points if p.to_aim is not None]
    if apart:
        within = (0.0, claim.tolerance)
        if problem.hidden is not None and claim.network_gap is not None:
            within = claim.network_gap
        checks.append(_outside("distance to its aim", max(apart), *within))
    if claim.corners is not None and problem.rewards is not None:
        corners = max(p.to_optimum for p in points if max(p.tradeoff) == 1)
        checks.append(_outside("distance to the corners' optima", corners, 0, claim.corners))
    if problem.name in claim.gaps:
        gap, documented = max(p.to_optimum for p in points), claim.gaps[problem.name]
        within = (documented - claim.slack, documented + claim.slack)
        checks.append(_outside("documented gap to the optimum", gap, *within))
    if claim.most_nats is not None:
        nats = max(p.nats for p in points)
        checks.append(_outside("nats from the reference", nats, 0, claim.most_nats + EXACT))
    if claim.is_one_point:
        is_one = all(p.policy == points[0].policy for p in points)
        checks.append([] if is_one else ["found several policies, expected one for all"])
    return bool(checks), tuple(sentence for check in checks for sentence in check)


def _outside(what: str, found: float, least: float, most: float) -> list[str]:
    if least <= found <= most:
        return []
    return [f"{what}: found {found:.2g}, expected {least:g} to {most:g}"]


def _point(problem: Problem, tradeoff: TradeOff, logps: Tensor, aim: Tensor | None) -> TruthPoint:
    optimum = problem.optimum(tradeoff)
    cells = problem.values.numpy()
    values, best = (np.array(_values(problem, p)) for p in (logps, optimum))
    utilities = chebyshev(unit_values(cells, cells), tradeoff.weights)
    apart = np.abs(unit_values(values, cells) - unit_values(best, cells))
    return TruthPoint(
        tradeoff=tradeoff.weights,
        policy=_policy(logps),
        values=tuple(values.tolist()),
        to_optimum=total_variation(logps, optimum),
        value_gap=float(apart.max()),
        aim=None if aim is None else _policy(aim),
        aim_values=None if aim is None else _values(problem, aim),
        to_aim=None if aim is None else total_variation(logps, aim),
        nats=float(kl_divergence(logps, problem.ref_logps).max()),
        utility=float((logps.exp().numpy() * utilities).sum(axis=1).mean()),
        missed=_missed(problem, tradeoff, logps),
    )


def _missed(problem: Problem, tradeoff: TradeOff, logps: Tensor) -> float | None:
    if not problem.floors or max(tradeoff.weights) < 1:
        return None
    primary = tradeoff.weights.index(1)
    reached = expected_rewards(logps, problem.expected_preferences).tolist()
    short = [b - v for i, (b, v) in enumerate(zip(problem.floors, reached, strict=True))
             if i != primary]  # fmt: skip
    return max(0.0, *short)


def _shares(problem: Problem, points: Sequence[TruthPoint]) -> tuple[float | None, float | None]:
    """Hypervolume and utility as shares of the most that is possible."""
    known = problem.known_front
    volume: float | None = None
    if known.hypervolume > 0:
        values = np.array([p.values for p in points])
        volume = float(hypervolume(values, *problem.front_box) / known.hypervolume)
    if not known.utility_chebyshev:
        return volume, None
    return volume, float(np.mean([p.utility for p in points])) / known.utility_chebyshev


def _policy(logps: Tensor) -> Policy:
    return tuple(map(tuple, logps.exp().tolist()))


def _cells(values: Tensor) -> tuple[Policy, ...]:
    return tuple(tuple(map(tuple, context)) for context in values.tolist())


def _values(problem: Problem, logps: Tensor) -> tuple[float, ...]:
    return tuple(expected_rewards(logps, problem.values).tolist())
