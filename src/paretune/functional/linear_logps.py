"""Log-probabilities of tokens under one output layer, without ever holding all logits."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from paretune.errors import ShapeError

_CELLS = {"cpu": 1 << 22}
_MOST_CELLS = 1 << 26
"""Logits held at once: on a CPU so few that they stay near it, elsewhere 256 MiB."""

_LEAST_ROWS = 256
"""Rows of a piece, at least: for fewer, reading the layer would cost more than multiplying."""


def linear_logps(
    states: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    cells: int | None = None,
) -> Tensor:
    r"""Log-probability of one token a state, :math:`\log\operatorname{softmax}(W h + b)_y`.

    For an output layer that does not train. The derivative with respect to a state is then
    :math:`W_y - \operatorname{softmax}(W h + b)^\top W`, known as soon as the log-probability is:
    it is computed in the same pass, over pieces of the rows, and kept in place of the logits. So
    a row of a large vocabulary costs one row of the states in memory, and nothing twice.

    Args:
        states: ``(R, D)``, differentiable; products are taken in this precision.
        weight: ``(V, D)``, taken as constant.
        targets: ``(R,)`` int64 in [0, V).
        bias: ``(V,)``, taken as constant.
        cells: logits held at once, >= 1, at least those of a row; ``None`` = what suits the device
            and the vocabulary.

    Returns:
        ``(R,)`` nats, at least float32.

    Raises:
        ShapeError: if the shapes do not fit.

    Example:
        >>> states, weight = torch.tensor([[1.0, 0.0]]), torch.eye(2)
        >>> linear_logps(states, weight, torch.tensor([0]))
        tensor([-0.3133])
    """
    if states.ndim != 2 or states.shape[1] != weight.shape[1] or targets.shape != states.shape[:1]:
        raise ShapeError(
            f"linear_logps: found states {tuple(states.shape)}, weight {tuple(weight.shape)} and "
            f"targets {tuple(targets.shape)}, expected (R, D), (V, D) and (R,)"
        )
    if cells is None:
        usual = _CELLS.get(states.device.type, _MOST_CELLS)
        cells = max(usual, _LEAST_ROWS * weight.shape[0])
    piece = max(1, cells // weight.shape[0])
    found = _LinearLogps.apply(states, weight, targets, bias, piece)  # type: ignore[no-untyped-call]
    return cast(Tensor, found)


class _LinearLogps(torch.autograd.Function):
    """The log-probabilities, with the derivative found on the way."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, piece: int
    ) -> Tensor:
        needs_gradient = ctx.needs_input_grad[0]
        full = torch.promote_types(states.dtype, torch.float32)
        logps = states.new_empty(len(states), dtype=full)
        gradient = torch.empty_like(states) if needs_gradient else None
        # Under autocast products would be rounded again, whatever precision was asked for.
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), piece):
                rows = slice(start, start + piece)
                logits = states[rows] @ weight.T
                if bias is not None:
                    logits += bias
                chances = torch.log_softmax(logits, dim=-1, dtype=full)
                target = targets[rows, None]
                logps[rows] = chances.gather(1, target)[:, 0]
                if gradient is not None:
                    mean = chances.exp_().to(weight.dtype) @ weight
                    torch.sub(weight[targets[rows]], mean, out=gradient[rows])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return logps

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return (upstream[0][:, None] * gradient).to(gradient.dtype), None, None, None, None
