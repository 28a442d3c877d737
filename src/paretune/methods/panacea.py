"""Panacea: one policy whose low-rank adapter holds the trade-off as singular values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from paretune.core.adapter import TradeOffAdapter
from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.build_scalarizer import build_scalarizer
from paretune.functional.pairing import keep_every_objective
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.methods._fields import check, check_choices

_JOB = "panacea"


@final
@dataclass(frozen=True)
class Panacea(Method):
    r"""One policy for every trade-off, trained once: the trade-off enters through its adapter.

    Every linear layer gets a low-rank update with the trade-off :math:`\lambda` among its singular
    values, :math:`W = W_0 + U\,\mathrm{diag}(\sigma, s\lambda)\,V^\top`. Each batch draws a
    trade-off and descends what the losses of all objectives add up to there. Serves exactly the
    trade-off that is asked for, at the cost of one training.

    What holds, on a table, where the counterpart are log-ratios linear in the trade-off: with
    ``loss: ipo`` the policy of every trade-off is the one that IPO with its weights would train,
    because that is linear too. What does not: the minimum of weighted DPO is not linear, so with
    ``sigmoid`` and ``soft`` the one policy is a compromise, exact nowhere (total variation to the
    optimum of the weighted reward .12 to .48 on the tables of the bench, at the corners up to .29;
    a policy a trade-off by weighted DPO is exact at the corners and .14 to .57 away between). Drawn
    at the corners alone (``concentration`` towards 0) it becomes Rewarded Soups, which is exact
    there. On a network nothing is exact, and few steps see few trade-offs.

    Source: Zhong et al. 2024. Deviations: the update starts at 0 through :math:`U`, and no penalty
    keeps :math:`U` and :math:`V` orthogonal; several directions an objective; the ideal losses of
    Chebyshev's kind are those of a margin that is large enough. Of the paper's ways to train, DPO;
    its RLHF and SFT are not offered. The base stays frozen also in runs that fine-tune whole
    models.

    Args:
        scalarizer: of the losses of a batch: ``linear``, their weighted sum; ``chebyshev``, the
            largest weighted distance to the ideal; ``stch``, its smooth form.
        loss: of each objective: ``sigmoid`` (DPO, the label is the slope), ``ipo`` (the label is
            in the target) or ``soft`` (the label is a chance).
        beta: strength of the KL penalty, > 0; for ``ipo`` the slope.
        rank: directions of each update that all trade-offs share, >= 0.
        directions: directions of each objective, >= 1. The paper has 1; on Handy 4 give 43 % of
            the attainable hypervolume where 1 gives 33 % (scenario B; A: 53 and 45), 16 no more.
        scale: start of the singular values, > 0; a larger one learns faster.
        concentration: of the Dirichlet distribution that trade-offs are drawn from, > 0; 1 is
            uniform, less draws more near the corners.
        steps: optimizer steps, >= 1; ``None`` takes the run's.
        learning_rate: peak, > 0; ``None`` takes the run's. Adapters want several times the rate
            of full fine-tuning: on Handy .005 with a beta of .3 to .5, ten times as much.
    """

    scalarizer: Literal["linear", "chebyshev", "stch"] = "linear"
    loss: Literal["sigmoid", "ipo", "soft"] = "sigmoid"
    beta: float = 0.1
    rank: int = 8
    directions: int = 4
    scale: float = 1.0
    concentration: float = 1.0
    steps: int | None = None
    learning_rate: float | None = None
    paper: ClassVar[str] = "arXiv:2402.02030"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        check_choices(self, "panacea")
        at = "panacea."
        for name in ("beta", "scale", "concentration"):
            value = getattr(self, name)
            check(0 < value < math.inf, at + name, value, "a finite number > 0")
        check(self.rank >= 0, at + "rank", self.rank, "an integer >= 0")
        check(self.directions >= 1, at + "directions", self.directions, "an integer >= 1")
        steps, rate = self.steps, self.learning_rate
        check(steps is None or steps >= 1, at + "steps", steps, "an integer >= 1 or nothing")
        is_fine = rate is None or 0 < rate < math.inf
        check(is_fine, at + "learning_rate", rate, "a finite number > 0 or nothing")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if n_objectives < 2:
            raise ConfigError(
                f"panacea: found {n_objectives} objective, expected at least 2: with one there is "
                "no trade-off to hold (methods for one objective: dpo, sft)"
            )
        settings: dict[str, float | int | str] = {}
        if self.steps is not None:
            settings["steps"] = self.steps
        if self.learning_rate is not None:
            settings["learning_rate"] = self.learning_rate
        return [
            TrainingJob(
                id=_JOB,
                kind="pairwise",
                tradeoff=TradeOff.even(n_objectives),
                rows=keep_every_objective,
                step_loss=ScalarizedLoss(
                    build_scalarizer(self.scalarizer),
                    weights=None,
                    kind=self.loss,
                    beta=self.beta,
                    is_length_normalized=False,
                ),
                settings=settings,
                adapter=TradeOffAdapter(
                    n_objectives, self.rank, self.directions, self.scale, self.concentration
                ),
            )
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering("condition", (_JOB,), (1.0,), tradeoff)


METHOD = Panacea
