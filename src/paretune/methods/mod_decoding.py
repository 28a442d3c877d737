"""MOD: train one expert per objective, mix their next-token distributions while decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, final

from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.functional.f_dpo_loss import f_dpo_loss
from paretune.functional.losses import dpo_loss
from paretune.functional.pairing import order_by_objective
from paretune.methods._fields import check, check_choices


@final
@dataclass(frozen=True)
class ModDecoding(Method):
    r"""One expert per objective; the trade-off weighs their log-probabilities at every token.

    Each expert is optimal for its own reward under the penalty :math:`\beta D_f(\pi\|\pi_{ref})`.
    Then :math:`\pi = \pi_{ref}\,(f')^{-1}(\sum_i w_i f'(\pi_i/\pi_{ref}) - Z)`, with Z solved so
    that the probabilities sum to 1, is optimal for the weighted reward: for the reverse KL the
    normalized product :math:`\prod_i \pi_i^{w_i}`. Trains M models whatever the number of
    trade-offs; a reply costs a pass through every expert of positive weight, and through the
    reference where the divergence is not the reverse KL.

    What holds: the mixture of exact experts is exact for replies of one token, whatever policies
    can express. What does not: applied token by token it is not the optimum over whole replies,
    because the normalizers of the steps do not cancel; and it is as good as its experts are.

    Source: Shi et al. 2024. Deviations: Z is solved; the paper's closed forms, and its code, drop
    it and renormalize, which is exact for the reverse KL only (total variation to the optimum on a
    random table with beta .5: forward KL .33, JSD .57, alpha .28, Jeffrey .03; with Z rounding is
    left). The code also decodes JSD by the rule of the reverse KL and alpha without its factor
    1/alpha; this is not reproduced. Weights are those of the simplex.

    Args:
        beta: strength of the penalty of each expert, > 0.
        divergence: of the penalty. ``reverse_kl`` trains by DPO the same experts as Rewarded Soups,
            the others by f-DPO.
        alpha: parameter of ``alpha``, in (0, 1); must keep its default with others.
        normalizer: ``solved``, or ``dropped`` for the closed forms in print.
    """

    beta: float = 0.1
    divergence: Literal["reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey"] = "reverse_kl"
    alpha: float = 0.5
    normalizer: Literal["solved", "dropped"] = "solved"
    paper: ClassVar[str] = "arXiv:2406.18853"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        check_choices(self, "mod_decoding")
        is_fine = 0 < self.beta < math.inf
        check(is_fine, "mod_decoding.beta", self.beta, "a finite number > 0")
        check(0 < self.alpha < 1, "mod_decoding.alpha", self.alpha, "a number in (0, 1)")
        is_fine = self.divergence == "alpha" or self.alpha == ModDecoding.alpha
        expected = f"the default {ModDecoding.alpha} (not read with {self.divergence!r})"
        check(is_fine, "mod_decoding.alpha", self.alpha, expected)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [
            TrainingJob(
                id=f"expert-{i}",
                kind="pairwise",
                tradeoff=TradeOff.only(i, n_objectives),
                rows=partial(order_by_objective, index=i),
                loss=self._loss(),
            )
            for i in range(n_objectives)
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering(
            "mix",
            tuple(f"expert-{i}" for i in range(len(tradeoff))),
            tradeoff.weights,
            tradeoff,
            divergence=self.divergence,
            alpha=self.alpha,
            is_normalized=self.normalizer == "solved",
        )

    def _loss(self) -> Any:
        # By name the loss of Rewarded Soups, so that runs train the experts once for both.
        if self.divergence == "reverse_kl":
            return partial(dpo_loss, beta=self.beta)
        if self.divergence == "alpha":
            return partial(f_dpo_loss, beta=self.beta, divergence=self.divergence, alpha=self.alpha)
        return partial(f_dpo_loss, beta=self.beta, divergence=self.divergence)


METHOD = ModDecoding
