"""Results of a run: what evaluation measures, reporting shows and serving reads.

Everything here round-trips through JSON with :func:`to_json` and ``RunResult.from_json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from paretune.core.interval import Interval as Interval
from paretune.core.personalization import PersonalizationResult


@final
@dataclass(frozen=True)
class Collapse:
    """Shares of replies that broke down, in [0, 1]; one reply counts under one cause.

    Args:
        short: fewer than three words.
        loop: a contiguous loop covers much of the text.
        repeats: most 4-grams repeat.
        malformed: the world's own grammar refuses the reply; ``None`` where there is no grammar.
            Counted apart: a malformed reply may also be short, a loop, or repeat.
    """

    short: float
    loop: float
    repeats: float
    malformed: float | None = None

    @property
    def total(self) -> float:
        """Share of collapsed replies: short, loop or repeats."""
        return self.short + self.loop + self.repeats


@final
@dataclass(frozen=True)
class ConstraintResult:
    """What a constrained policy reached on one objective of its goal.

    Args:
        objective: name.
        unit: ``preference``: how often its replies are preferred to the reference's replies to the
            same prompts, a tie counting half; ``reward``: expected reward.
        floor: what was asked for; ``None`` for the primary objective, which is maximized.
        found: measured on the evaluation prompts.
    """

    objective: str
    unit: str
    floor: float | None
    found: Interval

    @property
    def verdict(self) -> str:
        """``met``, ``met within the interval`` or ``missed``; ``maximized`` without a floor."""
        if self.floor is None:
            return "maximized"
        if self.found.value >= self.floor:
            return "met"
        return "met within the interval" if self.found.high >= self.floor else "missed"


@final
@dataclass(frozen=True)
class PointResult:
    """One policy (one trade-off of one method) on the evaluation prompts.

    Args:
        tradeoff: weights that were asked for, ``(M,)``.
        policy: what answered, in words: a job id, or ``merge(a:0.3, b:0.7)``.
        means: expected reward on each objective, ``(M,)``, with intervals.
        utility_min: per-reply utility: mean over replies of the smallest unit reward.
        utility_chebyshev: per-reply utility: mean over replies of the Chebyshev utility at the
            trade-off.
        collapse: shares of broken replies.
        n_replies: replies behind the means.
        dominated: True if another point *of the same method* is at least as good on every
            objective and better on one.
        constraints: of a constrained policy: its primary objective and its floors.
    """

    tradeoff: tuple[float, ...]
    policy: str
    means: tuple[Interval, ...]
    utility_min: Interval
    utility_chebyshev: Interval
    collapse: Collapse
    n_replies: int
    dominated: bool
    constraints: tuple[ConstraintResult, ...] = ()


@final
@dataclass(frozen=True)
class Cost:
    """What a method cost; seconds are process CPU seconds, never a claim about other machines.

    Args:
        train_seconds: all training jobs together.
        train_tokens: tokens that went through training steps.
        reply_seconds: replies of the training rounds and of the evaluation.
        reply_tokens: tokens generated.
        policies: policies stored.
        tradeoffs: trade-offs evaluated; divide by it for the cost per preference.
        answer_seconds: of the replies, those of the evaluation.
        answer_tokens: of the tokens, those of the evaluation, dropped candidates included.
    """

    train_seconds: float
    train_tokens: int
    reply_seconds: float
    reply_tokens: int
    policies: int
    tradeoffs: int
    answer_seconds: float = 0.0
    answer_tokens: int = 0


@final
@dataclass(frozen=True)
class MethodResult:
    """One method on every trade-off.

    Args:
        name: the method, with a suffix when one run holds it twice.
        points: one entry a trade-off, in the order of the run's trade-offs.
        hypervolume: of the mean rewards, unit box of the run, corner 0; in [0, 1].
        utility_min: best point's per-reply utility (mean over replies of the smallest reward).
        utility_chebyshev: mean over trade-offs of the per-reply Chebyshev utility.
        controllability: Spearman correlation of weight and mean reward per objective, ``(M,)``;
            ``None`` with fewer than three trade-offs or no variation.
        distance: mean IGD+ to the known front (same unit box), ``None`` where none is known.
        cost: what it cost.
        failed: the error when the method failed; then ``points`` may be short and nothing is
            measured on them together.
        largest_gap: widest hole between neighboring non-dominated points, as a share of the
            quarter turn around the ideal corner (1 = one end only); two objectives only.
    """

    name: str
    points: tuple[PointResult, ...]
    hypervolume: Interval | None
    utility_min: Interval | None
    utility_chebyshev: Interval | None
    controllability: tuple[float | None, ...]
    distance: Interval | None
    cost: Cost
    failed: str | None = None
    largest_gap: float | None = None


@final
@dataclass(frozen=True)
class Difference:
    """Two methods on the same resampled prompts: ``first`` minus ``second``.

    Args:
        measure: ``hypervolume``, ``utility_min`` or ``utility_chebyshev``.
        first: name of the method with the larger estimate.
        second: name of the other.
        value: the difference, >= 0, with its interval; an interval above 0 means that the prompts
            cannot explain it. Training seeds are not in it.
        probability: share of the resamples in which ``first`` is larger; a tie counts half.
    """

    measure: str
    first: str
    second: str
    value: Interval
    probability: float


@final
@dataclass(frozen=True)
class KnownFront:
    """What is attainable, computed exactly.

    Args:
        replies: non-dominated single replies, ``(K, M)`` raw rewards.
        hull: vertices of the front of expected rewards (mixtures allowed), ``(L, M)``.
        hypervolume: of the attainable set in the run's unit box.
        ceilings: number of policies -> largest hypervolume that many policies can reach.
        utility_min: largest per-reply utility ``E[min]``.
        utility_chebyshev: largest mean over the run's trade-offs of the Chebyshev utility;
            ``None`` where it was not computed.
        best_chebyshev: each of these trade-offs with the largest Chebyshev utility there.
    """

    replies: tuple[tuple[float, ...], ...]
    hull: tuple[tuple[float, ...], ...]
    hypervolume: float
    ceilings: Mapping[int, float] = field(default_factory=dict)
    utility_min: float | None = None
    utility_chebyshev: float | None = None
    best_chebyshev: tuple[tuple[tuple[float, ...], float], ...] = ()


@final
@dataclass(frozen=True)
class Sample:
    """Replies to one prompt along the trade-offs of one method, for the report.

    Args:
        method: name of the method.
        prompt: the prompt as text.
        replies: one reply a trade-off, with its raw rewards.
        rewards: ``(K, M)``.
        tradeoffs: the trade-off of each reply, ``(K, M)``.
    """

    method: str
    prompt: str
    replies: tuple[str, ...]
    rewards: tuple[tuple[float, ...], ...]
    tradeoffs: tuple[tuple[float, ...], ...]


@final
@dataclass(frozen=True)
class RunResult:
    """Everything measured in a run.

    Args:
        name: name of the run.
        objectives: names, ``(M,)``.
        low: raw reward that maps to 0 in the unit box, ``(M,)``; frozen and stored.
        high: raw reward that maps to 1, ``(M,)``.
        box_from: where the box came from, in words.
        reference: the reference policy alone: one point at the even trade-off, its Chebyshev
            utility averaged over the run's trade-offs.
        methods: one entry a method, in the order of the run.
        known: the known front, if there is one.
        samples: replies side by side.
        notes: sentences a reader must know (what judged the replies, what was skipped).
        facts: seeds, versions, sizes: text to text.
        differences: every two methods that did not fail, once a measure.
        n_prompts: evaluation prompts, which the intervals resample.
        personalization: one entry a method that reads its user's taste from the prompt.
    """

    name: str
    objectives: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    box_from: str
    reference: MethodResult | None
    methods: tuple[MethodResult, ...]
    known: KnownFront | None = None
    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    n_prompts: int = 0
    personalization: tuple[PersonalizationResult, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunResult:
        """Inverse of :func:`to_json`."""
        return cls(
            **{
                **data,
                "objectives": tuple(data["objectives"]),
                "low": tuple(data["low"]),
                "high": tuple(data["high"]),
                "reference": _method(data["reference"]) if data["reference"] else None,
                "methods": tuple(_method(m) for m in data["methods"]),
                "known": _known(data["known"]) if data["known"] else None,
                "samples": tuple(_sample(s) for s in data["samples"]),
                "notes": tuple(data["notes"]),
                "differences": tuple(
                    Difference(**{**d, "value": Interval(**d["value"])})
                    for d in data["differences"]
                ),
                # Absent in results of earlier versions.
                "personalization": tuple(
                    PersonalizationResult.from_json(p) for p in data.get("personalization", ())
                ),
            }
        )


def to_json(result: RunResult) -> dict[str, Any]:
    """A result as plain JSON values."""
    return dataclasses.asdict(result)


def _interval(data: Mapping[str, Any] | None) -> Interval | None:
    return None if data is None else Interval(**data)


def _known(data: Mapping[str, Any]) -> KnownFront:
    return KnownFront(
        **{
            **data,
            "replies": _rows(data["replies"]),
            "hull": _rows(data["hull"]),
            "ceilings": {int(k): v for k, v in data["ceilings"].items()},
            "best_chebyshev": tuple((tuple(t), v) for t, v in data.get("best_chebyshev", ())),
        }
    )


def _sample(data: Mapping[str, Any]) -> Sample:
    return Sample(
        data["method"],
        data["prompt"],
        tuple(data["replies"]),
        _rows(data["rewards"]),
        _rows(data["tradeoffs"]),
    )


def _rows(data: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in data)


def _point(data: Mapping[str, Any]) -> PointResult:
    return PointResult(
        **{
            **data,
            "tradeoff": tuple(data["tradeoff"]),
            "means": tuple(Interval(**m) for m in data["means"]),
            "utility_min": Interval(**data["utility_min"]),
            "utility_chebyshev": Interval(**data["utility_chebyshev"]),
            "collapse": Collapse(**data["collapse"]),
            # Absent in results of earlier versions.
            "constraints": tuple(
                ConstraintResult(**{**c, "found": Interval(**c["found"])})
                for c in data.get("constraints", ())
            ),
        }
    )


def _method(data: Mapping[str, Any]) -> MethodResult:
    return MethodResult(
        **{
            **data,
            "points": tuple(_point(p) for p in data["points"]),
            "hypervolume": _interval(data["hypervolume"]),
            "utility_min": _interval(data["utility_min"]),
            "utility_chebyshev": _interval(data["utility_chebyshev"]),
            "controllability": tuple(data["controllability"]),
            "distance": _interval(data["distance"]),
            "cost": Cost(**data["cost"]),
        }
    )
