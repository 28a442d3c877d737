"""Several LoRA adapters of one base in one batch: every block of rows has an adapter of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn


@final
class RowLora(nn.Module):
    r"""A layer plus a low-rank update a block of rows, :math:`x W + x_k A_k B_k`.

    Rows come in blocks of equal size, the first of the first adapter and so on; blocks behind
    those of the adapters have no update. The updates of a layer are two batched products, which
    is about twice as fast as a loop over adapters that picks the rows of each.

    Args:
        layer: that the adapters update; stays as it is.
        inner: ``(K, in, r)``, A; short ranks are filled with zeros.
        outer: ``(K, r, out)``, B with the scale of each adapter in it.
        n_blocks: how many, >= K.
    """

    def __init__(self, layer: nn.Module, inner: Tensor, outer: Tensor, n_blocks: int) -> None:
        super().__init__()
        self.layer, self.n_blocks = layer, n_blocks
        self.register_buffer("inner", inner)
        self.register_buffer("outer", outer)

    def forward(self, states: Tensor) -> Tensor:
        """``(blocks * rows, ..., out)``."""
        inner, outer = self.get_buffer("inner"), self.get_buffer("outer")
        n_rows = len(states) // self.n_blocks * len(inner)
        out: Tensor = self.layer(states)
        mine = states[:n_rows].to(inner.dtype).reshape(len(inner), -1, states.shape[-1])
        update = torch.bmm(torch.bmm(mine, inner), outer)
        out[:n_rows] += update.view_as(out[:n_rows]).to(out.dtype)
        return out


def can_stack(model: Any) -> bool:
    """Whether every update of a PEFT model is a plain product of two factors."""
    from peft.utils.other import AuxiliaryTrainingWrapper

    if any(isinstance(module, AuxiliaryTrainingWrapper) for module in model.modules()):
        return False
    layers = lora_layers(model)
    return bool(layers) and all(
        all(isinstance(factor, nn.Linear) and factor.bias is None
            for factors in (layer.lora_A, layer.lora_B) for factor in factors.values())
        and not len(layer.lora_embedding_A)
        and not layer.lora_variant
        for layer in layers.values()
    )  # fmt: skip


def stack_adapters(model: Any, names: Sequence[str], n_blocks: int) -> Any:
    """The base of a PEFT model with its adapters in blocks of rows; takes the model apart.

    Args:
        model: in which :func:`can_stack` holds.
        names: of the adapters, one a block.
        n_blocks: how many blocks there are; those behind the adapters' are the base.
    """
    inner = model.get_base_model()
    for path, layer in lora_layers(inner).items():
        inner.set_submodule(path, RowLora(layer.base_layer, *_factors(layer, names), n_blocks))
    return inner


def lora_layers(model: Any) -> dict[str, Any]:
    """Layers with LoRA updates, by name."""
    from peft.tuners.lora import LoraLayer

    return {path: m for path, m in model.named_modules() if isinstance(m, LoraLayer)}


def _factors(layer: Any, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """``(K, in, r)`` and ``(K, r, out)``; zeros where an adapter leaves the layer alone."""
    some = next(iter(layer.lora_A))
    first, last = layer.lora_A[some].weight, layer.lora_B[some].weight
    rank = max(factor.weight.shape[0] for factor in layer.lora_A.values())
    inner = first.new_zeros(len(names), first.shape[1], rank)
    outer = last.new_zeros(len(names), rank, last.shape[0])
    for block, name in enumerate(names):
        if name in layer.lora_A:
            mine = layer.r[name]
            inner[block, :, :mine] = layer.lora_A[name].weight.detach().T
            outer[block, :mine] = layer.lora_B[name].weight.detach().T * layer.scaling[name]
    return inner.detach(), outer.detach()
