"""Mixtures of policies: one next-token distribution out of those of several policies.

Policies are read in as few passes as they allow: adapters of one base as rows of one batch with
one cache, heads on one backbone from one pass, and full models one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paretune.core.constrained import Divergence
from paretune.engines.lm.reader import Reader
from paretune.errors import ShapeError
from paretune.functional.divergences import combine

Prompts = list[npt.NDArray[np.int32]]


@final
@dataclass(frozen=True)
class Part:
    """Some policies of a mixture that one pass reads.

    Args:
        model: a Hugging Face causal language model in evaluation mode.
        n_blocks: policies that read a block of rows each.
        n_heads: policies that its output layer holds side by side (:class:`Heads`).
    """

    model: Any
    n_blocks: int = 1
    n_heads: int = 1

    @property
    def n_policies(self) -> int:
        """How many."""
        return self.n_blocks * self.n_heads


@final
class Heads(nn.Module):
    """Output layers side by side, in the place of one: what follows is done to each.

    Args:
        layers: from states to ``(..., V)`` logits, of the same V.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, states: Tensor) -> Tensor:
        """``(..., K * V)`` logits."""
        return torch.cat([layer(states) for layer in self.layers], -1)


class Reads(Protocol):
    """What a reply is decoded from."""

    def read_prompts(self) -> Tensor:
        """``(rows, V)`` logits of the first token."""

    def read(self, tokens: Tensor) -> Tensor:
        """``(rows, V)`` logits after one more token a row."""

    def select(self, rows: Tensor) -> None:
        """Rows become the batch, in this order."""


@final
class Mixture(nn.Module):
    r"""A policy whose next-token distribution combines those of K policies.

    Under the reverse KL logits are averaged; under other divergences
    :math:`\pi = \pi_{ref}\,(f')^{-1}(\sum_i w_i f'(\pi_i/\pi_{ref}) - Z)` is solved in double
    precision over the vocabulary, at every token. Temperature and nucleus are applied to the
    mixture, after Z: :math:`\pi^{1/T}`, normalized. Only under the reverse KL is that the mixture
    of the policies' own distributions at temperature T. The most likely token, which greedy
    decoding takes, depends on Z as well.

    Source: Shi et al. 2024 (MOD), arXiv:2406.18853. Deviations: Z is solved; replies are sampled
    too; every policy has the cache of the tokens that were really taken.

    Args:
        parts: of the policies, in their order; the last policy is the reference unless the
            divergence is the reverse KL, which needs none.
        weights: ``(K,)`` with sum 1, none of them 0.
        divergence: the one that every policy is optimal for.
        alpha: parameter of ``alpha``, in (0, 1).
        is_normalized: solve for Z.

    Raises:
        ShapeError: if there is not one weight a policy.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        weights: Sequence[float],
        divergence: Divergence = "reverse_kl",
        alpha: float = 0.5,
        is_normalized: bool = True,
    ) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.models = nn.ModuleList(part.model for part in parts)
        self.weights = tuple(float(w) for w in weights)
        self.divergence: Divergence = divergence
        self.alpha, self.is_normalized = alpha, is_normalized
        found = sum(part.n_policies for part in parts)
        expected = len(self.weights) + (divergence != "reverse_kl")
        if found != expected:
            raise ShapeError(f"mixture: found {found} policies, expected {expected}")

    @property
    def config(self) -> Any:
        """Of the first model; all have the same vocabulary."""
        return self.parts[0].model.config

    def mix(self, logits: Tensor) -> Tensor:
        """One policy out of all.

        Args:
            logits: ``(K, rows, V)``, with the reference's behind them where it is needed.

        Returns:
            ``(rows, V)`` logits: float32 or better, not normalized, under the reverse KL; float64
            log-probabilities otherwise.
        """
        if self.divergence != "reverse_kl":
            precise, ways = logits.double(), (self.divergence, self.alpha, self.is_normalized)
            return combine(precise[-1], precise[:-1], self.weights, *ways)
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # One after the other, so that a row is the same number in every batch.
        total = precise[0] * self.weights[0]
        for weight, policy in zip(self.weights[1:], precise[1:], strict=True):
            total = total + weight * policy
        return total


@final
class _PartReader:
    """Reads a part: some policies are blocks of rows, some are blocks of the vocabulary."""

    def __init__(self, part: Part, prompts: Prompts, pad_id: int, room: int) -> None:
        self._part = part
        self._reader = Reader(part.model, prompts * part.n_blocks, pad_id, room)
        self._n_rows = len(prompts)

    def read_prompts(self) -> Tensor:
        """``(policies, rows, V)``."""
        return self._apart(self._reader.read_prompts())

    def read(self, tokens: Tensor) -> Tensor:
        """``(policies, rows, V)``."""
        return self._apart(self._reader.read(tokens.repeat(self._part.n_blocks)))

    def select(self, rows: Tensor) -> None:
        """In every block the same."""
        blocks = range(self._part.n_blocks)
        self._reader.select(torch.cat([rows + k * self._n_rows for k in blocks]))
        self._n_rows = len(rows)

    def _apart(self, logits: Tensor) -> Tensor:
        apart = logits.unflatten(-1, (self._part.n_heads, -1)).movedim(1, 0)
        return apart.unflatten(1, (self._part.n_blocks, -1)).flatten(0, 1)


@final
class _MixtureReader:
    """Reads every part and gives the mixture."""

    def __init__(self, mixture: Mixture, prompts: Prompts, pad_id: int, room: int) -> None:
        self._mixture = mixture
        self._parts = [_PartReader(part, prompts, pad_id, room) for part in mixture.parts]

    def read_prompts(self) -> Tensor:
        return self._mixture.mix(torch.cat([part.read_prompts() for part in self._parts]))

    def read(self, tokens: Tensor) -> Tensor:
        return self._mixture.mix(torch.cat([part.read(tokens) for part in self._parts]))

    def select(self, rows: Tensor) -> None:
        for part in self._parts:
            part.select(rows)


def open_reader(model: Any, prompts: Prompts, pad_id: int, room: int) -> Reads:
    """What gives the next token's logits for a batch of growing rows.

    Args:
        model: in evaluation mode; a mixture, or one policy.
        prompts: one a row.
        pad_id: fills short prompts.
        room: tokens that will be added.
    """
    if isinstance(model, Mixture):
        return _MixtureReader(model, prompts, pad_id, room)
    return Reader(model, prompts, pad_id, room)
