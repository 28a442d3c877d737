"""Generators of f-divergences in log-ratios: f, its slope, the inverse of the slope.

Everything takes L = log(pi / ref), because ratios over a vocabulary overflow and their logs do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paretune.core.constrained import DIVERGENCES, Divergence
from paretune.errors import InputError, nearest

Elementwise = Callable[[Tensor], Tensor]
LOG2 = math.log(2)


@final
@dataclass(frozen=True)
class Generator:
    r"""A convex f with f(1) = 0, of :math:`D_f(\pi\|\pi_{ref}) = E_{ref}[f(\pi/\pi_{ref})]`.

    The slope is kept as its *slack*, ``offset - f'``, which falls in L. Where f' is bounded above
    the offset is that bound, so that the slack of a large ratio is a small number that floating
    point keeps, and not the difference of two that are almost equal.

    Args:
        has_barrier: the slope falls to minus infinity at ratio 0, so that optimal policies are
            positive wherever the reference is.
        offset: see above.
        value: f at L, any shape.
        slack: ``offset - f'`` at L.
        from_slack: inverse of ``slack``; -inf below a slope that every positive ratio exceeds.
        slack_slope: derivative of ``slack`` with respect to L, <= 0.
    """

    has_barrier: bool
    offset: float
    value: Elementwise
    slack: Elementwise
    from_slack: Elementwise
    slack_slope: Elementwise

    def slope(self, log_ratios: Tensor) -> Tensor:
        """f' at L, any shape."""
        return self.offset - self.slack(log_ratios)

    def inverse(self, slopes: Tensor) -> Tensor:
        """L at which f' has these values, any shape.

        Returns:
            -inf where f' is larger at every positive ratio; NaN above the bound of f'.

        Raises:
            InputError: for the total variation, whose slope is a step.
        """
        return self.from_slack(self.offset - slopes)


def generator(divergence: Divergence, alpha: float = 0.5) -> Generator:
    r"""The f of a divergence.

    ================ ================================ ========================== =======
    divergence       f(x)                             f'(x)                      barrier
    ================ ================================ ========================== =======
    reverse_kl       x log x                          log x + 1                  yes
    forward_kl       -log x                           -1/x                       yes
    jsd              x log x - (x+1) log((x+1)/2)     log(2x/(1+x))              yes
    alpha            (x^(1-a) - (1-a)x - a)/(a(a-1))  (1 - x^-a)/a               yes
    jeffrey          x log x - log x                  log x - 1/x + 1            yes
    total_variation  abs(x-1)/2                       sgn(x-1)/2                 no
    chi_squared      (x-1)^2                          2(x-1)                     no
    ================ ================================ ========================== =======

    Args:
        divergence: which one.
        alpha: parameter a of ``alpha``, in (0, 1); others ignore it.

    Raises:
        InputError: if the name is unknown or ``alpha`` is out of range.

    Source:
        Shi et al. 2024 (MOD), arXiv:2406.18853, table of f-divergences.

    Example:
        >>> jsd = generator("jsd")
        >>> jsd.slope(torch.tensor(0.0)), jsd.inverse(torch.tensor(0.0)), jsd.has_barrier
        (tensor(0.), tensor(0.), True)
    """
    if divergence == "alpha":
        if not 0 < alpha < 1:
            raise InputError(f"divergence: found alpha {alpha}, expected between 0 and 1")
        return _alpha(alpha)
    if divergence not in _GENERATORS:
        raise InputError(f"divergence: found {divergence!r}{nearest(divergence, DIVERGENCES)}")
    return _GENERATORS[divergence]


