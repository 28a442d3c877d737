r"""Weights of entries: how much each response of a batch is imitated, and how much it counts.

A batch holds E entries, responses with their preference probabilities. Entries of one ``group``
(a prompt, a comparison, a context) compete for probability, and a ``base`` says how much each
counts. An exact table and a language model fill these arrays alike; see
:mod:`paretune.functional.multipliers` for the order of a step.

Everything is float64 and detached. Leading dimensions (``...``) are independent runs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError


def clipped_log_ratios(logps: Tensor, ref_logps: Tensor, clip: float = 5.0) -> Tensor:
    """Log importance ratios of responses that one policy drew and another is to weigh.

    Args:
        logps: ``(..., E)`` log-probabilities under the policy that weighs, in nats, summed over
            the tokens of a response.
        ref_logps: ``(..., E)`` under the policy that drew.
        clip: largest absolute value, > 0 nats; without it one long response outweighs a batch.

    Returns:
        ``(..., E)`` in [-clip, clip].

    Example:
        >>> clipped_log_ratios(torch.tensor([-1.0, -9.0]), torch.tensor([-2.0, -1.0]))
        tensor([ 1., -5.])
    """
    return torch.clamp((logps - ref_logps).detach(), -clip, clip)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""How many equally weighted entries say as much, :math:`(\sum w)^2 / \sum w^2`.

    Args:
        log_weights: ``(..., E)``, on any scale; ``-inf`` for none.

    Returns:
        ``(...)`` in [1, E].

    Example:
        >>> effective_sample_size(torch.tensor([0.5, 0.25, 0.25]).log())
        tensor(2.6667)
    """
    total = torch.logsumexp(log_weights, dim=-1)
    return (2 * total - torch.logsumexp(2 * log_weights, dim=-1)).exp()


def log_base(group: Tensor, log_ratios: Tensor | None = None) -> Tensor:
    r"""How much each entry of a batch counts: groups alike, entries of a group by their ratio.

    Args:
        group: ``(E,)`` int64 group of each entry, 0 to G - 1, each present.
        log_ratios: ``(..., E)`` log importance ratios, in nats; ``None`` for a batch that the
            reference itself drew.

    Returns:
        ``(..., E)`` float64 log-probabilities: the sum over a group is 1/G.

    Example:
        >>> log_base(torch.tensor([0, 0, 1])).exp()
        tensor([0.2500, 0.2500, 0.5000], dtype=torch.float64)
    """
    if log_ratios is None:
        log_ratios = torch.zeros(len(group), dtype=torch.float64, device=group.device)
    ratios = log_ratios.detach().double()
    totals = _group_logsumexp(ratios, group)
    return ratios - totals[..., group] - math.log(totals.shape[-1])


def constrained_scores(
    primary: Tensor, secondary: Tensor, multipliers: Tensor, adversary: Tensor | None = None
) -> Tensor:
    r"""What the weights grow with: :math:`s = p + \sum_i \lambda_i r_i q_i`.

    Args:
        primary: ``(..., E)`` preference probability of each entry on the primary objective.
        secondary: ``(..., E, C)`` on the C objectives that have a floor.
        multipliers: ``(..., C)``, >= 0.
        adversary: ``(..., E, C)`` weights :math:`r` of the robust bound; ``None`` for 1.

    Returns:
        ``(..., E)``.

    Example:
        >>> p, q = torch.tensor([1.0, 0.5]), torch.tensor([[0.5], [1.0]])
        >>> constrained_scores(p, q, torch.tensor([2.0]))
        tensor([2.0000, 2.5000])
    """
    if secondary.shape[-1] != multipliers.shape[-1]:
        raise ShapeError(
            f"scores: found {secondary.shape[-1]} secondary objectives and "
            f"{multipliers.shape[-1]} multipliers, expected one each"
        )
    weighed = secondary if adversary is None else secondary * adversary
    return primary + (weighed * multipliers[..., None, :]).sum(-1)


