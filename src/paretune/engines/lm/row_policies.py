"""One base in which every row of a batch answers for a trade-off of its own, in one pass.

======================================  ==========================================================
policies                                what a row is told
======================================  ==========================================================
LoRA adapters of one base               a weight for each: one of them, or their exact merge
heads on a frozen trunk                 a weight for each: one of them, or their exact mixture
vectors of trade-offs                   which vector
an adapter that trade-offs steer        the trade-off itself
======================================  ==========================================================

Rows share nothing but the products they are computed in: what one is told, no other can see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from paretune.engines.lm.adapter_rows import can_stack, lora_layers
from paretune.engines.lm.forward import backbone_and_head
from paretune.engines.lm.mix import are_lora, with_adapters
from paretune.engines.lm.models import load_base, load_policy
from paretune.engines.lm.one_base import require_one_base
from paretune.engines.lm.state_head import StateHead, is_head, load_head
from paretune.engines.lm.tradeoff_adapter import (
    has_tradeoff_adapter,
    is_tradeoff_folder,
    set_row_tradeoffs,
)
from paretune.engines.lm.tradeoff_embedding import (
    has_tradeoff_embedding,
    is_embedding_folder,
    tell,
)


@final
@dataclass(frozen=True)
class RowSteering:
    """What one row answers as.

    Args:
        weights: ``(K,)`` one number a policy: a single 1 picks it; others merge or mix.
        told: number of the vector, where trade-offs are told by vectors.
        tradeoff: ``(M,)`` the trade-off, where it steers an adapter.
    """

    weights: tuple[float, ...] = (1.0,)
    told: int | None = None
    tradeoff: tuple[float, ...] = ()


class RowPolicies(Protocol):
    """A model whose rows are steered one by one."""

    model: Any

    def steer(self, rows: Sequence[RowSteering]) -> None:
        """Tell the rows of the next batches what they answer as."""


@final
class RowUpdate(nn.Module):
    r"""A linear layer plus a low-rank update that rows weigh: :math:`xW + \sum_k w_k x A_k B_k`.

    All updates are two products over all rows, with the weights between them: exact for one policy
    (a single 1) and for merged ones, since updates add up.

    Args:
        layer: that the adapters update; stays as it is.
        inner: ``(in, R)``, all A side by side.
        outer: ``(R, out)``, all B below each other, each with the scale of its adapter.
        ranks: ``(K,)`` how many of the R belong to each policy; their sum is R.
    """

    def __init__(
        self, layer: nn.Module, inner: Tensor, outer: Tensor, ranks: Sequence[int]
    ) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("inner", inner)
        self.register_buffer("outer", outer)
        self._ranks = torch.tensor(ranks)
        self._scales: Tensor | None = None

    def weigh(self, weights: Tensor) -> None:
        """``(B, K)`` weights of the rows of the next batches."""
        self._scales = _spread(weights, self._ranks, self.get_buffer("inner"))

    def forward(self, states: Tensor) -> Tensor:
        """``(B, ..., out)``."""
        assert self._scales is not None
        inner, outer = self.get_buffer("inner"), self.get_buffer("outer")
        out: Tensor = self.layer(states)
        inside = states.to(inner.dtype) @ inner
        inside = inside * self._scales.view(len(states), *[1] * (states.ndim - 2), -1)
        if inside.dtype == outer.dtype == out.dtype and out.is_contiguous():
            # One pass over what the layer gave, where a sum would take three.
            out.view(-1, out.shape[-1]).addmm_(inside.flatten(0, -2), outer)
            return out
        return out + (inside @ outer).to(out.dtype)


def _spread(weights: Tensor, ranks: Tensor, like: Tensor) -> Tensor:
    """``(B, R)`` the weight of each row for each of the R factors, from ``(B, K)``."""
    return weights.repeat_interleave(ranks.to(weights.device), 1).to(like.device, like.dtype)


@final
class LoraRows:
    """LoRA adapters of one base, weighed by every row.

    Args:
        model: of PEFT, with all of them; it is taken apart.
        names: of the adapters, in the order of the weights.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self.model = model.get_base_model()
        self._layers = []
        for path, layer in lora_layers(self.model).items():
            update = RowUpdate(layer.base_layer, *_side_by_side(layer, names))
            self.model.set_submodule(path, update)
            self._layers.append(update)
        self.model.eval()

    def steer(self, rows: Sequence[RowSteering]) -> None:
        """See :class:`RowPolicies`."""
        weights = torch.tensor([row.weights for row in rows])
        for layer in self._layers:
            layer.weigh(weights)


