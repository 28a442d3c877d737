"""Robust lower bounds: the smallest mean that a value can have near a base distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError

_STEPS = 200


def kl_ball_bound(values: Tensor, base: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    r"""Smallest mean over all distributions near a base, and the temperature that attains it.

    .. math:: \min_{\tilde m:\,KL(\tilde m\|m)\le\epsilon} E_{\tilde m}[f]
        = \max_{\chi\ge0}\; -\chi\log E_m[e^{-f/\chi}] - \chi\epsilon

    The divergence of the adversary :math:`\tilde m\propto m\,e^{-f/\chi}` falls with
    :math:`\chi`, so bisection of :math:`\log\chi` finds where it is :math:`\epsilon`.

    Args:
        values: ``(..., N)`` any unit.
        base: ``(N,)`` or ``(..., N)`` probabilities m, summing to 1.
        radius: :math:`\epsilon` >= 0, in nats.

    Returns:
        Bounds and temperatures, ``(...)`` in the unit of ``values``. Temperature ``inf`` for
        radius 0, where the bound is the mean; 0 where the ball holds the base restricted to the
        smallest value, which then is the bound.

    Raises:
        ShapeError: if the shapes do not agree.
        InputError: if ``radius`` is negative or ``base`` is no distribution.

    Source:
        Hu and Hong 2013, "Kullback-Leibler Divergence Constrained Distributionally Robust
        Optimization"; Agnihotri et al. 2025 (MOPO), Prop. 3.2.

    Example:
        >>> even = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> bound, temperature = kl_ball_bound(torch.tensor([0.0, 1.0]), even, radius=0.15)
        >>> round(bound.item(), 6), round(temperature.item(), 6)
        (0.233228, 0.840213)
    """
    values, base = _checked(values, base, radius)
    if radius == 0:
        return (base * values).sum(-1), values.new_full(values.shape[:-1], torch.inf)
    lowest = values.masked_fill(base <= 0, torch.inf).amin(-1, keepdim=True)
    # Distances to the lowest value: the worst distribution is near it, and so are its rounding
    # errors.
    above = (values - lowest).masked_fill(base <= 0, 0.0)
    at_lowest = (base * (above == 0)).sum(-1)
    span = above.amax(-1)
    # KL(adversary || base) <= span^2 / (8 chi^2): beyond this temperature it is below the radius.
    top = torch.log(span / (8 * radius) ** 0.5).clamp_min(-700)
    # Down here the values within rounding of the lowest hold all the mass.
    bottom, log_chi = top - 60, top
    # Divergences near a small radius are differences of numbers near its root.
    tolerance = 1e-14 * (1 + top.abs()) + 1e-15 / radius**0.5
    for _ in range(_STEPS):
        chi = log_chi.exp()
        log_ratio = _log_tilt(above, base, chi)
        distance = _divergence(log_ratio, base)
        is_far = distance > radius
        bottom, top = torch.where(is_far, log_chi, bottom), torch.where(is_far, top, log_chi)
        joint = base * log_ratio.exp()
        mean = (joint * above).sum(-1, keepdim=True)
        variance = (joint * (above - mean) ** 2).sum(-1)
        # Newton on log KL, which is almost straight in log chi; bisection where it leaves.
        newton = log_chi + (distance / radius).log() * distance * chi**2 / variance
        is_inside = (newton > bottom) & (newton < top)
        is_inside |= (newton - log_chi).abs() <= tolerance
        step = torch.where(is_inside, newton, (top + bottom) / 2) - log_chi
        log_chi = log_chi + step
        if bool((step.abs() <= tolerance).all()):
            break
    is_lowest = at_lowest.log() >= -radius
    temperature = torch.where(is_lowest, 0.0, log_chi.exp())
    return bound_at(values, base, temperature, radius), temperature


def bound_at(values: Tensor, base: Tensor, temperature: Tensor, radius: float) -> Tensor:
    r"""The lower bound that a temperature proves: :math:`-\chi\log E_m[e^{-f/\chi}]-\chi\epsilon`.

    Concave in the temperature; every temperature gives a valid bound, the best one the tightest.

    Args:
        values: ``(..., N)``.
        base: ``(N,)`` or ``(..., N)`` probabilities.
        temperature: ``(...)`` >= 0; 0 gives the smallest value, ``inf`` (radius 0) the mean.
        radius: >= 0, in nats.

    Returns:
        ``(...)`` in the unit of ``values``.

    Example:
        >>> even, values = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
        >>> bound_at(values, even, torch.tensor([0.1, 10.0]), radius=0.0)
        tensor([0.0693, 0.4875], dtype=torch.float64)
    """
    values, base = _checked(values, base, radius)
    lowest = values.masked_fill(base <= 0, torch.inf).amin(-1)
    chi = _inside(temperature)
    above = (values - lowest[..., None]).masked_fill(base <= 0, 0.0)
    soft = lowest - chi * _log_mean(above, base, chi) - chi * radius
    mean = (base * values).sum(-1) if radius == 0 else torch.full_like(lowest, -torch.inf)
    return torch.where(temperature == 0, lowest, torch.where(torch.isinf(temperature), mean, soft))


def adversary(values: Tensor, base: Tensor, temperature: Tensor) -> Tensor:
    r"""Weights of the worst distribution: :math:`r = e^{-f/\chi}/E_m[e^{-f/\chi}]`.

    Args:
        values: ``(..., N)``.
        base: ``(N,)`` or ``(..., N)`` probabilities.
        temperature: ``(...)`` >= 0; 0 keeps only the smallest values, ``inf`` everything evenly.

    Returns:
        ``(..., N)`` >= 0 with mean 1 under ``base``; 0 where ``base`` is.

    Example:
        >>> even, values = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
        >>> adversary(values, even, torch.tensor(1.0))
        tensor([1.4621, 0.5379], dtype=torch.float64)
    """
    values, base = _checked(values, base, 0.0)
    lowest = values.masked_fill(base <= 0, torch.inf).amin(-1, keepdim=True)
    soft = _log_tilt(values - lowest, base, _inside(temperature)).exp()
    is_lowest = values <= lowest
    hard = is_lowest / (base * is_lowest).sum(-1, keepdim=True)
    limit = torch.where((temperature == 0)[..., None], hard, torch.ones_like(soft))
    is_limit = (temperature == 0) | torch.isinf(temperature)
    return torch.where(base > 0, torch.where(is_limit[..., None], limit, soft), 0.0)


def kl_to_base(values: Tensor, base: Tensor, temperature: Tensor) -> Tensor:
    """Divergence of the adversary from the base, ``(...)`` nats; see :func:`adversary`.

    Example:
        >>> even, values = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
        >>> kl_to_base(values, even, torch.tensor(0.0))
        tensor(0.6931, dtype=torch.float64)
    """
    ratio = adversary(values, base, temperature)
    return _divergence(ratio.log(), _checked(values, base, 0.0)[1])


def temperature_gradient(
    values: Tensor, base: Tensor, temperature: Tensor, radius: float
) -> Tensor:
    r"""Derivative of ``-bound_at`` in the temperature: :math:`\epsilon - KL(\tilde m\|m)`.

    Descending it finds the temperature of :func:`kl_ball_bound` step by step.

    Args:
        values: ``(..., N)``.
        base: ``(N,)`` or ``(..., N)`` probabilities.
        temperature: ``(...)`` > 0.
        radius: >= 0, in nats.

    Returns:
        ``(...)`` nats.

    Source:
        Agnihotri et al. 2025 (MOPO), the update of the temperature in Algorithm 1, in this form
        by differentiation.
    """
    return radius - kl_to_base(values, base, temperature)


def _log_mean(above: Tensor, base: Tensor, temperature: Tensor) -> Tensor:
    """Log of the mean of ``exp(-above / temperature)``, for distances >= 0 to the lowest value."""
    exponent = -above / temperature[..., None]
    # Near 1 a mean is known by its distance to 1, near 0 by its logarithm.
    distance = (base * exponent.expm1()).sum(-1)
    logarithm = (base.log() + exponent).logsumexp(-1)
    return torch.where(distance > -0.5, distance.log1p(), logarithm)


def _log_tilt(above: Tensor, base: Tensor, temperature: Tensor) -> Tensor:
    """Log-weights of the adversary at temperatures that are neither 0 nor infinite."""
    log_mean = _log_mean(above.masked_fill(base <= 0, 0.0), base, temperature)
    return -above / temperature[..., None] - log_mean[..., None]


def _divergence(log_ratio: Tensor, base: Tensor) -> Tensor:
    """``E_base[r log r]``, for log-weights r of mean 1."""
    ratio = log_ratio.exp()
    return (base * torch.where(ratio > 0, ratio * log_ratio, 0.0)).sum(-1)


def _inside(temperature: Tensor) -> Tensor:
    """Temperatures with a stand-in where a limit is taken instead."""
    is_limit = (temperature == 0) | torch.isinf(temperature)
    return temperature.double().masked_fill(is_limit, 1.0)


def _checked(values: Tensor, base: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    if values.ndim < 1 or base.ndim < 1 or values.shape[-1] != base.shape[-1]:
        raise ShapeError(
            f"robust bound: found values {tuple(values.shape)} and base {tuple(base.shape)}, "
            "expected (..., N) and (N,) or (..., N)"
        )
    if not radius >= 0:
        raise InputError(f"robust bound: found radius {radius}, expected >= 0 nats")
    values, base = values.double(), base.double()
    if bool((base < 0).any()) or bool(((base.sum(-1) - 1).abs() > 1e-6).any()):
        raise InputError("robust bound: found a base that is no distribution, expected sum 1")
    return values, base