def log_weights(scores: Tensor, tau: float, group: Tensor, base: Tensor | None = None) -> Tensor:
    r"""Log-weights of the constrained optimum over the reference, normalized in each group.

    :math:`\log w = s/\tau - \log E_{m}[e^{s/\tau}|x]`, so that the mean of :math:`w` over the base
    of a group is 1.

    Args:
        scores: ``(..., E)`` from :func:`constrained_scores`.
        tau: strength of the KL penalty, > 0.
        group: ``(E,)`` int64 group of each entry, 0 to G - 1, each present.
        base: ``(..., E)`` log of how much each entry counts, on any scale (it is normalized in
            each group); ``None`` for all alike.

    Returns:
        ``(..., E)`` float64.

    Raises:
        InputError: if ``tau`` is not positive.

    Source:
        Agnihotri et al. 2025 (MOPO), Eq. 3. Deviation: the printed :math:`e^{s/\tau - 1}` lacks
        the normalizer (see :func:`literal_log_weights`).

    Example:
        >>> group = torch.tensor([0, 0, 1])
        >>> log_weights(torch.tensor([1.0, 0.0, 7.0]), tau=0.5, group=group).exp()
        tensor([1.7616, 0.2384, 1.0000], dtype=torch.float64)
    """
    tilt = scores.detach().double() / _positive(tau)
    m = torch.zeros_like(tilt) if base is None else base.detach().double()
    normalizer = _group_logsumexp(m + tilt, group) - _group_logsumexp(m, group)
    return tilt - normalizer[..., group]


def literal_log_weights(scores: Tensor, tau: float) -> Tensor:
    r"""Log-weights as printed in the paper, :math:`s/\tau - 1`: without a normalizer.

    They do not average to 1, so constraint values computed with them are too large by orders of
    magnitude and no multiplier ever leaves 0. Only for showing that.

    Args:
        scores: ``(..., E)``.
        tau: strength of the KL penalty, > 0.

    Returns:
        ``(..., E)`` float64.

    Source:
        Agnihotri et al. 2025 (MOPO), Eq. 3, as printed.

    Example:
        >>> literal_log_weights(torch.tensor([1.0, 0.5]), tau=0.1)
        tensor([9., 4.], dtype=torch.float64)
    """
    return scores.detach().double() / _positive(tau) - 1


def pair_weights(margins: Tensor, tau: float) -> Tensor:
    r"""Weights of the first response of each comparison, :math:`2\sigma(d/\tau)`.

    :func:`log_weights` of a group of two with scores that differ by :math:`d`, as one bounded
    number: the second response has 2 minus it.

    Args:
        margins: ``(..., B)`` score of the first response minus that of the second; with hard
            labels :math:`(2I_K - 1) + \sum_i \lambda_i (2I_i - 1)`.
        tau: strength of the KL penalty, > 0.

    Returns:
        ``(..., B)`` float64 in [0, 2].

    Source:
        Agnihotri et al. 2025 (MOPO), Eq. 11, with a normalizer over the two responses.

    Example:
        >>> pair_weights(torch.tensor([1 - 0.7]), tau=0.08)
        tensor([1.9540], dtype=torch.float64)
    """
    return 2 * torch.sigmoid(margins.detach().double() / _positive(tau))


class BallMoments(NamedTuple):
    """Lower bounds of expectations over a ball of distributions, at given temperatures.

    Args:
        bound: ``(..., C)``.
        adversary: ``(..., E, C)`` weight of each entry under the worst distribution over its
            weight under the base; mean 1.
        kl: ``(..., C)`` divergence of the worst distribution from the base, nats.
    """

    bound: Tensor
    adversary: Tensor
    kl: Tensor