def log_lambert(z: Tensor) -> Tensor:
    r""":math:`\log W(e^z)`, W Lambert's function: the x with :math:`e^x + x = z`.

    Args:
        z: any shape, any size: :math:`e^z` is never formed where it would overflow.

    Returns:
        x, the shape of ``z``; relative precision of the dtype in :math:`e^x` as in x.

    Source:
        Halley's iteration. The first guess is within .05, so two steps (error e becomes at most
        e^3 / 12) leave less than 1e-15.

    Example:
        >>> log_lambert(torch.tensor([1.0, 1e30]))
        tensor([ 0.0000, 69.0776])
    """
    large, small = z.clamp(min=1), z.clamp(max=1)
    log, grown = large.log(), small.exp()
    # W(e^z) is about z - log z for large z and e^z for small; both guesses are exact at z = 1.
    x = torch.where(
        z > 1,
        (large - log * (1 - 1 / (1 + large))).log(),
        small - grown / (1 + (1 - 1 / math.e) * grown),
    )
    for _ in range(2):
        e = x.exp()
        residual, slope = e + x - z, e + 1
        x = x - 2 * residual * slope / (2 * slope * slope - residual * e)
    # The square would overflow for larger z, where log z and z themselves are exact to rounding.
    return torch.where(z.abs() < 1e18, x, torch.where(z > 0, log, z))


def _alpha(a: float) -> Generator:
    """Amari's family; a = 1 is the forward KL up to a constant in the slope."""
    return Generator(
        has_barrier=True,
        offset=1 / a,
        value=lambda ratio: (
            (torch.expm1((1 - a) * ratio) - (1 - a) * torch.expm1(ratio)) / (a * (a - 1))
        ),
        slack=lambda ratio: torch.exp(-a * ratio) / a,
        from_slack=lambda slack: (a * slack).log() / -a,
        slack_slope=lambda ratio: -torch.exp(-a * ratio),
    )


def _jsd_value(ratio: Tensor) -> Tensor:
    # x log(2x/(1+x)) is 0 * inf at ratio 0.
    gained = ratio.exp() * (LOG2 + logsigmoid(ratio))
    return torch.where(torch.isneginf(ratio), 0.0, gained) + LOG2 + logsigmoid(-ratio)


def _no_inverse(slack: Tensor) -> Tensor:
    raise InputError(
        "divergence: found total_variation where the inverse of its slope is needed; its slope "
        "only takes -1/2, 0 and 1/2, so it has none (expected another divergence)"
    )


_GENERATORS: dict[Divergence, Generator] = {
    "reverse_kl": Generator(
        has_barrier=True,
        offset=1,
        value=lambda ratio: torch.where(torch.isneginf(ratio), 0.0, ratio.exp() * ratio),
        slack=torch.neg,
        from_slack=torch.neg,
        slack_slope=lambda ratio: -torch.ones_like(ratio),
    ),
    "forward_kl": Generator(
        has_barrier=True,
        offset=0,
        value=torch.neg,
        slack=lambda ratio: torch.exp(-ratio),
        from_slack=lambda slack: -slack.log(),
        slack_slope=lambda ratio: -torch.exp(-ratio),
    ),
    "jsd": Generator(
        has_barrier=True,
        offset=LOG2,
        value=_jsd_value,
        # Not softplus, which torch cuts off at 20.
        slack=lambda ratio: -logsigmoid(ratio),
        # -log(e^s - 1), without e^s.
        from_slack=lambda slack: -slack - (-torch.expm1(-slack)).log(),
        slack_slope=lambda ratio: -torch.sigmoid(-ratio),
    ),
    "jeffrey": Generator(
        has_barrier=True,
        offset=1,
        value=lambda ratio: torch.expm1(ratio) * ratio,
        slack=lambda ratio: torch.exp(-ratio) - ratio,
        from_slack=lambda slack: -log_lambert(slack),
        slack_slope=lambda ratio: -torch.exp(-ratio) - 1,
    ),
    "total_variation": Generator(
        has_barrier=False,
        offset=0,
        value=lambda ratio: torch.expm1(ratio).abs() / 2,
        slack=lambda ratio: -torch.sign(ratio) / 2,
        from_slack=_no_inverse,
        slack_slope=torch.zeros_like,
    ),
    "chi_squared": Generator(
        has_barrier=False,
        offset=-2,
        value=lambda ratio: torch.expm1(ratio).square(),
        slack=lambda ratio: -2 * ratio.exp(),
        from_slack=lambda slack: (-slack / 2).clamp(min=0).log(),
        slack_slope=lambda ratio: -2 * ratio.exp(),
    ),
}
