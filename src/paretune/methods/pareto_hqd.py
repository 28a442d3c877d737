"""ParetoHqD: fine-tune on the few responses of the Pareto front nearest to a preference ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Literal, final

from paretune.core.description import identity
from paretune.core.job import Replies, RowRule, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.functional.ray import Direction
from paretune.functional.select import (
    PoolRows,
    RangeFrom,
    select_all,
    select_linear,
    select_random,
    select_ray,
)
from paretune.functional.simplex import representatives
from paretune.methods._fields import check, check_choices

_RAY_ONLY = ("direction", "smoothing", "space")
_SCORED = (*_RAY_ONLY, "pool", "n_layers", "min_rows", "range_quantile", "range_from")
_UNREAD: dict[str, tuple[str, ...]] = {
    "ray": (),
    "linear": _RAY_ONLY,
    "random": _SCORED,
    "full": (*_SCORED, "k", "max_per_prompt"),
}


@final
@dataclass(frozen=True)
class ParetoHqD(Method):
    r"""Offline fine-tuning on Pareto high-quality data, one policy a trade-off.

    A trade-off is a ray in reward space, from the ideal corner towards the compromise point
    :math:`r^{min} + w \odot (r^{max} - r^{min})`. Stage 1 fine-tunes the reference on the k
    responses of the top Pareto layers that lie nearest to the ray. Stage 2 lets the policies of
    M + 1 representative trade-offs (the corners and the center) reply to the same prompts, selects
    k/2 of the scored replies for each trade-off by the same rule, and continues each stage-1
    policy. Serves the nearest trained trade-off.

    What holds: it covers the non-convex parts of the front of single replies, which weighted sums
    cannot. In the hypervolume of *expected* rewards a mixture of two ends can be better.

    Source: Gu et al. 2025. Decisions where the source is silent: the fewest layers that hold
    ``min_rows`` rows (it says "a few"); the prompts of stage 2 are shared by the representatives;
    ``steps`` counts each stage; layers and ranges of stage 2 are those of its own rows. Stage 2
    lowered the hypervolume in most of our runs, so compare with ``stages=1``.

    Args:
        k: responses a trade-off in stage 1, >= 1; stage 2 takes ``k // 2``, so >= 2 there.
        steps: optimizer steps of each stage, >= 1.
        batch_size: responses a step, >= 1.
        learning_rate: peak of each stage, > 0; ``None`` takes the run's.
        stages: 1 or 2.
        select: ``ray`` is the method, the others its ablations: ``linear`` takes the largest
            weighted sums of unit rewards, ``random`` any k rows, ``full`` every row. A field that
            the choice does not read must keep its default.
        pool: ``pareto`` lets ``ray`` and ``linear`` choose among the top layers, ``all`` among all
            rows.
        n_layers: how many layers, >= 1; ``None`` takes the fewest that hold ``min_rows``.
        min_rows: rows that the layers must hold, >= 1; ``None`` takes k. On a thin continuous
            front neighboring trade-offs then share most rows, and 5k is better (hypervolume .72
            against .56 on a convex table of 20,000 actions); where rewards are discrete, more
            layers only add dominated rows.
        direction: ``compromise`` is the source's; ``chebyshev`` weighs shortfalls by the
            trade-off: the same for two objectives, and with more it reaches all directions.
        smoothing: share of the even trade-off that is mixed into the ray's, in [0, 1], so that
            with ``chebyshev`` trade-offs with zero weights get rays of their own.
        space: distances in ``unit`` rewards, or in ``raw`` ones (depends on the units).
        range_quantile: the ideal and the worst corner are these quantiles instead of the extremes,
            in [0, 0.5); 1e-4 withstands outliers of large data.
        range_from: whether the range is that of the ``dataset`` or of its ``pareto`` layers.
        max_per_prompt: responses taken of one prompt, >= 1; ``None`` for any number.
        stage2_prompts: prompts the representatives reply to, >= 1.
        stage2_pool: ``generated`` replies only, or ``generated+pareto``: with the run's records.
        temperature: of the replies of stage 2, > 0.
        top_p: nucleus of the replies of stage 2, in (0, 1].
    """

    k: int = 100
    steps: int = 200
    batch_size: int = 8
    learning_rate: float | None = None
    stages: Literal[1, 2] = 2
    select: Literal["ray", "linear", "random", "full"] = "ray"
    pool: PoolRows = "pareto"
    n_layers: int | None = None
    min_rows: int | None = None
    direction: Direction = "compromise"
    smoothing: float = 0.0
    space: Literal["unit", "raw"] = "unit"
    range_quantile: float = 0.0
    range_from: RangeFrom = "dataset"
    max_per_prompt: int | None = None
    stage2_prompts: int = 10_000
    stage2_pool: Literal["generated", "generated+pareto"] = "generated"
    temperature: float = 0.7
    top_p: float = 0.9
    paper: ClassVar[str] = "arXiv:2504.16628"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        check_choices(self, "pareto_hqd")
        at = "pareto_hqd."
        check(self.k >= self.stages, at + "k", self.k, f"at least {self.stages}")
        for name in ("steps", "batch_size", "stage2_prompts"):
            check(getattr(self, name) >= 1, at + name, getattr(self, name), "an integer >= 1")
        for name in ("n_layers", "min_rows", "max_per_prompt"):
            value = getattr(self, name)
            check(value is None or value >= 1, at + name, value, "an integer >= 1 or nothing")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            check(value is None or 0 < value < math.inf, at + name, value, "a finite number > 0")
        check(0 < self.top_p <= 1, at + "top_p", self.top_p, "a number in (0, 1]")
        quantile = self.range_quantile
        check(0 <= quantile < 0.5, at + "range_quantile", quantile, "a number in [0, 0.5)")
        check(0 <= self.smoothing <= 1, at + "smoothing", self.smoothing, "a number in [0, 1]")
        for f in fields(self):
            if f.name in _UNREAD[self.select]:
                value = getattr(self, f.name)
                expected = f"the default {f.default!r} (not read with select {self.select!r})"
                check(value == f.default, at + f.name, value, expected)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        tradeoffs = tuple(dict.fromkeys(tradeoffs))
        first = [
            TrainingJob(
                id=_job_id(1, t),
                kind="sft",
                tradeoff=t,
                rows=self._row_rule(t, self.k),
                settings=self._settings(),
            )
            for t in tradeoffs
        ]
        if self.stages == 1:
            return first
        replies = Replies(
            of=tuple(_job_id(1, t) for t in representatives(tradeoffs)),
            prompts=self.stage2_prompts,
            temperature=self.temperature,
            top_p=self.top_p,
            with_offline=self.stage2_pool == "generated+pareto",
        )
        second = [
            TrainingJob(
                id=_job_id(2, t),
                kind="sft",
                tradeoff=t,
                rows=self._row_rule(t, self.k // 2),
                source=replies,
                start=_job_id(1, t),
                settings=self._settings(),
            )
            for t in tradeoffs
        ]
        return first + second

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (_job_id(self.stages, served),), (1.0,), served)

    def _settings(self) -> dict[str, float | int | str]:
        settings: dict[str, float | int | str] = {
            "steps": self.steps,
            "batch_size": self.batch_size,
        }
        if self.learning_rate is not None:
            settings["learning_rate"] = self.learning_rate
        return settings

    def _row_rule(self, tradeoff: TradeOff, k: int) -> RowRule:
        if self.select == "full":
            return select_all
        if self.select == "random":
            # Other rows for other trade-offs, the same ones in every run.
            seed = int(identity(tradeoff), 16)
            return partial(select_random, k=k, seed=seed, max_per_prompt=self.max_per_prompt)
        shared: dict[str, Any] = {
            "weights": tradeoff.weights,
            "k": k,
            "pool_rows": self.pool,
            "n_layers": self.n_layers,
            "min_rows": self.min_rows,
            "range_quantile": self.range_quantile,
            "range_from": self.range_from,
            "max_per_prompt": self.max_per_prompt,
        }
        if self.select == "linear":
            return partial(select_linear, **shared)
        return partial(
            select_ray,
            **shared,
            direction=self.direction,
            smoothing=self.smoothing,
            space=self.space,
        )


def _job_id(stage: int, tradeoff: TradeOff) -> str:
    return f"stage-{stage}-{tradeoff.slug}"


METHOD = ParetoHqD
