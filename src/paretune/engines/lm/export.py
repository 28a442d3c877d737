"""A steered policy as files that transformers and PEFT load alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretune.engines.lm.mixture import Mixture
from paretune.engines.lm.state_head import StateHeadLayer
from paretune.engines.lm.tradeoff_adapter import export_lora, has_tradeoff_adapter, merge_tradeoff
from paretune.engines.lm.tradeoff_embedding import has_tradeoff_embedding
from paretune.errors import ConfigError


def export_policy(
    model: Any, tokenizer: Any, base: str, folder: Path, *, is_merged: bool,
    weights: Sequence[float] = (),
) -> str:  # fmt: skip
    """Write a policy without anything of ours in it.

    Args:
        model: steered for one trade-off, in evaluation mode.
        tokenizer: of its base.
        base: path or hub id of the base.
        folder: made when missing.
        is_merged: write a whole model, also where the policy is an adapter.
        weights: ``(M,)`` the trade-off, for an adapter that trade-offs steer.

    Returns:
        ``adapter`` or ``model``.

    Raises:
        ConfigError: if no plain model or adapter answers as this policy does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_adapter = hasattr(model, "peft_config") and not has_tradeoff_embedding(model)
    kind = "adapter"
    if has_tradeoff_adapter(model) and not is_merged:
        export_lora(model, weights, folder)
    elif is_adapter and not is_merged:
        _save_adapter(model, base, folder)
    else:
        plain_model(model, weights).save_pretrained(folder)
        kind = "model"
    tokenizer.save_pretrained(folder)
    return kind


@torch.no_grad()
def plain_model(model: Any, weights: Sequence[float] = ()) -> Any:
    """The same policy with all that was added to it written into its weights; in place.

    Args:
        model: steered for one trade-off.
        weights: ``(M,)`` the trade-off, for an adapter that trade-offs steer.

    Raises:
        ConfigError: if it cannot be written into them.
    """
    if isinstance(model, Mixture):
        raise ConfigError(
            "export: found policies that are mixed at decoding, expected one: no single model "
            "answers like them (paretune serve does)"
        )
    told = _told_vector(model)
    if told is not None:
        _drop_vectors(model)
    if has_tradeoff_adapter(model):
        model = merge_tradeoff(model, weights)
    if hasattr(model, "peft_config"):
        model = model.merge_and_unload()
    if isinstance(model.get_output_embeddings(), StateHeadLayer):
        raise ConfigError(
            "export: found a head on a frozen trunk, expected adapters or whole models: "
            "transformers alone has no such layer (paretune serve has)"
        )
    if told is not None:
        _fold_vector(model, told)
    return model


def _told_vector(model: Any) -> torch.Tensor | None:
    if not has_tradeoff_embedding(model):
        return None
    vectors = model.tradeoff_embedding
    if vectors.told is None or vectors.told.ndim:
        raise ConfigError("export: found a policy that is told no trade-off, expected one")
    vector: torch.Tensor = vectors.weight[int(vectors.told)].detach().clone()
    return vector


def _drop_vectors(model: Any) -> None:
    tokens = model.get_input_embeddings()
    tokens._forward_hooks.clear()
    del model._modules["tradeoff_embedding"]


def _fold_vector(model: Any, vector: torch.Tensor) -> None:
    """Every token embedding takes the vector in; the output layer keeps what it had."""
    tokens, layer = model.get_input_embeddings(), model.get_output_embeddings()
    if layer is not None and layer.weight is tokens.weight:
        own = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        own = own.to(layer.weight.device, layer.weight.dtype)
        own.load_state_dict(layer.state_dict())
        model.config.tie_word_embeddings = False
        model.set_output_embeddings(own)
    moved = tokens.weight + vector.to(tokens.weight.device, tokens.weight.dtype)
    tokens.weight = nn.Parameter(moved.detach())


def _save_adapter(model: Any, base: str, folder: Path) -> None:
    name = model.active_adapters[0] if isinstance(model.active_adapters, list) else "default"
    own = Path(base)
    model.peft_config[name].base_model_name_or_path = str(own.resolve()) if own.exists() else base
    model.save_pretrained(folder, selected_adapters=[name])
    inner = folder / name
    if inner.is_dir():
        # PEFT puts every adapter but "default" into a folder of its own.
        for file in inner.iterdir():
            os.replace(file, folder / file.name)
        shutil.rmtree(inner)
