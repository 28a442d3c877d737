"""Scalarized DPO: a loss an objective, a scalarizer, a policy a trade-off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, final

from paretune.core.job import Head, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.build_scalarizer import ScalarizerName, build_scalarizer
from paretune.functional.pairing import keep_every, keep_labelled
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.methods._fields import check, check_choices
from paretune.methods._trunk import check_heads, on_trunk, steer_on_trunk

_GROUP = "scalarized"


@final
@dataclass(frozen=True)
class ScalarizedDPO(Method):
    r"""Multi-objective FSPO without shots: losses per objective, combined by a scalarizer.

    Trains one policy a trade-off and serves the nearest trained one. With ``linear`` it is
    loss-weighted DPO on signed scores; the others press on the objective that is worst off, and so
    reach points that no weighted sum has as its best. Each loss depends on the policy through the
    margins of its pairs only, so all of them are exact over accumulated batches and processes.

    Args:
        scalarizer: ``linear``, ``chebyshev``, ``stch`` (smooth Chebyshev), ``tilted``,
            ``pareto_hv``, ``loghv``, ``mirror``, ``uw``, ``rlw``, ``mgda``, ``upgrad``, or
            ``hv_gradient``: policies on a shared backbone that spread by themselves.
        options: of the scalarizer, by name.
        loss: of each objective: ``sigmoid`` (the label is the slope), ``ipo`` (the label is in the
            target) or ``soft`` (the label is a chance: calibrated Bradley-Terry).
        beta: slope of the margin, > 0.
        is_length_normalized: log-ratios a token; the paper's choice, with a ``beta`` near 5.
        score_mode: what a negative label means: ``signed``, ``clip`` (the paper: nothing) or
            ``error``.
        stage: ``loss`` scalarizes losses, ``score`` labels (``linear`` only).
        ideal: what Chebyshev's kind subtracts: ``margin``, a loss that is small enough, or
            ``zero``.
        kappa: ``beta`` times the margin that is large enough for ``ideal: margin``, > 0.
        weights: ``tradeoff``: each policy has the weights of its trade-off; ``data``: every
            comparison has those of the user who made it, and one policy serves all.
        backbone: ``own``: each policy is a model of its own; ``shared``: all are trained together
            on one, each with an output layer of its own, for about the cost of one; ``frozen``:
            each is a small network on the last hidden states of the base, which is run once for
            all, and trade-offs between are mixtures of the nearest ones.
        head_rank: width of these networks, >= 1; read with backbone ``frozen``.
        head_learning_rate: of these networks, > 0, in place of the run's; read with backbone
            ``frozen``.
    """

    scalarizer: ScalarizerName = "linear"
    options: Mapping[str, float | str] = field(default_factory=dict)
    loss: Literal["sigmoid", "ipo", "soft"] = "sigmoid"
    beta: float = 5.0
    is_length_normalized: bool = True
    score_mode: Literal["signed", "clip", "error"] = "signed"
    stage: Literal["loss", "score"] = "loss"
    ideal: Literal["margin", "zero"] = "margin"
    kappa: float = 6.0
    weights: Literal["tradeoff", "data"] = "tradeoff"
    backbone: Literal["own", "shared", "frozen"] = "own"
    head_rank: int = 32
    head_learning_rate: float = 2e-3
    paper: ClassVar[str] = "arXiv:2502.19312"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        check_choices(self, "scalarized_dpo")
        check(0 < self.beta < math.inf, "scalarized_dpo.beta", self.beta, "a finite number > 0")
        check(0 < self.kappa < math.inf, "scalarized_dpo.kappa", self.kappa, "a finite number > 0")
        is_one = self.weights == "data"
        check(
            not is_one or self.backbone == "own", "scalarized_dpo.backbone", self.backbone,
            "own with weights 'data': there is one policy",
        )  # fmt: skip
        needs_group = self.scalarizer == "hv_gradient"
        check(
            not needs_group or self.backbone != "own", "scalarized_dpo.backbone", self.backbone,
            "shared or frozen with scalarizer 'hv_gradient': policies spread together",
        )  # fmt: skip
        scalarizer = self._loss(None).scalarizer
        check(
            not scalarizer.needs_gradients or self.backbone == "own",
            "scalarized_dpo.backbone", self.backbone,
            f"own with scalarizer {self.scalarizer!r}: it compares the gradients of one policy",
        )  # fmt: skip
        check_heads("scalarized_dpo", self.head_rank, self.head_learning_rate)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if self.weights == "data":
            even = TradeOff.even(n_objectives)
            return [TrainingJob("policy", "pairwise", even, keep_every, step_loss=self._loss(None))]
        jobs = [self._job(t) for t in dict.fromkeys(tradeoffs)]
        if self.backbone == "own":
            return jobs
        if len(jobs) == 1 and jobs[0].step_loss.scalarizer.is_joint:
            raise ConfigError(
                "scalarized_dpo.scalarizer: found 'hv_gradient' with one trade-off, expected "
                "several: it spreads policies"
            )
        # One backbone takes one set of pairs: those that any of its policies learns from.
        rule = partial(keep_labelled, weights=TradeOff.even(n_objectives).weights)
        jobs = [replace(job, rows=rule, group=_GROUP, head=Head()) for job in jobs]
        if self.backbone == "frozen":
            return on_trunk(jobs, _GROUP, self.head_rank, self.head_learning_rate)
        return jobs

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        if self.weights == "data":
            return Steering("pick", ("policy",), (1.0,), TradeOff.even(len(tradeoff)))
        if self.backbone == "frozen" and self.scalarizer != "hv_gradient":
            return steer_on_trunk(tradeoff, trained, lambda t: f"policy-{t.slug}")
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (f"policy-{served.slug}",), (1.0,), served)

    def _job(self, tradeoff: TradeOff) -> TrainingJob:
        rule = partial(keep_labelled, weights=tradeoff.weights)
        loss = self._loss(tradeoff.weights)
        return TrainingJob(f"policy-{tradeoff.slug}", "pairwise", tradeoff, rule, step_loss=loss)

    def _loss(self, weights: tuple[float, ...] | None) -> ScalarizedLoss:
        return ScalarizedLoss(
            build_scalarizer(self.scalarizer, self.options), weights, self.loss, self.beta,
            self.is_length_normalized, self.score_mode, self.stage, self.ideal, self.kappa,
        )  # fmt: skip


METHOD = ScalarizedDPO
