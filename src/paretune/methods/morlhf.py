"""MORLHF: reinforcement learning on the weighted rewards of a policy's own replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.online import Aggregate, Algorithm, OnlineGoal
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.methods._fields import check, check_choices


@final
@dataclass(frozen=True)
class MORLHF(Method):
    r"""Online reinforcement learning on weighted rewards, one policy a trade-off.

    Maximizes :math:`E[w \cdot z(x, y)] - \beta\,KL(\pi\|\pi_{ref})` over replies y that the policy
    draws itself, so rewards must be able to score new text. Replies are rewarded in z-scores of
    the training rewards. Serves the nearest trained trade-off.

    What holds: with ``rloo`` the best policy is the closed form
    :math:`\pi_{ref}\exp(w \cdot z/\beta)`, as for every method that weighs rewards linearly: a
    small penalty gives corners, and the non-convex part of a front of single replies is out of
    reach. What does not: ``grpo`` divides by the deviation of a prompt's replies, which shrinks as
    the policy settles, so its penalty fades and it ends nearer to a corner; with
    ``normalize_then_sum`` the rewards themselves are those of the present policy. Neither has an
    objective of its own, and nothing is claimed of them on a table.

    Source: as a baseline, Yang et al. 2024 (its code) and Ramé et al. 2023: PPO at learning rate
    1e-5, 64 replies a step, 4 passes over each, clipping 0.2, KL coefficient 0.2 adapted to a
    target of 3 nats a reply, gradient norm 0.5, temperature 0.7, raw rewards. Deviations: RLOO
    (Ahmadian et al. 2024) or GRPO (Shao et al. 2024; per-objective normalization: Liu et al. 2026)
    without a value model in place of PPO, one pass, a constant ``beta``, temperature 1 so that
    what is penalized is what is served, and z-scores so that weights and ``beta`` mean the same
    in every unit.

    Args:
        beta: strength of the KL penalty, > 0, in z-scores (or raw rewards) per nat of a reply.
        algorithm: ``rloo`` follows the objective; ``grpo`` scales each prompt's advantages.
        aggregate: ``sum_then_normalize`` weighs rewards as they are; ``normalize_then_sum`` brings
            each objective to its deviation among the replies to a prompt first, so that an
            objective that hardly varies counts as much (``grpo`` only).
        steps: optimizer steps, >= 1; 200 to 400 for models of billions of parameters.
        prompts: asked a step and process, >= 1.
        generations: replies a prompt, >= 2; their product is the batch size.
        learning_rate: peak, > 0; ``None`` takes the run's. Small models, fully fine-tuned,
            learn fastest at 5e-4 to 1e-3; adapters of large ones want 1e-5.
        temperature: of the sampling, > 0; the policy trains, and should be served, at it.
        top_p: nucleus mass in (0, 1]; below 1 replies come from another policy than trains.
        is_standardized: z-scores; otherwise raw rewards, as the source's code.
    """

    beta: float = 0.05
    algorithm: Algorithm = "rloo"
    aggregate: Aggregate = "sum_then_normalize"
    steps: int = 40
    prompts: int = 16
    generations: int = 8
    learning_rate: float | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    is_standardized: bool = True
    paper: ClassVar[str] = "arXiv:2402.10207"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        at = "morlhf."
        check_choices(self, "morlhf")
        check(
            self.algorithm == "grpo" or self.aggregate == "sum_then_normalize",
            at + "aggregate", self.aggregate,
            f"'sum_then_normalize' (algorithm {self.algorithm!r} knows no other)",
        )  # fmt: skip
        for name in ("beta", "temperature"):
            value = getattr(self, name)
            check(0 < value < math.inf, at + name, value, "a finite number > 0")
        rate = self.learning_rate
        check(rate is None or 0 < rate < math.inf, at + "learning_rate", rate, "a number > 0")
        for name, least in (("steps", 1), ("prompts", 1), ("generations", 2)):
            value = getattr(self, name)
            check(value >= least, at + name, value, f"a whole number >= {least}")
        check(0 < self.top_p <= 1, at + "top_p", self.top_p, "a number in (0, 1]")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        settings: dict[str, float | int | str] = {
            "steps": self.steps,
            "batch_size": self.prompts * self.generations,
        }
        if self.learning_rate is not None:
            settings["learning_rate"] = self.learning_rate
        return [
            TrainingJob(
                id=f"policy-{t.slug}",
                kind="online",
                tradeoff=t,
                online=self._goal(t),
                settings=settings,
            )
            for t in dict.fromkeys(tradeoffs)
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (f"policy-{served.slug}",), (1.0,), served)

    def _goal(self, tradeoff: TradeOff) -> OnlineGoal:
        return OnlineGoal(
            weights=tradeoff.weights,
            beta=self.beta,
            algorithm=self.algorithm,
            aggregate=self.aggregate,
            prompts=self.prompts,
            generations=self.generations,
            temperature=self.temperature,
            top_p=self.top_p,
            is_standardized=self.is_standardized,
        )


METHOD = MORLHF
