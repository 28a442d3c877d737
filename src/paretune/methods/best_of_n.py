"""Best of n: draw several replies of the reference policy and give the one of highest utility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from paretune.core.job import BASE, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.methods._fields import check, check_choices

Utility = Literal["linear", "chebyshev"]


@final
@dataclass(frozen=True)
class BestOfN(Method):
    r"""No training: the best of n replies by the utility of the trade-off.

    Serves every trade-off exactly, at n times the cost of a reply and n rewards a reply. The reply
    distribution is within :math:`\log n - (n-1)/n` nats of the reference, with equality when no
    two replies have the same utility. With ``n=1`` it is the reference policy.

    Args:
        n: replies drawn a prompt, >= 1.
        utility: ``linear`` for the weighted sum of z-scores, ``chebyshev`` for the smallest
            weighted shortfall of rewards scaled to the range of the training rewards.
    """

    n: int = 4
    utility: Utility = "linear"
    paper: ClassVar[str] = "arXiv:2009.01325"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        check_choices(self, "best_of_n")
        check(self.n >= 1, "best_of_n.n", self.n, "an integer >= 1")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return []

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering("pick", (BASE,), (1.0,), tradeoff, self.n, self.utility)


METHOD = BestOfN
