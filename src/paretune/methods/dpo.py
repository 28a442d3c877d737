"""DPO: one policy a trade-off, or a single one, by what is done with conflicting labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, final

from paretune.core.job import PairRule, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.functional.losses import dpo_loss, ipo_loss, mean_dpo_loss, weighted_dpo_loss
from paretune.functional.pairing import (
    keep_labelled,
    order_by_agreement,
    order_by_drawn_objective,
    order_by_objective,
    order_by_weighted_labels,
)
from paretune.methods._fields import check, check_choices
from paretune.methods._trunk import check_heads, on_trunk, steer_on_trunk

Labels = Literal["weighted", "mixed", "summed", "agreeing", "single"]
Loss = Literal["sigmoid", "sigmoid_norm", "ipo"]
_LOSSES: dict[str, Callable[..., Any]] = {
    "sigmoid": dpo_loss,
    "sigmoid_norm": mean_dpo_loss,
    "ipo": ipo_loss,
}


@final
@dataclass(frozen=True)
class DPO(Method):
    r"""Direct preference optimization on the labels of several objectives.

    The simple baselines. ``weighted``, ``mixed`` and ``summed`` train one policy a trade-off and
    serve the nearest trained one; ``agreeing`` and ``single`` train one policy and give it for
    every trade-off. None of them estimates the optimum of the weighted reward: on Bradley-Terry
    labels the log-ratio margin of a pair tends to :math:`\operatorname{logit}(\sum_i
    w_i\,\sigma(\Delta r_i))/\beta` with ``weighted`` and ``mixed`` (one loss in expectation), to
    :math:`\sum_i \Delta r_i/\beta` with ``agreeing``, and not to :math:`w\cdot\Delta r/\beta`.
    Only ``single`` and the corners of the others reach the optimum they aim at.

    Args:
        labels: what a trade-off does to the labels. ``weighted``: every objective has its own DPO
            loss, weighed by the trade-off; ``mixed``: each comparison is ordered by one objective,
            drawn with the probability of its weight; ``summed``: by the sign of the weighted sum
            of labels; ``agreeing``: only comparisons without conflict; ``single``: by one
            objective.
        beta: strength of the KL penalty, > 0.
        loss: ``sigmoid`` (DPO), ``sigmoid_norm`` (log-ratios a token) or ``ipo``; ``weighted``
            knows ``sigmoid`` only.
        objective: column of the objective of ``single``, >= 0; not given otherwise.
        backbone: ``own``: each policy is a model of its own; ``frozen``: each is a small network
            on the last hidden states of the base, which is run once for all: eleven policies for
            about the cost of one, and mixtures of the nearest ones for trade-offs between. Wants a
            ``beta`` of 0.3 or more: at 0.1 heads collapse where whole models do not yet.
        head_rank: width of these networks, >= 1; not read with backbone ``own``.
        head_learning_rate: of these networks, > 0, in place of the run's; not read with backbone
            ``own``.
    """

    labels: Labels = "weighted"
    beta: float = 0.1
    loss: Loss = "sigmoid"
    objective: int | None = None
    backbone: Literal["own", "frozen"] = "own"
    head_rank: int = 32
    head_learning_rate: float = 2e-3
    paper: ClassVar[str] = "arXiv:2305.18290"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        check_choices(self, "dpo")
        check(0 < self.beta < math.inf, "dpo.beta", self.beta, "a finite number > 0")
        if self.labels == "weighted":
            check(self.loss == "sigmoid", "dpo.loss", self.loss, "'sigmoid' with labels 'weighted'")
        if self.labels == "single":
            is_column = self.objective is not None and self.objective >= 0
            check(is_column, "dpo.objective", self.objective, "an objective with labels 'single'")
        else:
            expected = f"no objective with labels {self.labels!r}"
            check(self.objective is None, "dpo.objective", self.objective, expected)
        check_heads("dpo", self.head_rank, self.head_learning_rate)
        is_many = self.labels not in ("agreeing", "single")
        expected = f"own with labels {self.labels!r}: there is one policy"
        check(is_many or self.backbone == "own", "dpo.backbone", self.backbone, expected)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if self.objective is not None:
            expected = f"at most {n_objectives - 1}, the last objective"
            check(self.objective < n_objectives, "dpo.objective", self.objective, expected)
            return [self._job("dpo", TradeOff.only(self.objective, n_objectives))]
        if self.labels == "agreeing":
            return [self._job("dpo", TradeOff.even(n_objectives))]
        jobs = [self._job(f"dpo-{t.slug}", t) for t in dict.fromkeys(tradeoffs)]
        if self.backbone == "frozen":
            return on_trunk(jobs, "dpo", self.head_rank, self.head_learning_rate)
        return jobs

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        if self.objective is not None:
            served = TradeOff.only(self.objective, len(tradeoff))
            return Steering("pick", ("dpo",), (1.0,), served)
        if self.labels == "agreeing":
            return Steering("pick", ("dpo",), (1.0,), TradeOff.even(len(tradeoff)))
        if self.backbone == "frozen":
            return steer_on_trunk(tradeoff, trained, lambda t: f"dpo-{t.slug}")
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (f"dpo-{served.slug}",), (1.0,), served)

    def _job(self, job_id: str, tradeoff: TradeOff) -> TrainingJob:
        if self.labels == "weighted":
            loss = partial(weighted_dpo_loss, beta=self.beta, weights=tradeoff.weights)
        else:
            loss = partial(_LOSSES[self.loss], beta=self.beta)
        return TrainingJob(job_id, "pairwise", tradeoff, self._pair_rule(tradeoff), loss)

    def _pair_rule(self, tradeoff: TradeOff) -> PairRule:
        if self.objective is not None:
            return partial(order_by_objective, index=self.objective)
        if self.labels == "agreeing":
            return order_by_agreement
        rule = {
            "weighted": keep_labelled,
            "mixed": order_by_drawn_objective,
            "summed": order_by_weighted_labels,
        }[self.labels]
        return partial(rule, weights=tradeoff.weights)


METHOD = DPO
