"""Online goals on a table: the expected rewards of a policy's own replies, without sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from paretune.core.online import OnlineGoal
from paretune.errors import InputError, RunError, ShapeError

_STEPS = 200
"""Each halves what is left, so that double precision ends after about sixty."""

_SETTLED = 1e-12
"""Largest change of a log-probability in a step that counts as none, of the largest one.

Not of a probability: those of actions that are hardly taken yet stand still at first."""


def online_policy(goal: OnlineGoal, rewards: Tensor, reference: Tensor, name: str) -> Tensor:
    r"""The policy that maximizes an online goal, by exact natural gradient ascent.

    The gradient of :math:`E_\pi[w \cdot r] - \beta\,KL(\pi\|\pi_{ref})` in the log-probabilities,
    in the geometry of policies, is the advantage of each action
    :math:`w \cdot r - \beta(\log\pi - \log\pi_{ref})` less its mean; a step of
    :math:`1/(2\beta)` along it halves the distance to the optimum. The plain gradient vanishes
    wherever a policy is nearly sure, right or wrong, and gets stuck there.

    Args:
        goal: with ``rloo``; ``grpo`` scales by the deviation of the present policy's replies.
        rewards: ``(S, A, M)``, standardized where the goal asks for it.
        reference: ``(S, A)`` log-probabilities of the start, in nats.
        name: of the job, for messages.

    Returns:
        ``(S, A)`` log-probabilities, in nats.

    Raises:
        InputError: for ``grpo``, which has no objective that a table could be held against.
        ShapeError: if there is not one weight an objective.
        RunError: if it does not converge.

    Source:
        Cen et al. 2022, "Fast Global Convergence of Natural Policy Gradient Methods with Entropy
        Regularization", Eq. 11 for one step of interaction and a reference that is not uniform.

    Example:
        >>> goal = OnlineGoal((0.5, 0.5), beta=0.5)
        >>> rewards = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]).double()
        >>> even = torch.tensor([[0.5, 0.5]]).double().log()
        >>> online_policy(goal, rewards, even, "a job").exp()
        tensor([[0.7311, 0.2689]], dtype=torch.float64)
    """
    if goal.algorithm != "rloo":
        raise InputError(
            f"job {name!r}: found algorithm {goal.algorithm!r}, expected 'rloo' on a table: "
            "advantages in units of the present policy's deviation have no objective"
        )
    if rewards.ndim != 3 or rewards.shape[-1] != len(goal.weights):
        raise ShapeError(
            f"job {name!r}: found rewards {tuple(rewards.shape)}, expected "
            f"(S, A, {len(goal.weights)})"
        )
    utility = rewards @ torch.tensor(goal.weights, dtype=rewards.dtype)
    logps = reference
    for _ in range(_STEPS):
        advantages = utility - goal.beta * (logps - reference)
        stepped = torch.log_softmax(logps + advantages / (2 * goal.beta), dim=-1)
        change, largest = (float(x.abs().max()) for x in (stepped - logps, stepped))
        logps = stepped
        if change <= _SETTLED * max(1.0, largest):
            return logps
    raise RunError(
        f"job {name!r}: found a log-probability that still changes by {change:.1e} after {_STEPS} "
        "steps, expected the natural gradient to vanish"
    )
