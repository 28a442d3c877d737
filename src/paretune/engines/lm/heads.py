"""Several policies on one backbone: a head for each, one backbone pass for all."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretune.core.job import Head
from paretune.engines.lm.batches import PackedRows
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.forward import (
    backbone_and_head,
    head_logps,
    response_states,
    scorer_for,
)
from paretune.engines.lm.models import save_policy
from paretune.errors import InputError

_ADAPTER, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


@final
class LowRank(nn.Module):
    """An output layer plus a low-rank update of its own; starts as the layer itself.

    Args:
        shared: the layer; its parameters stay where they are.
        rank: of the update, >= 1.
        generator: draws the update's inner factor.
    """

    def __init__(self, shared: nn.Module, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        weight: Any = shared.weight
        # In a tuple: the layer belongs to the model, which lists its parameters already.
        self._shared = (shared,)
        self.out_features = int(weight.shape[0])
        # As PEFT starts its adapters: uniform within 1 / sqrt(inputs), and zero.
        bound = 1 / math.sqrt(weight.shape[1])
        inner = torch.rand(rank, weight.shape[1], generator=generator) * 2 * bound - bound
        self.inner = nn.Parameter(inner.to(weight.device))
        self.outer = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))

    def forward(self, states: Tensor) -> Tensor:
        """``(R, V)`` logits."""
        logits: Tensor = self._shared[0](states)
        update = (states.to(self.inner.dtype) @ self.inner.T) @ self.outer.T
        return logits + update.to(logits.dtype)


@final
class HeadedScorer(nn.Module):
    """A causal language model with K output heads, from packed rows to log-probabilities.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters; its backbone is
            what the policies share.
        heads: one description a policy; ``(None,)`` for a single policy, the model itself.
        data: the encoded data set, on which the fast pass is checked.
        rows: ``(B, C)`` response numbers of the set, B >= 1.
        pad_id: fills short rows.
        seed: of new adapters.
        is_compiled: run the backbone's blocks through ``torch.compile``.

    Raises:
        InputError: if logits are not the head applied to the backbone's last hidden state, so that
            heads cannot share it.
    """

    def __init__(
        self,
        model: Any,
        heads: Sequence[Head | None],
        data: Encoded,
        rows: npt.NDArray[np.int64],
        pad_id: int,
        seed: int = 0,
        is_compiled: bool = False,
    ) -> None:
        super().__init__()
        self.scorer = scorer_for(model, data, rows, pad_id, is_compiled)
        is_single = len(heads) == 1 and heads[0] is None
        if not (self.scorer.is_packed or is_single):
            raise InputError(
                f"heads: found {type(model).__name__}, whose logits are not one layer applied to "
                "its last hidden state; expected an architecture whose heads can share a backbone"
            )
        generator = torch.Generator().manual_seed(seed)
        shared = backbone_and_head(model)[1]
        made = [] if is_single else [_new_head(shared, head, generator) for head in heads]
        self.heads = nn.ModuleList(made)
        if any(isinstance(head, nn.Linear) for head in made) and not _is_tied(model):
            # Nothing reads the layer that the heads replace.
            shared.requires_grad_(False)

    @property
    def model(self) -> Any:
        """The model, with the backbone that the policies share."""
        return self.scorer.model

    @property
    def n_policies(self) -> int:
        """K."""
        return max(1, len(self.heads))

    def pack(self, data: Encoded, rows: npt.NDArray[np.int64], pad_id: int) -> PackedRows:
        """Rows in the layout that ``forward`` wants; responses keep their order."""
        return self.scorer.pack(data, rows, pad_id)

    def forward(self, rows: PackedRows) -> Tensor:
        """``(K, R)`` float32 log-probability of each of R responses under each policy, nats."""
        if not self.heads:
            alone: Tensor = self.scorer(rows)
            return alone[None]
        states = response_states(self.model, rows, self.scorer.backbone[0])
        return torch.stack([head_logps(head, states, rows) for head in self.heads])

    @property
    def quantization_method(self) -> Any:
        """Passed on: the trainer must not move a 4-bit model."""
        return self.scorer.quantization_method

    def save(self, tokenizer: Any, folders: Sequence[Path]) -> None:
        """Write every policy by itself, in PEFT / Hugging Face file names.

        Args:
            tokenizer: of all policies.
            folders: one a policy, made when missing.
        """
        if not self.heads:
            save_policy(self.model, tokenizer, folders[0])
            return
        for head, folder in zip(self.heads, folders, strict=True):
            if hasattr(self.model, "peft_config"):
                _save_adapter(self.model, head, folder)
            else:
                _with_head(self.model, head).save_pretrained(folder)
            tokenizer.save_pretrained(folder)


def _new_head(shared: Any, head: Head | None, generator: torch.Generator) -> nn.Module:
    if head is None:
        raise InputError("heads: found a policy of a group without a head, expected one each")
    if head.kind == "state":
        raise InputError(
            "heads: found kind 'state' where the backbone trains, expected lm_head or adapter"
        )
    if head.kind == "adapter":
        return LowRank(shared, head.rank, generator)
    # A quantized or half-precision layer is no start for an optimizer: parameters that train
    # are float32.
    weight, bias = shared.weight.detach(), getattr(shared, "bias", None)
    own = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device)
    with torch.no_grad():
        own.weight.copy_(weight)
        if bias is not None:
            own.bias.copy_(bias)
    # Float64 models (parity tests) stay float64.
    return own.to(torch.promote_types(weight.dtype, torch.float32))


def _is_tied(model: Any) -> bool:
    head, embeddings = backbone_and_head(model)[1], model.get_input_embeddings()
    return head.weight is embeddings.weight


def _full_weight(head: nn.Module, shared: Any) -> Tensor:
    """What a head multiplies states with."""
    if isinstance(head, LowRank):
        return (shared.weight + (head.outer @ head.inner).to(shared.weight.dtype)).detach()
    weight: Tensor = head.weight  # type: ignore[assignment]
    return weight.detach()


def _with_head(model: Any, head: nn.Module) -> Any:
    """A copy of a full model whose output layer is the head."""
    alone = copy.deepcopy(model)
    shared = backbone_and_head(model)[1]
    weight, bias = _full_weight(head, shared), getattr(head, "bias", getattr(shared, "bias", None))
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device)
    layer = layer.to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    # Tied, the layer would overwrite the embeddings that all policies share.
    alone.config.tie_word_embeddings = False
    alone.set_output_embeddings(layer)
    return alone


def _save_adapter(model: Any, head: nn.Module, folder: Path) -> None:
    """The shared adapter with the head beside it, as PEFT writes both.

    A low-rank head becomes LoRA on the output layer; a full one goes to ``modules_to_save``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    tensors = load_file(folder / _ADAPTER)
    layer = _head_name(model)
    place = f"base_model.model.{layer}"
    if isinstance(head, LowRank):
        name, rank = layer.rpartition(".")[2], head.inner.shape[0]
        config["target_modules"] = sorted({*config["target_modules"], name})
        config["rank_pattern"] = {**config.get("rank_pattern", {}), name: rank}
        # The update carries no scale of its own here: alpha = rank says so to PEFT.
        config["alpha_pattern"] = {**config.get("alpha_pattern", {}), name: rank}
        tensors[f"{place}.lora_A.weight"] = head.inner.detach().cpu().contiguous()
        tensors[f"{place}.lora_B.weight"] = head.outer.detach().cpu().contiguous()
    else:
        config["modules_to_save"] = [layer.rpartition(".")[2]]
        tensors |= {
            f"{place}.{name}": p.detach().cpu().contiguous() for name, p in head.named_parameters()
        }
    save_file(tensors, folder / _ADAPTER, metadata={"format": "pt"})
    (folder / _CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _head_name(model: Any) -> str:
    """Name of the output layer in the base model."""
    inner = model.get_base_model()
    head = inner.get_output_embeddings()
    return next(name for name, module in inner.named_modules() if module is head)
