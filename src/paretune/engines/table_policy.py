"""Policies on a table: parameters into log-probabilities, and what can be read off them exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Table:
    """A policy with one parameter a cell: every policy is attainable, log-probabilities are linear.

    Args:
        ref_logps: ``(S, A)`` float64 log-probabilities of the reference, in nats; finite.
    """

    ref_logps: Tensor

    def start(self) -> Tensor:
        """``(S * A,)`` parameters of the reference."""
        return torch.zeros(self.ref_logps.numel(), dtype=self.ref_logps.dtype)

    def held(self) -> Table:
        """The same table: its policies share nothing that could be frozen."""
        return self

    def logps(self, parameters: Tensor) -> Tensor:
        """``(S, A)`` log-probabilities of the policy with these parameters."""
        return torch.log_softmax(self.ref_logps + parameters.view_as(self.ref_logps), dim=-1)


@final
@dataclass(frozen=True)
class TanhNetwork:
    r"""A small network with shared output parameters: log-probabilities bend with the parameters.

    :math:`\log\pi = \operatorname{log\,softmax}(\log\pi_{ref} + \tanh(U)\,V + b)` with ``U`` one
    row a context and ``V``, ``b`` shared. On a full table merging parameters and mixing
    log-probabilities are the same thing; here they are not.

    Args:
        ref_logps: ``(S, A)`` float64 log-probabilities of the reference, in nats; finite.
        width: H, hidden units, >= 1; from S - 1 on every policy is attainable.
        seed: of the start of ``U``; ``V`` and ``b`` start at 0, so the start is the reference.
        is_held: ``U`` does not train: a frozen trunk.
    """

    ref_logps: Tensor
    width: int = 8
    seed: int = 0
    is_held: bool = False

    def held(self) -> TanhNetwork:
        """The same network with ``U`` frozen: policies are then layers on one trunk."""
        return replace(self, is_held=True)

    @property
    def n_shared(self) -> int:
        """Leading parameters, of ``U``, that policies on one backbone share."""
        return len(self.ref_logps) * self.width

    def start(self) -> Tensor:
        """``(S * H + H * A + A,)`` parameters of the reference."""
        n_contexts, n_actions = self.ref_logps.shape
        generator = torch.Generator().manual_seed(self.seed)
        hidden = torch.randn(n_contexts * self.width, generator=generator, dtype=torch.float64)
        rest = torch.zeros((self.width + 1) * n_actions, dtype=torch.float64)
        return torch.cat([hidden, rest])

    def logps(self, parameters: Tensor) -> Tensor:
        """``(S, A)`` log-probabilities of the policy with these parameters."""
        n_contexts, n_actions = self.ref_logps.shape
        sizes = [n_contexts * self.width, self.width * n_actions, n_actions]
        u, v, b = torch.split(parameters, sizes)
        hidden = torch.tanh((u.detach() if self.is_held else u).view(n_contexts, self.width))
        return torch.log_softmax(self.ref_logps + hidden @ v.view(self.width, -1) + b, dim=-1)


def total_variation(logps: Tensor, other: Tensor) -> float:
    """Largest total variation distance of two policies over the contexts, in [0, 1].

    Args:
        logps: ``(S, A)`` log-probabilities, in nats.
        other: ``(S, A)``.
    """
    return float((logps.exp() - other.exp()).abs().sum(-1).max() / 2)


def nucleus(logps: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """The distribution that sampling with a temperature and a nucleus draws from.

    Args:
        logps: ``(S, A)`` log-probabilities, in nats.
        temperature: > 0; divides the log-probabilities.
        top_p: mass of the nucleus in (0, 1]: the fewest most likely actions that hold it.

    Returns:
        ``(S, A)`` log-probabilities, ``-inf`` outside the nucleus.

    Example:
        >>> nucleus(torch.tensor([[0.5, 0.3, 0.2]]).log(), top_p=0.6).exp()
        tensor([[0.6250, 0.3750, 0.0000]])
    """
    logps = torch.log_softmax(logps / temperature, dim=-1)
    if top_p >= 1:
        return logps
    ordered, order = logps.sort(dim=-1, descending=True, stable=True)
    # An action is in when the mass before it is below top_p, so the first one always is.
    before = ordered.exp().cumsum(-1) - ordered.exp()
    is_in = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before < top_p)
    return torch.log_softmax(logps.masked_fill(~is_in, -torch.inf), dim=-1)


def best_of_n_logps(logps: Tensor, utility: Tensor, n: int) -> Tensor:
    r"""The distribution of the best of n independent replies.

    An action is given when it is drawn at least once and nothing better is:
    :math:`P(a) = \pi(a)\,\frac{F(u_a)^n - F(u_a^-)^n}{F(u_a) - F(u_a^-)}` with :math:`F` the
    distribution of the utility of one reply. Among equal utilities the first drawn is given.

    Args:
        logps: ``(S, A)`` log-probabilities of one reply, in nats.
        utility: ``(S, A)``, larger is better.
        n: replies drawn, >= 1.

    Returns:
        ``(S, A)`` log-probabilities, in nats.

    Example:
        >>> even = torch.tensor([[0.5, 0.5]]).log()
        >>> best_of_n_logps(even, torch.tensor([[0.0, 1.0]]), n=2).exp()
        tensor([[0.2500, 0.7500]])
    """
    chances = logps.exp()
    below = (utility[:, None, :] < utility[:, :, None]).to(chances.dtype)
    equal = (utility[:, None, :] == utility[:, :, None]).to(chances.dtype)
    before = torch.einsum("sab,sb->sa", below, chances)
    mass = torch.einsum("sab,sb->sa", equal, chances)
    share = ((before + mass) ** n - before**n) / mass.clamp(min=torch.finfo(mass.dtype).tiny)
    return (chances * share).log()
