"""Minimization to a flat gradient, for exact engines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paretune.errors import RunError

_ROUNDS = 5
"""Restarts of L-BFGS: far from the optimum its memory of old curvature can stall it."""


def minimize(
    mean_loss: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, job_id: str
) -> Tensor:
    """Parameters where no entry of the gradient exceeds ``tolerance``, from ``start`` on.

    Args:
        mean_loss: of parameters ``(D,)``.
        start: ``(D,)``.
        tolerance: largest entry of the gradient at the end, > 0.
        job_id: for messages.

    Raises:
        RunError: if it does not converge.
    """
    parameters = start.clone().requires_grad_()

    def closure() -> Tensor:
        parameters.grad = None
        loss = mean_loss(parameters)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(_ROUNDS):
        optimizer = torch.optim.LBFGS(
            [parameters],
            max_iter=500,
            history_size=30,
            # Usually reached; the last digits of the loss, not of the gradient, end a line search.
            tolerance_grad=tolerance / 100,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        closure()
        assert parameters.grad is not None
        steepest = float(parameters.grad.abs().max())
        if steepest <= tolerance:
            return parameters.detach()
    raise RunError(
        f"job {job_id!r}: found a gradient of {steepest:.1e} after {_ROUNDS} rounds of L-BFGS, "
        f"expected at most {tolerance:.1e}"
    )
