"""Tables with a known answer: small problems on which every policy can be computed exactly."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.closed_form import kl_regularized_optimum


@final
@dataclass(frozen=True)
class TabularProblem:
    """Contexts, actions, their rewards and a reference policy.

    Args:
        objectives: names of the M axes.
        rewards: ``(S, A, M)`` float64, every cell known.
        ref_logps: ``(S, A)`` float64 log-probabilities of the reference, in nats; finite.
    """

    objectives: Objectives
    rewards: Tensor
    ref_logps: Tensor

    @property
    def action_of(self) -> npt.NDArray[np.int64]:
        """``(S * A,)`` action of each row of :meth:`data`."""
        n_contexts, n_actions = self.ref_logps.shape
        return np.tile(np.arange(n_actions, dtype=np.int64), n_contexts)

    def data(self, slope: float | None = None) -> PreferenceData:
        r"""Every cell as a response; with ``slope``, every comparison in exact proportion.

        Each two actions of a context appear once for each way to label them, counted by its
        probability: objective i prefers the first with probability :math:`\sigma(\text{slope}\,
        \Delta r_i)`, independently of the others. A mean over these comparisons is an expectation
        over Bradley-Terry labels, without noise.

        Args:
            slope: label log-odds per unit of reward, > 0; ``None`` for no comparisons.

        Returns:
            ``S * A`` responses and ``S * A (A - 1) / 2 * 2^M`` comparisons; their multiplicities
            sum to 1 for each two actions.

        Raises:
            ConfigError: if ``slope`` is not positive.
        """
        n_contexts, n_actions, n_objectives = self.rewards.shape
        values = self.rewards.reshape(-1, n_objectives).numpy()
        first = second = np.zeros(0, dtype=np.int64)
        labels, counts = np.zeros((0, n_objectives)), np.zeros(0)
        if slope is not None:
            if not slope > 0:
                raise ConfigError(f"table: found slope {slope}, expected a number > 0")
            a, b = np.triu_indices(n_actions, k=1)
            offset = np.arange(n_contexts)[:, None] * n_actions
            ways = np.array(list(itertools.product((1.0, -1.0), repeat=n_objectives)))
            first = np.repeat((offset + a).ravel(), len(ways))
            second = np.repeat((offset + b).ravel(), len(ways))
            labels = np.tile(ways, (len(first) // len(ways), 1))
            margins = values[first] - values[second]
            counts = (1 / (1 + np.exp(-slope * labels * margins))).prod(axis=1)
        return PreferenceData(
            prompts=tuple(f"context {s}" for s in range(n_contexts)),
            texts=tuple(f"action {a}" for a in self.action_of),
            prompt_of=np.repeat(np.arange(n_contexts, dtype=np.int64), n_actions),
            rewards=RewardMatrix(self.objectives, values),
            first=first,
            second=second,
            labels=labels,
            multiplicity=counts,
        )

    def optimum(self, tradeoff: TradeOff, beta: float) -> Tensor:
        """``(S, A)`` log-probabilities of the best policy under a KL penalty, in closed form."""
        weights = torch.as_tensor(tradeoff.array)
        return kl_regularized_optimum(self.ref_logps, self.rewards, weights, beta)


def random_problem(
    n_contexts: int = 3, n_actions: int = 6, n_objectives: int = 2, seed: int = 0
) -> TabularProblem:
    """Standard normal rewards and a random reference; no structure to exploit.

    Args:
        n_contexts: S, >= 1.
        n_actions: A, >= 2.
        n_objectives: M, >= 1.
        seed: of rewards and reference.

    Example:
        >>> random_problem(n_objectives=3).rewards.shape
        torch.Size([3, 6, 3])
    """
    generator = np.random.default_rng(seed)
    rewards = generator.normal(size=(n_contexts, n_actions, n_objectives))
    logits = torch.as_tensor(generator.normal(size=(n_contexts, n_actions)))
    return TabularProblem(
        Objectives(tuple(f"objective_{i}" for i in range(n_objectives))),
        torch.as_tensor(rewards),
        torch.log_softmax(logits, dim=-1),
    )


def front_problem(
    shape: Literal["convex", "nonconvex"], n_actions: int = 2000, seed: int = 0
) -> TabularProblem:
    r"""One context, two objectives, and a cloud of actions below a front of single actions.

    The front is :math:`(x^p, (1-x)^p)` with :math:`p = 1/2` (convex attainable set: the quarter
    circle) or :math:`p = 2` (a dent); an action lies at a share of it that is uniform in [0, 1].
    The reference is uniform.

    Args:
        shape: of the front.
        n_actions: A, >= 2.
        seed: of the cloud.

    Example:
        >>> bool((front_problem("convex").rewards ** 2).sum(-1).max() <= 1)
        True
    """
    power = {"convex": 0.5, "nonconvex": 2.0}[shape]
    generator = np.random.default_rng(seed)
    x, share = generator.random((2, n_actions))
    rewards = share[:, None] * np.stack([x**power, (1 - x) ** power], axis=1)
    return TabularProblem(
        Objectives.of("left", "right"),
        torch.as_tensor(rewards[None]),
        torch.full((1, n_actions), -np.log(n_actions), dtype=torch.float64),
    )
