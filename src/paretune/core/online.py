"""Online goals: the rewards of a policy's own replies, under a KL penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

Algorithm = Literal["rloo", "grpo"]
Aggregate = Literal["sum_then_normalize", "normalize_then_sum"]


@final
@dataclass(frozen=True)
class OnlineGoal:
    r"""What an online job maximizes, and how it estimates the gradient.

    Over policies, :math:`\max_\pi E[w \cdot z(x, y)] - \beta\,KL(\pi\|\pi_{ref})` with y drawn from
    the policy itself and the job's start as the reference.

    Args:
        weights: ``(M,)`` trade-off on the simplex.
        beta: strength of the KL penalty, > 0, in (standardized) rewards per nat of a whole reply.
        algorithm: ``rloo`` takes the mean of a reply's siblings off its penalized reward; ``grpo``
            divides what is left by their standard deviation, and so measures the penalty in it.
        aggregate: ``sum_then_normalize`` weighs rewards as they are; ``normalize_then_sum`` brings
            every objective to its deviation among the replies to a prompt first (``grpo`` only).
        prompts: asked a step and process, >= 1.
        generations: replies a prompt, >= 2.
        temperature: of the softmax, > 0; it belongs to the policy, which trains with it.
        top_p: nucleus mass in (0, 1]; below 1 the gradient is that of another policy than replies.
        is_standardized: z-scores by the statistics of the training rewards; otherwise raw rewards.
    """

    weights: tuple[float, ...]
    beta: float
    algorithm: Algorithm = "rloo"
    aggregate: Aggregate = "sum_then_normalize"
    prompts: int = 16
    generations: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    is_standardized: bool = True
