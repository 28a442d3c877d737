"""Replies in, results with intervals out: the numbers of a run.

Two yardsticks, always both. *Expected rewards*: what a policy earns on average, from which
hypervolume, distance and controllability come; answering now one way, now the other counts as a
compromise there. *Per-reply utility*: what one single reply offers; there it does not.

Every interval resamples prompts (not training seeds), with the same draws for every method and
point of the run, so that differences between methods are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.core.results import (
    ConstraintResult,
    Difference,
    Interval,
    KnownFront,
    MethodResult,
    PointResult,
    RunResult,
)
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError, ShapeError
from paretune.evaluation.box import Box
from paretune.evaluation.constraints import measure_constraints
from paretune.evaluation.front_shape import controllability, front_targets
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.evaluation.resample import interval, means_over_replies
from paretune.evaluation.samples import pick_samples
from paretune.functional.collapse import collapse_shares
from paretune.functional.dominance import non_dominated
from paretune.functional.indicators import hypervolume, igd_plus, largest_angle_gap
from paretune.functional.scalarize import chebyshev
from paretune.functional.statistics import resample_prompts

Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class Yardstick:
    """What every method of a run is measured with.

    Args:
        box: the frozen unit box.
        draws: ``(B, S)`` how often each prompt occurs in each resample; all intervals share it.
        hull: ``(L, M)`` unit rewards of the known front of expected rewards, if there is one.
        reference: replies of the reference policy, which constraints are measured against.
        names: of the objectives.
    """

    box: Box
    draws: npt.NDArray[np.int64]
    hull: Floats | None = None
    reference: ReplyTable | None = None
    names: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class MeasuredPoint:
    """A point and its resamples.

    Args:
        result: the estimates with intervals.
        means: ``(B, M)`` mean unit rewards on every resample, not clipped.
        utilities: ``(B, 2)`` smallest reward and Chebyshev utility on every resample.
    """

    result: PointResult
    means: Floats
    utilities: Floats


@final
@dataclass(frozen=True)
class MeasuredMethod:
    """A method and its resamples.

    Args:
        result: the estimates with intervals.
        resampled: measure (``hypervolume``, ``utility_min``, ``utility_chebyshev``) to ``(B,)``
            values on every resample; empty when the method failed.
    """

    result: MethodResult
    resampled: Mapping[str, Floats]


def evaluate_point(
    replies: PointReplies, yardstick: Yardstick, *, judged_for: Sequence[TradeOff] = ()
) -> MeasuredPoint:
    """One policy on the evaluation prompts.

    Args:
        replies: its replies and the trade-off it answered for.
        yardstick: box and resamples of the run.
        judged_for: trade-offs over which the Chebyshev utility of each reply is averaged; empty
            = the trade-off of the point (the reference policy answers for all of them alike).

    Returns:
        The point, not yet marked as dominated, and its resamples.

    Raises:
        InputError: if a prompt has no reply.
        ShapeError: if the number of objectives differs from the box.
    """
    table, box = replies.table, yardstick.box
    n_objectives = len(box.low)
    if table.rewards.shape[1] != n_objectives or len(replies.tradeoff) != n_objectives:
        raise ShapeError(
            f"replies of {replies.policy!r}: found {table.rewards.shape[1]} rewards a reply and "
            f"{len(replies.tradeoff)} weights, expected {n_objectives} of both"
        )
    unit = box.unit(table.rewards)
    # A reply beyond the box must not make up for another one, so utilities see clipped rewards.
    clipped = np.clip(unit, 0, 1)
    utilities = [chebyshev(clipped, t.weights) for t in judged_for or (replies.tradeoff,)]
    columns = np.column_stack([unit, clipped.min(axis=1), np.mean(utilities, axis=0)])
    draws = means_over_replies(columns, table.prompt_of, yardstick.draws)
    values = columns.mean(axis=0)
    low, high = np.asarray(box.low), np.asarray(box.high)
    raw, raw_draws = table.rewards.mean(axis=0), low + draws[:, :n_objectives] * (high - low)
    malformed = None if table.well_formed is None else float(1 - table.well_formed.mean())
    result = PointResult(
        tradeoff=replies.tradeoff.weights,
        policy=replies.policy,
        means=tuple(interval(raw[i], raw_draws[:, i]) for i in range(n_objectives)),
        utility_min=interval(values[-2], draws[:, -2]),
        utility_chebyshev=interval(values[-1], draws[:, -1]),
        collapse=collapse_shares(table.texts, malformed),
        n_replies=len(table),
        dominated=False,
        constraints=_constraints(replies, yardstick),
    )
    return MeasuredPoint(result, draws[:, :n_objectives], draws[:, n_objectives:])


def evaluate_method(
    replies: MethodReplies, yardstick: Yardstick, *, judged_for: Sequence[TradeOff] = ()
) -> MeasuredMethod:
    """One method on every trade-off.

    Args:
        replies: what its policies said.
        yardstick: box, resamples and known front of the run.
        judged_for: as in :func:`evaluate_point`.

    Returns:
        The method and its resamples. A method that failed keeps the points it has and is not
        measured as a whole: a front with a missing end would look like a bad front.

    Raises:
        InputError: if a method that did not fail has no point, or a prompt has no reply.
    """
    points = [evaluate_point(p, yardstick, judged_for=judged_for) for p in replies.points]
    if not points and replies.failed is None:
        raise InputError(f"method {replies.name!r}: found no point, expected one a trade-off")
    dominated = _dominated(points)
    results = tuple(
        replace(p.result, dominated=bool(d)) for p, d in zip(points, dominated, strict=True)
    )
    if replies.failed is not None:
        none = (None,) * len(yardstick.box.low)
        failed = MethodResult(
            replies.name, results, None, None, None, none, None, replies.cost, replies.failed
        )
        return MeasuredMethod(failed, {})
    unit = yardstick.box.unit(np.array([[m.value for m in r.means] for r in results]))
    draws = np.stack([p.means for p in points], axis=1)
    best = int(np.argmax([r.utility_min.value for r in results]))
    measured = {
        "hypervolume": np.array([hypervolume(d) for d in draws]),
        "utility_min": points[best].utilities[:, 0],
        "utility_chebyshev": np.mean([p.utilities[:, 1] for p in points], axis=0),
    }
    utility = float(np.mean([r.utility_chebyshev.value for r in results]))
    result = MethodResult(
        name=replies.name,
        points=results,
        hypervolume=interval(hypervolume(unit), measured["hypervolume"]),
        utility_min=results[best].utility_min,
        utility_chebyshev=interval(utility, measured["utility_chebyshev"]),
        controllability=controllability(np.array([r.tradeoff for r in results]), unit),
        distance=_distance(unit, draws, yardstick.hull),
        cost=replies.cost,
        largest_gap=largest_angle_gap(unit) if unit.shape[1] == 2 else None,
    )
    return MeasuredMethod(result, measured)


def paired_differences(methods: Sequence[MeasuredMethod]) -> tuple[Difference, ...]:
    """Every two methods on the same resamples, once a measure.

    The mean Chebyshev utility is compared only between methods that answered for the same
    trade-offs: a mean over other trade-offs is another number.
    """
    found: list[Difference] = []
    for one, other in combinations([m for m in methods if m.resampled], 2):
        same = [p.tradeoff for p in one.result.points] == [p.tradeoff for p in other.result.points]
        found += [
            _difference(measure, one, other)
            for measure in one.resampled
            if measure != "utility_chebyshev" or same
        ]
    return tuple(found)


def measure(
    name: str,
    objectives: Objectives,
    box: Box,
    prompts: Sequence[str],
    methods: Sequence[MethodReplies],
    *,
    rng: np.random.Generator,
    reference: MethodReplies | None = None,
    known: KnownFront | None = None,
    n_resamples: int = 1000,
    n_samples: int = 6,
    notes: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
) -> RunResult:
    """Everything measured in a run.

    Args:
        name: name of the run.
        objectives: the axes, in the order of every reward column.
        box: the frozen unit box (:func:`~paretune.evaluation.box.frozen_box`).
        prompts: S evaluation prompts as text; reply tables point into them.
        methods: one entry a method, names unique.
        rng: draws the resamples first and the shown prompts second.
        reference: the reference policy as a method with one point; its Chebyshev utility is
            averaged over all trade-offs of the run.
        known: the known front, its hypervolume taken in the same box.
        n_resamples: bootstrap resamples, >= 1.
        n_samples: prompts whose replies are kept for the report.
        notes: sentences a reader must know.
        facts: seeds, versions, sizes.

    Raises:
        InputError: if names repeat, a method is empty, or a prompt has no reply.
    """
    names = [m.name for m in methods]
    if len(set(names)) != len(names) or not names:
        raise InputError(f"run {name!r}: found methods {names}, expected at least one, names once")
    hull = None if known is None else box.unit(np.array(known.hull, dtype=np.float64))
    draws = resample_prompts(len(prompts), n_resamples, rng)
    against = reference.points[0].table if reference and reference.points else None
    yardstick = Yardstick(box, draws, hull, against, objectives.names)
    measured = [evaluate_method(m, yardstick) for m in methods]
    asked = tuple(dict.fromkeys(p.tradeoff for m in methods for p in m.points))
    return RunResult(
        name=name,
        objectives=objectives.names,
        low=box.low,
        high=box.high,
        box_from=box.origin,
        reference=None
        if reference is None
        else evaluate_method(reference, yardstick, judged_for=asked).result,
        methods=tuple(m.result for m in measured),
        known=known,
        samples=pick_samples(methods, prompts, n_samples, rng),
        notes=tuple(notes),
        facts=dict(facts or {}),
        differences=paired_differences(measured),
        n_prompts=len(prompts),
    )


def _constraints(replies: PointReplies, yardstick: Yardstick) -> tuple[ConstraintResult, ...]:
    if yardstick.reference is None or not replies.constraints:
        return ()
    return measure_constraints(
        replies.constraints, replies.table, yardstick.reference, yardstick.names, yardstick.draws
    )


def _dominated(points: Sequence[MeasuredPoint]) -> npt.NDArray[np.bool_]:
    if not points:
        return np.zeros(0, dtype=bool)
    return ~non_dominated([[m.value for m in p.result.means] for p in points])


def _distance(unit: Floats, draws: Floats, hull: Floats | None) -> Interval | None:
    if hull is None:
        return None
    targets = front_targets(hull)
    return interval(igd_plus(unit, targets), np.array([igd_plus(d, targets) for d in draws]))


def _difference(measure: str, one: MeasuredMethod, other: MeasuredMethod) -> Difference:
    value = getattr(one.result, measure).value - getattr(other.result, measure).value
    if value < 0:
        one, other, value = other, one, -value
    draws = one.resampled[measure] - other.resampled[measure]
    probability = float(np.mean(draws > 0) + np.mean(draws == 0) / 2)
    return Difference(
        measure, one.result.name, other.result.name, interval(value, draws), probability
    )
