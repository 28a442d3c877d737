"""Closed forms: exact optima on tables, the ground truth that trained policies are held against."""

from __future__ import annotations

import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError


def kl_regularized_optimum(
    ref_logps: Tensor, rewards: Tensor, weights: Tensor, beta: float
) -> Tensor:
    r"""Best policy for one trade-off under a KL penalty, in closed form.

    Maximizes :math:`E_\pi[w \cdot r] - \beta\,KL(\pi \| \pi_{ref})` over all distributions. The
    optimum is :math:`\pi \propto \pi_{ref}\exp(w \cdot r / \beta)`, so no training is needed: this
    is the reference that trained tabular policies are compared with.

    Args:
        ref_logps: ``(S, A)`` log-probabilities of the reference policy, in nats; each row sums to
            1 after ``exp``.
        rewards: ``(S, A, M)``, larger is better for every objective, any unit.
        weights: ``(M,)`` trade-off on the simplex.
        beta: strength of the KL penalty, > 0, in reward units per nat.

    Returns:
        ``(S, A)`` log-probabilities of the optimum, in nats, dtype of ``rewards``.

    Raises:
        ShapeError: if the last dimension of ``rewards`` is not ``len(weights)``.
        InputError: if ``beta`` is not positive.

    Source:
        Rafailov et al. 2023, "Direct Preference Optimization", Eq. 4, with :math:`r = w \cdot r`.

    Example:
        >>> ref = torch.tensor([[0.5, 0.5]]).log()
        >>> rewards = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> even, lean = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
        >>> kl_regularized_optimum(ref, rewards, even, beta=1.0).exp()
        tensor([[0.5000, 0.5000]])
        >>> kl_regularized_optimum(ref, rewards, lean, beta=1.0).exp()
        tensor([[0.7311, 0.2689]])
    """
    if rewards.ndim != 3 or rewards.shape[-1:] != weights.shape:
        raise ShapeError(
            f"optimum: found rewards {tuple(rewards.shape)} and weights {tuple(weights.shape)}, "
            "expected (S, A, M) and (M,)"
        )
    return _tilt(ref_logps, rewards @ weights, beta)


def rewarded_clone(data_logps: Tensor, rewards: Tensor, strengths: Tensor) -> Tensor:
    r"""Policy with the largest weighted sum of reward-weighted likelihoods, in closed form.

    Maximizes :math:`\sum_j s_j E_D[r_j(x, y) \log \pi(y|x)]` over all distributions. The optimum
    is :math:`\pi \propto D \sum_j s_j r_j`: the data, imitated in proportion to a weighted sum of
    rewards. It has no chance where the data have none.

    Args:
        data_logps: ``(S, A)`` log-probabilities of the data, in nats.
        rewards: ``(S, A, M)`` >= 0, larger is better for every objective.
        strengths: ``(M,)`` > 0, any scale.

    Returns:
        ``(S, A)`` log-probabilities of the optimum, in nats.

    Raises:
        ShapeError: if the last dimension of ``rewards`` is not ``len(strengths)``.
        InputError: if a reward is negative, where more likelihood would be a loss without end.

    Source:
        Peters and Schaal 2007, "Reinforcement Learning by Reward-weighted Regression", with
        rewards as weights; the fixed points of HaM, arXiv:2412.05469, have this form.

    Example:
        >>> even = torch.tensor([[0.5, 0.5]]).log()
        >>> rewards = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
        >>> rewarded_clone(even, rewards, torch.tensor([3.0, 1.0])).exp()
        tensor([[0.6000, 0.4000]])
    """
    if rewards.shape[-1] != strengths.shape[-1]:
        raise ShapeError(
            f"rewards has {rewards.shape[-1]} objectives, strengths has {len(strengths)}"
        )
    if (rewards < 0).any():
        raise InputError(f"rewards: found {float(rewards.min()):g}, expected numbers >= 0")
    return torch.log_softmax(data_logps + (rewards @ strengths).log(), dim=-1)


def dpo_optimum(ref_logps: Tensor, rewards: Tensor, beta: float, slope: float) -> Tensor:
    r"""What DPO converges to when labels are drawn from rewards.

    If the first of two responses is labelled better with probability
    :math:`\sigma(s\,(r_1 - r_2))`, the minimum of the expected DPO loss over all policies is
    :math:`\pi \propto \pi_{ref}\exp(s\,r/\beta)`, provided that comparisons connect all actions of
    a prompt: DPO sees rewards in units of the label noise.

    Args:
        ref_logps: ``(S, A)`` log-probabilities of the reference policy, in nats.
        rewards: ``(S, A)`` the reward behind the labels.
        beta: strength of the KL penalty of the DPO loss, > 0.
        slope: :math:`s` > 0, label log-odds per unit of reward.

    Returns:
        ``(S, A)`` log-probabilities of the optimum, in nats.

    Raises:
        ShapeError: if the shapes differ.
        InputError: if ``beta`` or ``slope`` is not positive.

    Source:
        Rafailov et al. 2023, Eqs. 5 to 7, with the Bradley-Terry rewards scaled by ``slope``.

    Example:
        >>> ref, rewards = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.1, 0.0]])
        >>> dpo_optimum(ref, rewards, beta=1.0, slope=10.0).exp()
        tensor([[0.7311, 0.2689]])
    """
    if not slope > 0:
        raise InputError(f"optimum: found slope {slope}, expected > 0")
    return _tilt(ref_logps, rewards * slope, beta)


def expected_rewards(logps: Tensor, rewards: Tensor) -> Tensor:
    """Mean rewards of a tabular policy over evenly likely prompts.

    Args:
        logps: ``(S, A)`` log-probabilities, in nats.
        rewards: ``(S, A, M)``.

    Returns:
        ``(M,)`` in the units of the rewards.

    Raises:
        ShapeError: if the shapes do not agree.

    Example:
        >>> expected_rewards(torch.tensor([[0.25, 0.75]]).log(), torch.eye(2)[None])
        tensor([0.2500, 0.7500])
    """
    if rewards.ndim != 3 or rewards.shape[:2] != logps.shape:
        raise ShapeError(
            f"table: found log-probabilities {tuple(logps.shape)} and rewards "
            f"{tuple(rewards.shape)}, expected (S, A) and (S, A, M)"
        )
    return torch.einsum("sa,sam->m", logps.exp(), rewards) / len(logps)


def kl_divergence(logps: Tensor, other_logps: Tensor) -> Tensor:
    r""":math:`KL(\pi\|\pi')` of each prompt of a table.

    Args:
        logps: ``(S, A)`` log-probabilities of the policy, in nats.
        other_logps: ``(S, A)`` of the policy it is compared with.

    Returns:
        ``(S,)`` nats, >= 0; infinite where the other policy rules out an action that this one
        takes. Actions that this one never takes count 0.

    Example:
        >>> even, sure = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]).log()
        >>> kl_divergence(sure, even), kl_divergence(even, sure)
        (tensor([0.6931]), tensor([inf]))
    """
    terms = logps.exp() * (logps - other_logps)
    return torch.where(torch.isneginf(logps), torch.zeros_like(terms), terms).sum(-1)


def _tilt(ref_logps: Tensor, utility: Tensor, beta: float) -> Tensor:
    if not beta > 0:
        raise InputError(f"optimum: found beta {beta}, expected > 0")
    if ref_logps.shape != utility.shape:
        raise ShapeError(
            f"optimum: found {tuple(ref_logps.shape)} log-probabilities for "
            f"{tuple(utility.shape)} rewards, expected one each"
        )
    return torch.log_softmax(ref_logps + utility / beta, dim=-1)
