"""Supervised fine-tuning: maximize the likelihood of the run's own responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.functional.select import select_all


@final
@dataclass(frozen=True)
class SFT(Method):
    """One policy that imitates every response of the records; one point, not a front.

    Rewards are not looked at, so all trade-offs get the same answer. It is the starting point that
    other methods are compared with. The loss is the mean negative log-likelihood of the response
    tokens, including the end token.
    """

    paper: ClassVar[str] = "arXiv:2203.02155"
    needs: ClassVar[tuple[Needs, ...]] = ()

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [TrainingJob("sft", "sft", TradeOff.even(n_objectives), select_all)]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering("pick", ("sft",), (1.0,), TradeOff.even(len(tradeoff)))


METHOD = SFT
