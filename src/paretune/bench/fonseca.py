"""Fonseca and Fleming's problem: which scalarizers reach the inside of a front with a dent."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, fields, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.errors import ConfigError
from paretune.functional.gradient_combination import MGDA, UPGrad
from paretune.functional.hypervolume_gradient import hypervolume_gradient
from paretune.functional.indicators import hypervolume
from paretune.functional.learned_weights import Mirror
from paretune.functional.scalarizer import Scalarizer, StepLosses
from paretune.functional.scalarizers import (
    Chebyshev,
    Linear,
    LogHypervolume,
    SmoothChebyshev,
    Tilted,
)

REFERENCE = 1.1
"""Both coordinates of the reference point of hypervolumes."""
EXACT_HYPERVOLUME = 0.5521
"""Of the whole front, to four digits."""
_MARGIN = 0.05
_RATE = 0.02


@final
@dataclass(frozen=True, eq=False)
class Settled:
    """Where a scalarizer settled, for R trade-offs and starts.

    Args:
        losses: ``(R, 2)`` float64, in [0, 1), smaller is better.
        weights: ``(R,)`` weight of the first loss.
    """

    losses: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @property
    def interior_share(self) -> float:
        """Share of points with both losses in (.05, .95), in [0, 1]."""
        inside = (self.losses > _MARGIN) & (self.losses < 1 - _MARGIN)
        return float(inside.all(1).mean())

    @property
    def hypervolume(self) -> float:
        """Area below (1.1, 1.1) that the points dominate together; at most .5521."""
        return area(self.losses)

    @property
    def control(self) -> float:
        """Correlation of the first weight with the first loss; -1 = the trade-off decides."""
        if not (np.ptp(self.weights) and np.ptp(self.losses[:, 0])):
            return 0.0
        return float(np.corrcoef(self.weights, self.losses[:, 0])[0, 1])


def fonseca_losses(x: Tensor) -> Tensor:
    r"""The two losses, :math:`1 - \exp(-\|x \mp \mathbf 1/\sqrt n\|^2)`.

    Their front is concave, so every weighted sum is least at one of its ends.

    Args:
        x: ``(..., n)``.

    Returns:
        ``(..., 2)`` in [0, 1).

    Source:
        Fonseca and Fleming 1995, "An Overview of Evolutionary Algorithms in Multiobjective
        Optimization".

    Example:
        >>> fonseca_losses(torch.tensor([0.5**0.5, 0.5**0.5])).round(decimals=4)
        tensor([0.0000, 0.9817])
    """
    center = 1 / math.sqrt(x.shape[-1])
    distances = torch.stack([(x - center).square().sum(-1), (x + center).square().sum(-1)], -1)
    return -torch.expm1(-distances)


def settle(
    scalarizer: Scalarizer, n_weights: int = 19, n_starts: int = 3, steps: int = 1500, seed: int = 0
) -> Settled:
    """Descend a scalarizer on the problem with two variables, once per trade-off and start.

    All descents are one batch: each is a pair of its own, scalarized alone.

    Args:
        scalarizer: anything that scalarizes the losses of one pair, or combines gradients.
        n_weights: trade-offs, even steps between the corners, which are left out.
        n_starts: starts of every trade-off, drawn from [-1, 1] x [-1, 1].
        steps: of Adam, with a rate that falls to 0.
        seed: of the starts.

    Raises:
        ConfigError: for a scalarizer over the pairs of a step.
    """
    first = torch.linspace(0, 1, n_weights + 2, dtype=torch.float64)[1:-1]
    weights = torch.stack([first, 1 - first], 1).repeat_interleave(n_starts, 0)
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(len(weights), 2, dtype=torch.float64, generator=generator) - 1
    x.requires_grad_()
    descend = _combined if scalarizer.needs_gradients else _scalarized(scalarizer, len(x))
    optimizer = torch.optim.Adam([x], lr=_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 1e-3, steps)
    for _ in range(steps):
        x.grad = descend(scalarizer, x, weights)
        optimizer.step()
        schedule.step()
    return Settled(fonseca_losses(x.detach()).numpy(), weights[:, 0].numpy())


def settle_together(n_policies: int = 5, steps: int = 3000, seed: int = 0) -> Settled:
    """Descend several policies by the gradient of their hypervolume, without trade-offs.

    Args:
        n_policies: points that share the front.
        steps: of Adam, with a rate that falls to 0.
        seed: of the starts.
    """
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(n_policies, 2, dtype=torch.float64, generator=generator) - 1
    x.requires_grad_()
    optimizer = torch.optim.Adam([x], lr=_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 1e-3, steps)
    for _ in range(steps):
        losses = fonseca_losses(x)
        weights = hypervolume_gradient(losses, (REFERENCE, REFERENCE))
        optimizer.zero_grad()
        (weights * losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return Settled(fonseca_losses(x.detach()).numpy(), np.full(n_policies, 0.5))


def fonseca_table(
    n_weights: int = 19, n_starts: int = 3, steps: int = 1500, *, has_gradients: bool = True
) -> dict[str, Settled]:
    """Where every kind of scalarizer settles, by a name to print.

    Args:
        n_weights: trade-offs.
        n_starts: starts of each.
        steps: of Adam.
        has_gradients: also those that combine gradients, which take most of the time.

    Raises:
        ConfigError: if gradients are to be combined and torchjd is not installed.
    """
    with warnings.catch_warnings():
        # The wrong sign is here to be seen.
        warnings.simplefilter("ignore", UserWarning)
        literal = Chebyshev(rho=0, orientation="max", is_literal=True, reduce="example")
    rows: dict[str, Scalarizer] = {
        "linear": Linear(),
        "chebyshev": Chebyshev(rho=0),
        "chebyshev, rho .05": Chebyshev(rho=0.05),
        "stch, mu .01": SmoothChebyshev(0.01),
        "stch, mu .1": SmoothChebyshev(0.1),
        "stch, mu .5": SmoothChebyshev(0.5),
        "chebyshev with the sign of the source": literal,
        "tilted, tau .2": Tilted(0.2),
        "tilted, tau .5": Tilted(0.5),
        "mirror, eta .1, tau .2": Mirror(0.1, 0.2),
        "loghv, reference 1.01": LogHypervolume(1.01),
        "loghv, reference 2": LogHypervolume(2.0),
    }
    if has_gradients:
        rows |= {"mgda": MGDA(), "upgrad": UPGrad()}
    return {name: settle(row, n_weights, n_starts, steps) for name, row in rows.items()}


def area(losses: npt.NDArray[np.float64]) -> float:
    """Area below (1.1, 1.1) that ``(K, 2)`` losses dominate."""
    return hypervolume(-losses, low=-REFERENCE, high=1 - REFERENCE, clip_above=False)


def _scalarized(scalarizer: Scalarizer, n_rows: int) -> Any:
    """A function that gives the gradient of every row's own scalarized loss."""
    own: Any = scalarizer
    if "reduce" not in {field.name for field in fields(own)}:
        raise ConfigError(f"fonseca: found {scalarizer!r}, expected one that takes single pairs")
    if not own.is_separable:
        own = replace(own, reduce="example")
    state = own.start(2)
    if len(state) == 2:  # One tilt for each row.
        state = state.expand(n_rows, 2)

    def gradient(_: Scalarizer, x: Tensor, weights: Tensor) -> Tensor:
        nonlocal state
        step = _step(fonseca_losses(x), weights)
        (found,) = torch.autograd.grad(own(step, state).loss * n_rows, x)
        if state.ndim == 2:
            state = torch.vmap(_advance, in_dims=(None, 0, 0, 0))(own, step.losses, weights, state)
        else:
            state = own.advance(step, state)
        return found

    return gradient


def _advance(scalarizer: Scalarizer, losses: Tensor, weights: Tensor, state: Tensor) -> Tensor:
    """State after a step of one row; detached first, for no gradient reaches it."""
    return scalarizer.advance(_step(losses.detach()[None], weights[None]), state)


def _combined(scalarizer: Scalarizer, x: Tensor, weights: Tensor) -> Tensor:
    """``(R, 2)`` combined gradient of every row."""
    losses = fonseca_losses(x)
    rows = [torch.autograd.grad(losses[:, d].sum(), x, retain_graph=True)[0] for d in range(2)]
    jacobians = torch.stack(rows, 1)
    gramians = jacobians @ jacobians.mT
    lambdas = [scalarizer.combine(g, w) for g, w in zip(gramians, weights, strict=True)]
    return (torch.stack(lambdas)[..., None] * jacobians).sum(1)


def _step(losses: Tensor, weights: Tensor) -> StepLosses:
    everything = torch.ones_like(losses, dtype=torch.bool)
    return StepLosses(
        losses, weights, everything, torch.zeros_like(losses), torch.ones_like(losses[:, 0])
    )