def _side_by_side(layer: Any, names: Sequence[str]) -> tuple[Tensor, Tensor, list[int]]:
    inner, outer, ranks = [], [], []
    for name in names:
        has_update = name in layer.lora_A
        ranks.append(int(layer.r[name]) if has_update else 0)
        if has_update:
            inner.append(layer.lora_A[name].weight.detach().T)
            outer.append(layer.lora_B[name].weight.detach().T * layer.scaling[name])
    return torch.cat(inner, 1).contiguous(), torch.cat(outer, 0).contiguous(), ranks


@final
class _WeighedHeads(nn.Module):
    """An output layer that sees each row's states through its own mixture of heads."""

    def __init__(self, heads: Sequence[StateHead], layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("inner", torch.cat([head.inner.detach() for head in heads]).T)
        self.register_buffer("outer", torch.cat([head.outer.detach() for head in heads], 1).T)
        self._ranks = torch.tensor([len(head.inner) for head in heads])
        self._scales: Tensor | None = None

    def weigh(self, weights: Tensor) -> None:
        self._scales = _spread(weights, self._ranks, self.get_buffer("inner"))

    def forward(self, states: Tensor) -> Tensor:
        assert self._scales is not None
        inner, outer = self.get_buffer("inner"), self.get_buffer("outer")
        inside = silu(states.to(inner.dtype) @ inner) * self._scales[:, None]
        logits: Tensor = self.layer(states + (inside @ outer).to(states.dtype))
        return logits

    @property
    def weight(self) -> Any:
        """Of the output layer: what asks for it wants its shape, device or ties."""
        return self.layer.weight


@final
class HeadRows:
    """Heads on one trunk, weighed by every row.

    Args:
        folders: of the heads, in the order of the weights.
        base: path or hub id of the trunk.
        quantize: how it was loaded when they were trained.
    """

    def __init__(self, folders: Sequence[Path], base: str, quantize: str = "none") -> None:
        self.model: Any = load_base(base, is_frozen=True, quantize=quantize).eval()
        heads = [load_head(folder, self.model) for folder in folders]
        self._layer = _WeighedHeads(heads, backbone_and_head(self.model)[1])
        self.model.set_output_embeddings(self._layer)

    def steer(self, rows: Sequence[RowSteering]) -> None:
        """See :class:`RowPolicies`."""
        self._layer.weigh(torch.tensor([row.weights for row in rows]))


@final
class OnePolicy:
    """One policy for all rows, or one that rows are told a trade-off of.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._is_told = has_tradeoff_embedding(model)
        self._is_set = has_tradeoff_adapter(model)

    def steer(self, rows: Sequence[RowSteering]) -> None:
        """See :class:`RowPolicies`."""
        if self._is_told:
            tell(self.model, torch.tensor([row.told for row in rows]))
        if self._is_set:
            set_row_tradeoffs(self.model, [row.tradeoff for row in rows])


def row_policies(folders: Sequence[Path], base: str, quantize: str = "none") -> RowPolicies | None:
    """Policies as rows of one batch; ``None`` where each needs a pass of its own.

    Args:
        folders: of K policies of one base; none = the base itself.
        base: path or hub id of the base.
        quantize: how it was loaded when they were trained.

    Raises:
        ConfigError: if they come from different bases.
    """
    if len(folders) > 1:
        require_one_base("serve", folders, base)
    if folders and all(is_head(folder) for folder in folders):
        return HeadRows(folders, base, quantize)
    if folders and are_lora(folders) and not any(map(_is_told, folders)):
        model, names = with_adapters(folders, base, quantize)
        return LoraRows(model, names) if can_stack(model) else None
    if not folders:
        return OnePolicy(load_base(base, is_frozen=True, quantize=quantize).eval())
    if len(folders) == 1:
        return OnePolicy(load_policy(folders[0], base, quantize=quantize).eval())
    return None


def shares_rows(folders: Sequence[Path]) -> bool:
    """Whether :func:`row_policies` makes one model of several policies; reads settings only."""
    if not folders or any(map(_is_told, folders)):
        return False
    if all(is_head(folder) for folder in folders):
        return True
    if any(is_head(folder) for folder in folders) or not are_lora(folders):
        return False
    settings = [json.loads((f / "adapter_config.json").read_text("utf-8")) for f in folders]
    return not any(s.get("modules_to_save") or s.get("use_dora") for s in settings)


def _is_told(folder: Path) -> bool:
    return is_embedding_folder(folder) or is_tradeoff_folder(folder)
