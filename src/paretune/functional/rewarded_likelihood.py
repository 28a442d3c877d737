"""Reward-weighted likelihoods of several policies, and the loss that spreads them over a front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError
from paretune.functional.indicators import require_points
from paretune.functional.policy_hypervolume import (
    hypervolume_pull,
    policy_hypervolume,
    positive_directions,
    sampled_hypervolume,
)
from paretune.functional.ranges import require_number, require_word

Floats = npt.NDArray[np.float64]

_INSIDE = 0.1
"""Share of the even trade-off in every anchor: a policy that forgot one objective for good would
have a likelihood of minus infinity there, and so would the range."""

_BELOW = 0.1
"""Of the range, that the reference point lies below the worst anchor, so that ends count too."""


@final
@dataclass(frozen=True)
class Calibration:
    """What likelihoods are weighed with, and the frozen range that maps them to [0, 1].

    Args:
        weights: ``(N, M)`` >= 0, rewards in unit range over their mean: 1 on average.
        low: ``(M,)`` gain that maps to 0, <= 0, nats a response above the data's own distribution.
        high: ``(M,)`` gain that maps to 1.
    """

    weights: Floats
    low: Floats
    high: Floats

    def center(self, anchors: npt.ArrayLike) -> Floats:
        """``(M,)`` mean gain of the policies that weighted sums with anchors ``(K, M)`` lead to."""
        strengths = inside(anchors) / (self.high - self.low)
        center: Floats = clone_gains(self.weights, strengths).mean(0)
        return center


def calibrate(rewards: npt.ArrayLike) -> Calibration:
    r"""Weights and range of the likelihoods, from training rewards alone.

    Unit rewards :math:`u_j = (r_j - \min r_j) / (\max r_j - \min r_j)` are >= 0, and
    :math:`q_j = D\,u_j / E_D[u_j]` is the distribution that objective j wants to imitate. The
    policy with the largest weighted sum of likelihoods :math:`\sum_j w_j E_{q_j}[\log\pi]` is
    :math:`\pi_w = \sum_j w_j q_j`, so what policies near the corners reach is known before
    anything is trained: ``high`` is the best and ``low`` the worst of
    :math:`E_{q_j}[\log \pi_w / D]` over the M trade-offs that lie a tenth from a corner towards
    the center, and not above 0, the data themselves. The reference point lies another tenth of the
    range lower.

    Args:
        rewards: ``(N, M)``, larger is better, any unit.

    Returns:
        The calibration, weights in the order of the rows.

    Raises:
        ShapeError: if there is no row; NotScoredError: if a cell is NaN.
        InputError: if an objective rewards all rows alike.

    Source:
        Ours: the paper maps likelihoods to [0, 1] in a way that could not be read. Rows are taken
        as draws from one distribution: where prompts hold few responses each, policies reach less
        of the range.

    Example:
        >>> found = calibrate([[0.0, 3.0], [4.0, 1.0]])
        >>> found.weights.tolist()
        [[0.0, 2.0], [2.0, 0.0]]
        >>> (found.low.round(2).tolist(), found.high.round(2).tolist())
        ([-2.6, -2.6], [0.64, 0.64])
    """
    values = require_points(rewards, "rewards")
    bottom, spread = values.min(0), np.ptp(values, axis=0)
    if not (spread > 0).all():
        column = int(np.flatnonzero(spread == 0)[0])
        raise InputError(
            f"rewards: found {bottom[column]:g} for all {len(values)} responses on objective "
            f"{column}, expected different ones: likelihoods are weighed with them"
        )
    unit = (values - bottom) / spread
    weights = unit / unit.mean(0)
    gains = clone_gains(weights, inside(np.eye(values.shape[1])))
    high = gains.max(0)
    low = np.minimum(gains.min(0), 0.0)
    return Calibration(weights, low - _BELOW * (high - low), high)


def clone_gains(weights: Floats, strengths: npt.ArrayLike) -> Floats:
    r"""Gains of policies :math:`\propto \sum_j s_{kj} q_j` above the data's own distribution.

    Args:
        weights: ``(N, M)`` of a :class:`Calibration`.
        strengths: ``(K, M)`` > 0.

    Returns:
        ``(K, M)`` nats a response.

    Example:
        >>> weights = np.array([[0.0, 2.0], [2.0, 0.0]])
        >>> clone_gains(weights, [[3.0, 1.0]]).round(3).tolist()  # log 1.5 and log 0.5
        [[0.405, -0.693]]
    """
    shares = np.asarray(strengths, dtype=np.float64)
    ratios = weights @ (shares / shares.sum(-1, keepdims=True)).T  # (N, K) over the density of D.
    logs = np.log(np.where(ratios > 0, ratios, 1.0))
    gains: Floats = logs.T @ weights / len(weights)
    return gains


def inside(anchors: npt.ArrayLike) -> Floats:
    """Trade-offs moved a tenth of the way to the center, ``(K, M)``.

    Example:
        >>> inside([[1.0, 0.0], [0.5, 0.5]]).round(9).tolist()
        [[0.95, 0.05], [0.5, 0.5]]
    """
    weights = np.asarray(anchors, dtype=np.float64)
    moved: Floats = (1 - _INSIDE) * weights + _INSIDE / weights.shape[-1]
    return moved


@final
@dataclass(frozen=True)
class LikelihoodBatch:
    """Log-probabilities of B responses under K policies and the reference, in nats.

    Args:
        logps: ``(K, B)`` sum of log pi over the tokens of each response.
        ref_logps: ``(B,)`` under the reference policy, no gradient.
        weights: ``(B, M)`` of a :class:`Calibration`.
        low: ``(M,)`` gain that maps to 0.
        high: ``(M,)`` gain that maps to 1.
        progress: share of the training that is done, in [0, 1].
        running: ``(K, M)`` running mean of the gains so far; ``None`` = the batch is all there is.
        center: ``(M,)`` gain above the data's own distribution that the policies have in the mean,
            where ``low`` and ``high`` count from there too; ``None`` = they count from the
            reference. How far the reference is from the data nobody can tell beforehand, and on the
            way there all policies gain alike.
    """

    logps: Tensor
    ref_logps: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor
    progress: float = 1.0
    running: Tensor | None = None
    center: Tensor | None = None

    @property
    def gains(self) -> Tensor:
        r"""``(K, M)`` weighted likelihood above that of the reference, nats a response.

        :math:`E_D[u_j(x, y) \log\frac{\pi_k(y|x)}{\pi_{ref}(y|x)}] / E_D[u_j]`: of the two terms
        the one of the reference is constant, and takes away what is easy or hard about a batch.
        """
        log_ratios = self.logps - self.ref_logps
        return log_ratios @ self.weights / len(self.ref_logps)


@final
@dataclass(frozen=True)
class PolicyHypervolume:
    r"""Minus the hypervolume of the mapped likelihoods of K policies.

    The first steps minimize :math:`-\sum_k a_k \cdot \bar L(\theta_k)` with the anchor
    :math:`a_k` of each policy: the volume is the same for every order of the policies, and
    without a share for copies, so that only their start can tell them apart. What the weighted
    sums converge to is reward-weighted cloning of the data, with :math:`q_j` and the range of
    :func:`calibrate`,

    .. math:: \pi_k \propto \sum_j \frac{a_{kj}}{h_j - l_j}\,q_j

    and the volume leads to the same form with weights that the other policies decide.

    Args:
        anchors: K trade-offs.
        warm_up: share of the training on weighted sums, in [0, 1].
        pull: weight of :func:`~paretune.functional.policy_hypervolume.hypervolume_pull`, >= 0.
        estimator: ``exact``, or ``monte_carlo`` along random directions.
        directions: of ``monte_carlo``, >= 1.
        memory: share of the running mean of gains that a step keeps, in [0, 1). The gradient is
            that of the step's own responses, at the place that the running mean tells: few
            responses cannot tell which policy dominates which.

    Raises:
        ConfigError: for a field out of range.

    Source:
        HaM, arXiv:2412.05469: likelihoods weighted with rewards, joint hypervolume. Deviations:
        anchors, pull and running means are ours, so is the map to [0, 1], whose place follows the
        center of the policies.

    Example:
        Two policies reach a half of one objective's range and a quarter of the other's.

        >>> logps, zero = torch.tensor([[1.0, 0.5], [0.5, 1.0]]), torch.zeros(2)
        >>> batch = LikelihoodBatch(logps, zero, 2 * torch.eye(2), zero, zero + 2)
        >>> loss = PolicyHypervolume(anchors=((1.0, 0.0), (0.0, 1.0)), warm_up=0.0)
        >>> float(loss(batch))
        -0.1875
    """

    anchors: tuple[tuple[float, ...], ...]
    warm_up: float = 0.25
    pull: float = 1.0
    estimator: Literal["exact", "monte_carlo"] = "exact"
    directions: int = 1024
    memory: float = 0.9

    def __post_init__(self) -> None:
        for name in ("warm_up", "pull", "memory"):
            require_number(self, name, at_least=0)
        require_number(self, "warm_up", below=1 + 1e-9)
        require_number(self, "memory", below=1)
        require_number(self, "directions", at_least=1)
        require_word(self, "estimator", ("exact", "monte_carlo"))

    @property
    def stages(self) -> tuple[float, ...]:
        """What the progress is, one after the other, where each part is trained to its end."""
        return (0.0,) * (self.warm_up > 0) + (1.0,) * (self.warm_up < 1)

    def __call__(self, batch: LikelihoodBatch) -> Tensor:
        """The loss of all policies, a scalar.

        Raises:
            ShapeError: if there are not as many policies as anchors.
        """
        if (len(batch.logps), batch.weights.shape[1]) != np.shape(self.anchors):
            raise ShapeError(
                f"rewarded: found {len(batch.logps)} policies and {batch.weights.shape[1]} "
                f"objectives, expected {np.shape(self.anchors)} as the anchors"
            )
        points = self.points(batch)
        if batch.progress < self.warm_up:
            anchors = torch.from_numpy(inside(self.anchors)).to(points)
            return -(anchors * points).sum()
        return self.pull * hypervolume_pull(points) - self.volume(points)

    def points(self, batch: LikelihoodBatch) -> Tensor:
        """``(K, M)`` likelihoods mapped by the range, where the running mean is."""
        gains = batch.gains
        if batch.running is not None:
            place = self.remember(batch.running.to(gains), gains.detach())
            gains = place + (gains - gains.detach())
        if batch.center is not None:
            gains = gains - (gains.detach().mean(0) - batch.center)
        return (gains - batch.low) / (batch.high - batch.low)

    def volume(self, points: Tensor) -> Tensor:
        """Hypervolume of ``(K, M)`` points, by the estimator."""
        if self.estimator == "exact":
            return policy_hypervolume(points)
        return sampled_hypervolume(points, positive_directions(self.directions, points.shape[1]))

    def remember(self, running: Tensor, gains: Tensor) -> Tensor:
        """``(K, M)`` the running mean after a step with these gains."""
        return self.memory * running + (1 - self.memory) * gains