def ball_moments(values: Tensor, base: Tensor, temperatures: Tensor, radius: float) -> BallMoments:
    r"""The robust bound at given temperatures, and the adversary that attains it.

    :math:`-\chi \log E_m[e^{-f/\chi}] - \chi\epsilon`, a lower bound of the expectation of
    :math:`f` under every distribution within :math:`\epsilon` nats of :math:`m`, tight at the best
    :math:`\chi`. On M entries it is optimistic (by .044, .013, .011 of a bound of .74 for M = 4,
    12, 16): take at least 64, or an average over batches.

    Args:
        values: ``(..., E, C)`` :math:`f = w q`, >= 0.
        base: ``(..., E)`` log of how much each entry counts; normalized here.
        temperatures: ``(..., C)`` :math:`\chi` > 0; not read with ``radius`` 0.
        radius: of the ball, >= 0 nats; 0 gives expectations, an adversary of 1 and no divergence.

    Returns:
        Bounds, adversary and divergences, float64.

    Raises:
        InputError: if ``radius`` is negative.

    Source:
        Agnihotri et al. 2025 (MOPO), Prop. 3.2. The ball is around the entries; see
        :mod:`paretune.functional.robust` for the bound at the best temperature.

    Example:
        >>> half = torch.tensor([0.5, 0.5]).log()
        >>> moments = ball_moments(torch.eye(2)[:, :1], half, torch.tensor([0.840213]), 0.15)
        >>> moments.bound, moments.kl
        (tensor([0.2332], dtype=torch.float64), tensor([0.1500], dtype=torch.float64))
    """
    if radius < 0:
        raise InputError(f"lower bound: found radius {radius}, expected >= 0 nats")
    f = values.detach().double()
    log_m = torch.log_softmax(base.detach().double(), dim=-1)[..., None]
    if radius == 0:
        bound = (log_m.exp() * f).sum(-2)
        return BallMoments(bound, torch.ones_like(f), torch.zeros_like(bound))
    chi = temperatures.detach().double()
    cost = -f / chi[..., None, :]
    total = torch.logsumexp(log_m + cost, dim=-2)
    log_r = cost - total[..., None, :]
    worst = (log_m + log_r).exp()
    # Weights of entries that do not count are no matter: 0 times whatever they are.
    kl = torch.where(worst > 0, worst * log_r, 0.0).sum(-2)
    return BallMoments(-chi * total - chi * radius, log_r.exp(), kl)


def robust_log_weights(
    primary: Tensor,
    secondary: Tensor,
    multipliers: Tensor,
    temperatures: Tensor,
    tau: float,
    group: Tensor,
    base: Tensor,
    rounds: int = 100,
    damping: float = 0.1,
) -> Tensor:
    r"""Log-weights that answer their own adversary.

    :math:`w \propto e^{(p + \lambda r(w) q)/\tau}` with :math:`r` from :func:`ball_moments`. The
    adversary depends on the weights, so both are found by damped alternation. As printed, the
    weights ignore it, and their multipliers diverge where a floor needs it.

    The alternation settles where :math:`\lambda/\tau` and :math:`1/\chi` are moderate: on random
    batches always at tau .3 with multipliers of 1, at tau .08 only for temperatures near 1.
    :func:`paretune.functional.robust.robust_optimum` solves whole tables at any tau.

    Args:
        primary: ``(..., E)``.
        secondary: ``(..., E, C)``.
        multipliers: ``(..., C)``, >= 0.
        temperatures: ``(..., C)``, > 0.
        tau: strength of the KL penalty, > 0.
        group: ``(E,)`` int64.
        base: ``(..., E)`` from :func:`log_base`.
        rounds: of the alternation, >= 1.
        damping: step towards the new log-adversary, in (0, 1]; too large a step oscillates.

    Returns:
        ``(..., E)`` float64.

    Source:
        Stationarity of Agnihotri et al. 2025 (MOPO), Eq. 6. Deviation: the paper keeps the
        weights of the problem without a ball.

    Example:
        >>> q, half = torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.5]).log()
        >>> one, group = torch.ones(1), torch.zeros(2, dtype=torch.int64)
        >>> robust_log_weights(1 - q[:, 0], q, one, one, 1.0, group, half).exp()
        tensor([1.1898, 0.8102], dtype=torch.float64)
    """
    log_r = torch.zeros_like(secondary, dtype=torch.float64)
    for _ in range(rounds):
        scores = constrained_scores(primary, secondary, multipliers, log_r.exp())
        weights = log_weights(scores, tau, group, base).exp()
        # Any positive radius: the adversary depends on the temperature alone.
        answer = ball_moments(weights[..., None] * secondary, base, temperatures, 1.0).adversary
        log_r = log_r + damping * (answer.log() - log_r)
    scores = constrained_scores(primary, secondary, multipliers, log_r.exp())
    return log_weights(scores, tau, group, base)


def _group_logsumexp(values: Tensor, group: Tensor) -> Tensor:
    """``(..., G)`` logsumexp over the entries of each group."""
    index = group.expand_as(values)
    shape = (*values.shape[:-1], int(group.max()) + 1)
    top = values.new_full(shape, -torch.inf).scatter_reduce(-1, index, values, "amax")
    top = torch.where(top.isinf(), 0.0, top)
    parts = (values - top.gather(-1, index)).exp()
    return top + values.new_zeros(shape).scatter_add(-1, index, parts).log()


def _positive(tau: float) -> float:
    if not tau > 0:
        raise InputError(f"weights: found tau {tau}, expected > 0")
    return tau
