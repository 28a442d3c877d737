"""MODPO: DPO on the labels of one objective, with the rewards of the others as a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

from paretune.core.job import Margins, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.losses import dpo_loss
from paretune.functional.margin_loss import modpo_loss
from paretune.functional.pairing import order_by_objective
from paretune.methods._fields import check, check_choices
from paretune.methods._trunk import check_heads, on_trunk, steer_on_trunk


@final
@dataclass(frozen=True)
class MODPO(Method):
    r"""Multi-objective DPO: the labels of one objective, the rewards of the others as a margin.

    Trains one policy a trade-off and serves the nearest trained one. On Bradley-Terry labels and
    with margins in their units its minimum is :math:`\pi_{ref}\exp(w \cdot r/\beta)`, the optimum
    of the weighted reward: what weighted, mixed or summed labels (``dpo``) miss between the
    corners. A corner is DPO on its objective.

    What does not hold: rewards in other units shift the trade-off, and so do labels without noise,
    which have no finite reward. The loss grows with one over the weight of the objective whose
    labels order the pairs.

    Source: Zhou et al. 2023. Deviations: any number of objectives; by default each trade-off takes
    the labels of its heaviest objective, where the paper fixes one for all; margins can be
    differences of scores, brought to the units of the labels.

    Args:
        beta: strength of the KL penalty, > 0; of the experts too.
        margins: ``scores``: differences of the records' rewards; ``policies``: of implicit
            rewards, beta times the log-ratio of a policy trained by DPO on each objective. These
            experts need no scores, and they answer at the corners.
        is_calibrated: bring scores to Bradley-Terry units by the labels of the comparisons;
            without it they must have them. Must keep its default with ``policies``: implicit
            rewards have them.
        axis: column of the objective whose labels order the pairs, >= 0, with a weight in every
            trade-off; ``None`` = the heaviest one of each.
        backbone: ``own``: each policy is a model of its own; ``frozen``: each is a small network
            on the last hidden states of the base, experts too, and trade-offs between are mixtures
            of the nearest ones. Wants a ``beta`` of 0.3 or more.
        head_rank: width of these networks, >= 1; read with backbone ``frozen``.
        head_learning_rate: of these networks, > 0, in place of the run's; read with backbone
            ``frozen``.
    """

    beta: float = 0.1
    margins: Literal["scores", "policies"] = "scores"
    is_calibrated: bool = True
    axis: int | None = None
    backbone: Literal["own", "frozen"] = "own"
    head_rank: int = 32
    head_learning_rate: float = 2e-3
    paper: ClassVar[str] = "arXiv:2310.03708"

    def __post_init__(self) -> None:
        check_choices(self, "modpo")
        check(0 < self.beta < math.inf, "modpo.beta", self.beta, "a finite number > 0")
        is_column = self.axis is None or self.axis >= 0
        check(is_column, "modpo.axis", self.axis, "the column of an objective, or none")
        check_heads("modpo", self.head_rank, self.head_learning_rate)
        is_fine = self.margins == "scores" or self.is_calibrated
        expected = "the default True (not read with margins 'policies')"
        check(is_fine, "modpo.is_calibrated", self.is_calibrated, expected)

    @property
    def needs(self) -> tuple[Needs, ...]:
        return ("pairs", "scores") if self.margins == "scores" else ("pairs",)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if n_objectives < 2:
            raise ConfigError(f"modpo: found {n_objectives} objective, expected at least 2")
        if self.axis is not None:
            expected = f"at most {n_objectives - 1}, the last objective"
            check(self.axis < n_objectives, "modpo.axis", self.axis, expected)
        wanted = {t: self._axis(t) for t in tradeoffs}
        mixed = [t for t in wanted if self._corner(t) is None]
        if self.margins == "scores":
            return self._placed("modpo", [
                self._mixed(t) if t in mixed else self._dpo(t, axis) for t, axis in wanted.items()
            ])  # fmt: skip
        experts = range(n_objectives) if mixed else sorted(set(wanted.values()))
        corners = [self._dpo(TradeOff.only(i, n_objectives), i) for i in experts]
        mixes = [*map(self._mixed, mixed)]
        return [*self._placed("experts", corners), *self._placed("modpo", mixes)]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        if self.backbone == "frozen":
            return steer_on_trunk(tradeoff, trained, self._id)
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (self._id(served),), (1.0,), served)

    def _placed(self, group: str, jobs: list[TrainingJob]) -> list[TrainingJob]:
        if self.backbone == "own":
            return jobs
        return on_trunk(jobs, group, self.head_rank, self.head_learning_rate)

    def _mixed(self, tradeoff: TradeOff) -> TrainingJob:
        axis = self._axis(tradeoff)
        margins = Margins((), (), self.is_calibrated)
        if self.margins == "policies":
            n = len(tradeoff)
            margins = Margins(tuple(f"expert-{i}" for i in range(n)), (self.beta,) * n, False)
        return TrainingJob(
            id=self._id(tradeoff),
            kind="pairwise",
            tradeoff=tradeoff,
            rows=partial(order_by_objective, index=axis),
            loss=partial(modpo_loss, beta=self.beta, weights=tradeoff.weights, axis=axis),
            margins=margins,
        )

    def _dpo(self, corner: TradeOff, axis: int) -> TrainingJob:
        """Word for word an expert of Rewarded Soups, so that one training serves both."""
        rows, loss = partial(order_by_objective, index=axis), partial(dpo_loss, beta=self.beta)
        return TrainingJob(self._id(corner), "pairwise", corner, rows, loss)

    def _id(self, tradeoff: TradeOff) -> str:
        corner = self._corner(tradeoff)
        is_expert = self.margins == "policies" and corner is not None
        return f"expert-{corner}" if is_expert else f"modpo-{tradeoff.slug}"

    @staticmethod
    def _corner(tradeoff: TradeOff) -> int | None:
        asked = [i for i, weight in enumerate(tradeoff.weights) if weight > 0]
        return asked[0] if len(asked) == 1 else None

    def _axis(self, tradeoff: TradeOff) -> int:
        """The objective whose labels order the pairs; the first of several as heavy."""
        if self.axis is None:
            return max(range(len(tradeoff)), key=lambda i: tradeoff.weights[i])
        if not tradeoff.weights[self.axis] > 0:
            raise ConfigError(
                f"modpo.axis: found objective {self.axis} without a weight in trade-off "
                f"{tradeoff.slug}, expected one in each, or no axis: the loss divides by it"
            )
        return self.axis


METHOD = MODPO
