"""HaM: several heads that together hold the largest hypervolume of reward-weighted likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from paretune.core.job import Head, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.rewarded_likelihood import PolicyHypervolume
from paretune.functional.select import select_all
from paretune.functional.simplex import spread
from paretune.methods._fields import check, check_choices

_GROUP = "hypervolume"


@final
@dataclass(frozen=True)
class HaM(Method):
    r"""K policies on one backbone, spread over a front of likelihoods, without trade-offs.

    Every policy has M likelihoods of the training responses, each weighted with one objective's
    reward, and all policies together maximize the hypervolume of these K points. Learns from
    rewarded responses, not from pairs. Serves the head whose anchor is nearest to the trade-off.

    What holds: a head clones the data, response by response in proportion to a weighted sum of
    rewards in unit range, and the volume decides the weights. What does not: cloning cannot leave
    the data, so a reward of 1 is only as likely as it was in them; there is no strength to tune,
    and heads differ less than policies trained on preferences. The front of likelihoods is
    convex, so nothing is reached that weighted sums miss. Heads spread evenly over that front,
    not over the trade-offs.

    Source: HaM 2024. Deviations: the volume does not tell heads apart, so the first steps train
    the head of each trade-off on its weighted sum of likelihoods, a tenth towards the center, and
    a head answers for the trade-off that it began with; the map of likelihoods to [0, 1], which
    the source leaves unclear, comes from the training rewards alone; a head without a share in the
    volume is pulled to the front; running means of the likelihoods tell where on the front a step
    is. Heads stand where the loss left them: none is assigned by the rewards of its replies.

    Args:
        heads: K, >= 1: of the trade-offs so many, spread out; ``None`` for one each. The paper
            has 5.
        head: what heads do not share: ``lm_head``, an output layer each, or ``adapter``, a
            low-rank update of the shared one.
        head_rank: of the update, >= 1; not read with ``lm_head``.
        steps: optimizer steps of all heads together, >= 1; ``None`` takes the run's.
        warm_up: share of the steps on weighted sums, in [0, 1]; 1 spreads nothing.
        pull: weight of the distance to the front of heads that lack a share in it, >= 0.
        estimator: ``exact`` hypervolume, or ``monte_carlo`` along random directions.
        directions: how many of them, >= 1; not read with ``exact``.
        memory: share of the running means that a step keeps, in [0, 1).
    """

    heads: int | None = None
    head: Literal["lm_head", "adapter"] = "lm_head"
    head_rank: int = 16
    steps: int | None = None
    warm_up: float = 0.25
    pull: float = 1.0
    estimator: Literal["exact", "monte_carlo"] = "exact"
    directions: int = 1024
    memory: float = 0.9
    paper: ClassVar[str] = "arXiv:2412.05469"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        check_choices(self, "ham")
        for name in ("heads", "head_rank", "steps", "directions"):
            value = getattr(self, name)
            is_fine = value is None or value >= 1
            check(is_fine, f"ham.{name}", value, "an integer >= 1")
        check(0 <= self.warm_up <= 1, "ham.warm_up", self.warm_up, "a number in [0, 1]")
        check(0 <= self.pull < math.inf, "ham.pull", self.pull, "a finite number >= 0")
        check(0 <= self.memory < 1, "ham.memory", self.memory, "a number in [0, 1)")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if n_objectives < 2:
            raise ConfigError(
                f"ham: found {n_objectives} objective, expected at least 2: heads spread between "
                "objectives; sft and dpo learn one"
            )
        anchors = self._anchors(tradeoffs)
        loss = PolicyHypervolume(
            tuple(t.weights for t in anchors), self.warm_up, self.pull, self.estimator,
            self.directions, self.memory,
        )  # fmt: skip
        return [
            TrainingJob(
                id=_job_id(anchor),
                kind="rewarded",
                tradeoff=anchor,
                rows=select_all,
                step_loss=loss,
                settings={} if self.steps is None else {"steps": self.steps},
                group=_GROUP,
                head=Head(self.head, self.head_rank),
            )
            for anchor in anchors
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        served = nearest_tradeoff(tradeoff, self._anchors(trained))
        return Steering("pick", (_job_id(served),), (1.0,), served)

    def _anchors(self, tradeoffs: Sequence[TradeOff]) -> list[TradeOff]:
        known = list(dict.fromkeys(tradeoffs))
        if self.heads is None:
            return known
        expected = f"at most {len(known)}, the number of trade-offs"
        check(self.heads <= len(known), "ham.heads", self.heads, expected)
        return spread(known, self.heads)


def _job_id(anchor: TradeOff) -> str:
    return f"head-{anchor.slug}"


METHOD = HaM
