"""Minima of smooth convex functions of a few non-negative variables, many at once."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

_ROUNDS = 400
_GROW, _SHRINK = 8.0, 0.1
_NOISE = 1e-13
"""Relative rounding error of a function value: below it, gradients decide."""
_PATIENCE = 4


class Convex(Protocol):
    """``I`` smooth convex functions of ``(C,)`` variables each."""

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values ``(I,)``, gradients ``(I, C)`` and Hessians ``(I, C, C)`` at ``(I, C)``."""

    def take(self, rows: Tensor) -> Self:
        """The functions of some rows."""


def nonnegative_minimum(
    functions: Convex,
    start: Tensor,
    lower: Tensor,
    tolerance: float = 1e-15,
    reach: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Projected Newton with the damping of Levenberg and Marquardt, on all functions together.

    A step minimizes :math:`\nabla g\cdot d + \tfrac12 d^\top(\nabla^2 g + \mu I)d` over
    :math:`x + d \ge 0`, each function with its own damping :math:`\mu`, which grows when the
    function does not follow its model and shrinks when it does. Where a change is below the
    rounding error of the value, the step must reduce the residual
    :math:`\sum_k|\min(x_k, \partial_k g)|`, which is zero at the minimum and only there.

    Args:
        functions: what to minimize; variables should be scaled so that Hessians are at most
            about 1.
        start: ``(I, C)``, >= 0.
        lower: ``(I,)`` a value below it proves that a function has no minimum, and stops it.
        tolerance: residual at which a function is done. Where rounding keeps it from going so
            far, it is done when no step helps.
        reach: share of the way to 0 that a step may go, in (0, 1]; below 1 for functions that are
            infinite at 0.

    Returns:
        Minimizers ``(I, C)``, residuals ``(I,)`` and values ``(I,)``.

    Source:
        Bertsekas 1982, "Projected Newton Methods for Optimization Problems with Simple
        Constraints"; with the whole box-constrained quadratic solved instead of one active set.
    """
    x = start.clone()
    value, gradient, hessian = functions.at(x)
    residual = _residual(x, gradient)
    found = (x.clone(), residual.clone(), value.clone())
    rows = torch.arange(len(x), device=x.device)
    damping = torch.full_like(value, 1e-6)
    stalls = torch.zeros_like(rows)
    for _ in range(_ROUNDS):
        is_open = (residual > tolerance) & (value >= lower[rows]) & (stalls < _PATIENCE)
        if not is_open.any():
            break
        if is_open.sum() * 2 < len(rows):
            _store(found, rows, x, residual, value)
            kept = is_open.nonzero().squeeze(-1)
            functions = functions.take(kept)
            rows, damping, stalls = rows[kept], damping[kept], stalls[kept]
            x, value, gradient, hessian = x[kept], value[kept], gradient[kept], hessian[kept]
            residual, is_open = residual[kept], is_open[kept]
        step = _quadratic_step(x * reach, gradient, hessian, damping)
        predicted = -(gradient * step).sum(-1) - (step * _times(hessian, step)).sum(-1) / 2
        new_x = (x + step).clamp_min(0)
        new_value, new_gradient, new_hessian = functions.at(new_x)
        new_residual = _residual(new_x, new_gradient)
        share = (value - new_value) / predicted
        is_noise = predicted <= _NOISE * (1 + value.abs())
        is_better = torch.where(is_noise, new_residual < residual, share > 1e-4)
        is_better &= new_value.isfinite() & new_residual.isfinite() & is_open
        stalls = torch.where(is_noise & ~is_better, stalls + 1, 0 * stalls)
        is_trusted = is_better & (is_noise | (share > 0.7))
        damping = damping * torch.where(is_trusted, _SHRINK, torch.where(is_better, 1.0, _GROW))
        x = torch.where(is_better[:, None], new_x, x)
        value = torch.where(is_better, new_value, value)
        residual = torch.where(is_better, new_residual, residual)
        gradient = torch.where(is_better[:, None], new_gradient, gradient)
        hessian = torch.where(is_better[:, None, None], new_hessian, hessian)
    _store(found, rows, x, residual, value)
    return found


def _store(found: tuple[Tensor, ...], rows: Tensor, *current: Tensor) -> None:
    for whole, part in zip(found, current, strict=True):
        whole[rows] = part


def _residual(x: Tensor, gradient: Tensor) -> Tensor:
    return torch.minimum(x, gradient).abs().sum(-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None]).squeeze(-1)


def _quadratic_step(room: Tensor, gradient: Tensor, hessian: Tensor, damping: Tensor) -> Tensor:
    """Minimizer of the damped quadratic over ``d >= -room``, by guessing which bounds hold."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    # A singular Hessian (a constraint twice, a constant one) must stay solvable.
    floor = 1e-15 * diagonal.sum(-1) + 1e-30
    eye = torch.eye(room.shape[-1], dtype=room.dtype, device=room.device)
    matrix = hessian + torch.maximum(damping, floor)[:, None, None] * eye
    is_bound = (room <= 0) & (gradient > 0)
    step = torch.zeros_like(room)
    for _ in range(2 * room.shape[-1] + 1):
        is_free = ~is_bound
        bound_step = torch.where(is_bound, -room, 0.0)
        inner = torch.where(is_free[:, :, None] & is_free[:, None, :], matrix, eye)
        target = torch.where(is_free, -gradient - _times(matrix, bound_step), bound_step)
        step, _ = torch.linalg.solve_ex(inner, target[..., None])
        step = step.squeeze(-1)
        pull = gradient + _times(matrix, step)
        should_bind = torch.where(is_bound, pull > 0, step < -room)
        if (should_bind == is_bound).all():
            break
        is_bound = should_bind
    return torch.maximum(step, -room)
