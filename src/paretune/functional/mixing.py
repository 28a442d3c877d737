"""Mixing: one policy out of several, by their parameters or by their log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError


def average_parameters(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    r"""Weighted average of the parameters of several networks, :math:`\sum_i w_i\theta_i`.

    Args:
        states: one ``state_dict`` a network, with the same names and shapes.
        weights: one number a network, sum 1; a negative one extrapolates.

    Returns:
        New tensors: averaged in at least fp32, in the dtype of the first state and on its device.
        Tensors that are not floating point (buffers of positions, counters) are copies of the
        first state's.

    Raises:
        ShapeError: if names or shapes differ, or there is not one weight a state.
        InputError: if a weight is not finite or the sum is not 1.

    Source:
        Rame et al. 2023, "Rewarded soups", arXiv:2306.04488.

    Example:
        >>> average_parameters([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], [0.25, 0.75])
        {'w': tensor([0.7500, 0.7500])}
    """
    w = _checked(weights, len(states))
    first = states[0]
    for i, state in enumerate(states[1:], start=1):
        if state.keys() != first.keys():
            odd = sorted(state.keys() ^ first.keys())
            raise ShapeError(f"merge: state {i} and state 0 differ in names: {', '.join(odd[:5])}")
        for name, tensor in state.items():
            if tensor.shape != first[name].shape:
                raise ShapeError(
                    f"merge: {name} has shape {tuple(tensor.shape)} in state {i}, "
                    f"expected {tuple(first[name].shape)} as in state 0"
                )
    return {name: _average([state[name] for state in states], w) for name in first}


def mix_logps(logps: Tensor, weights: Sequence[float]) -> Tensor:
    r"""Normalized geometric mixture: :math:`\log\pi \propto \sum_i w_i \log\pi_i`.

    The KL-optimal policy for mixed rewards, where each policy is KL-optimal for its own reward
    with the same reference and strength. With sequences it is exact token by token only.

    Args:
        logps: ``(K, ..., V)`` log-probabilities of K policies (logits serve as well), nats.
        weights: ``(K,)`` with sum 1; a policy of weight 0 is ignored even where it is ``-inf``.

    Returns:
        ``(..., V)`` log-probabilities; NaN where the policies have no common support.

    Raises:
        ShapeError: if there is not one weight a policy.
        InputError: if a weight is not finite or the sum is not 1.

    Source:
        Shi et al. 2024, "Decoding-time language model alignment with multiple objectives" (MOD),
        with the reverse KL.

    Example:
        >>> logps = torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log()
        >>> mix_logps(logps, [0.5, 0.5]).exp()
        tensor([0.3333, 0.6667])
    """
    w = _checked(weights, len(logps))
    # 0 * -inf is NaN, so a policy without weight is left out instead of multiplied.
    terms = [weight * policy for weight, policy in zip(w, logps, strict=True) if weight != 0]
    return torch.log_softmax(torch.stack(terms).sum(0), dim=-1)


def _average(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    precise = torch.promote_types(first.dtype, torch.float32)
    total = torch.zeros_like(first, dtype=precise)
    for weight, tensor in zip(weights, tensors, strict=True):
        total.add_(tensor.detach().to(total.device, precise), alpha=weight)
    return total.to(first.dtype)


def _checked(weights: Sequence[float], n: int) -> tuple[float, ...]:
    w = tuple(float(weight) for weight in weights)
    if len(w) != n or not w:
        raise ShapeError(f"mix: found {len(w)} weights for {n} policies, expected one each")
    if not all(map(math.isfinite, w)) or abs(sum(w) - 1) > 1e-6:
        raise InputError(f"mix: found weights {list(w)}, expected finite numbers with sum 1")
    return w
