"""Rewarded Soups: train one expert per objective, average their parameters when serving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.functional.losses import dpo_loss
from paretune.functional.pairing import order_by_objective
from paretune.methods._fields import check


@final
@dataclass(frozen=True)
class RewardedSoups(Method):
    """One expert per objective; the trade-off weighs their parameters.

    Trains M models whatever the number of trade-offs, so a new trade-off costs no training. Exact
    when the log-probabilities are linear in the parameters; otherwise an approximation that is
    exact at the corners only.

    Source: Ramé et al. 2023. Deviation: the experts are trained by DPO on the labels of their
    objective; the paper runs PPO on its reward.

    Args:
        beta: strength of the KL penalty of each expert, > 0.
    """

    beta: float = 0.1
    paper: ClassVar[str] = "arXiv:2306.04488"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        is_fine = 0 < self.beta < math.inf
        check(is_fine, "rewarded_soups.beta", self.beta, "a finite number > 0")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [
            TrainingJob(
                id=f"expert-{i}",
                kind="pairwise",
                tradeoff=TradeOff.only(i, n_objectives),
                rows=partial(order_by_objective, index=i),
                loss=partial(dpo_loss, beta=self.beta),
            )
            for i in range(n_objectives)
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        experts = tuple(f"expert-{i}" for i in range(len(tradeoff)))
        return Steering("merge", experts, tradeoff.weights, tradeoff)


METHOD = RewardedSoups
