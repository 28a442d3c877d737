"""Few-shot preference optimization: one policy that reads its user's taste from the prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

from paretune.core.job import BASE, Shown, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.functional.build_scalarizer import ScalarizerName, build_scalarizer
from paretune.functional.pairing import keep_every
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.select import select_first
from paretune.methods._fields import check, check_choices

_START, _POLICY = "warm-start", "policy"


@final
@dataclass(frozen=True)
class FSPO(Method):
    """Multi-objective FSPO: prompts show a few preference pairs, the policy answers in their taste.

    Users are drawn with a trade-off each; every training prompt shows pairs that its user has
    ordered, and the losses of the objectives are scalarized with that user's weights. The policy
    serves any trade-off without training: stored comparisons, labelled by the trade-off, are its
    shots. Users who bring pairs of their own are served the same way.

    Args:
        scalarizer: as for ``scalarized_dpo``.
        options: of the scalarizer, by name.
        loss: of each objective: ``sigmoid``, ``ipo`` or ``soft``.
        beta: slope of the margin, > 0.
        is_length_normalized: log-ratios a token; the paper's choice, with a ``beta`` near 5.
        shots: fewest and most pairs that a training prompt shows.
        served_shots: pairs that a prompt shows when a trade-off is served.
        description: of the user in words: ``none``, ``given`` in the prompt, or ``generate``: the
            policy writes it before it answers.
        description_weight: of the likelihood of the description beside the loss of the answers, >=
            0; read with ``generate`` only.
        layout: of the shots: ``inline`` or ``dialogue``.
        shows_weights: also write the trade-off in numbers.
        max_prompt_tokens: whole shots are dropped, oldest first, until a prompt fits.
        min_gap: a pair that its user rates closer than this tells little and is not shown, in
            [0, 1].
        users: training users that are drawn, >= 1; a tenth as many are drawn for validation.
        pairs_per_user: comparisons each user is asked, >= 2: one asks, others are shown.
        utility: how users rate: ``linear`` or ``chebyshev``.
        epochs: visits of every comparison, each with shots of its own, >= 1.
        warm_start_steps: of imitation of chosen responses under the same prompts, before the
            preferences: a base that never saw shots has to learn to read them; 0 = none.
    """

    scalarizer: ScalarizerName = "linear"
    options: Mapping[str, float | str] = field(default_factory=dict)
    loss: Literal["sigmoid", "ipo", "soft"] = "sigmoid"
    beta: float = 5.0
    is_length_normalized: bool = True
    shots: tuple[int, ...] = (4, 4)
    served_shots: int = 4
    description: Literal["none", "given", "generate"] = "none"
    description_weight: float = 0.1
    layout: Literal["inline", "dialogue"] = "inline"
    shows_weights: bool = False
    max_prompt_tokens: int = 4096
    min_gap: float = 0.05
    users: int = 400
    pairs_per_user: int = 16
    utility: Literal["linear", "chebyshev"] = "linear"
    epochs: int = 3
    warm_start_steps: int = 0
    paper: ClassVar[str] = "arXiv:2502.19312"
    needs: ClassVar[tuple[Needs, ...]] = ("pairs", "scores")

    def __post_init__(self) -> None:
        check_choices(self, "fspo")
        check(0 < self.beta < math.inf, "fspo.beta", self.beta, "a finite number > 0")
        check(len(self.shots) == 2, "fspo.shots", self.shots, "[fewest, most]")
        check(self.served_shots >= 0, "fspo.served_shots", self.served_shots, "at least 0")
        check(self.users >= 1, "fspo.users", self.users, "at least 1")
        check(self.pairs_per_user >= 2, "fspo.pairs_per_user", self.pairs_per_user, "at least 2")
        tokens = self.max_prompt_tokens
        check(tokens >= 1, "fspo.max_prompt_tokens", tokens, "at least 1")
        check(0 <= self.min_gap <= 1, "fspo.min_gap", self.min_gap, "0 to 1")
        check(self.epochs >= 1, "fspo.epochs", self.epochs, "at least 1")
        check(
            self.warm_start_steps >= 0, "fspo.warm_start_steps", self.warm_start_steps, "at least 0"
        )
        weight = self.description_weight
        check(0 <= weight < math.inf, "fspo.description_weight", weight, "a finite number >= 0")
        self._prompts(self.shots)
        is_alone = not self._loss().scalarizer.is_joint
        check(is_alone, "fspo.scalarizer", self.scalarizer, "one for a single policy")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        even, start = TradeOff.even(n_objectives), BASE
        jobs = []
        if self.warm_start_steps:
            start = _START
            settings = {"steps": self.warm_start_steps}
            source = self._source(BASE)
            jobs.append(
                TrainingJob(_START, "sft", even, select_first, source=source, settings=settings)
            )
        loss, source = self._loss(), self._source(start)
        settings = {"epochs": 1.0}
        jobs.append(
            TrainingJob(
                _POLICY, "pairwise", even, keep_every, step_loss=loss, source=source, start=start,
                settings=settings,
            )
        )  # fmt: skip
        return jobs

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        shots = self._prompts((self.served_shots, self.served_shots))
        return Steering(
            "condition", (_POLICY,), (1.0,), tradeoff, utility=self.utility, shots=shots
        )

    def _source(self, reference: str) -> Shown:
        weight = self.description_weight if self.description == "generate" else 0.0
        return Shown(
            self._prompts(self.shots), self.users, self.pairs_per_user, self.epochs, self.utility,
            reference, weight,
        )  # fmt: skip

    def _prompts(self, shots: tuple[int, ...]) -> FewShot:
        return FewShot(
            (shots[0], shots[1]), self.description, self.layout, self.shows_weights,
            self.max_prompt_tokens, self.min_gap,
        )  # fmt: skip

    def _loss(self) -> ScalarizedLoss:
        return ScalarizedLoss(
            build_scalarizer(self.scalarizer, self.options), None, self.loss, self.beta,
            self.is_length_normalized,
        )  # fmt: skip


METHOD = FSPO
