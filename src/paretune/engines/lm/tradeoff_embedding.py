"""Policies that are told a trade-off by a vector that every token embedding gets on top."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from paretune.core.adapter import TradeOffEmbedding
from paretune.errors import ConfigError, InputError

CONFIG, TENSORS = "tradeoff_embedding.json", "tradeoff_embedding.safetensors"
_NAME = "tradeoff_embedding"


@final
class TradeOffVectors(nn.Module):
    """The vectors, and which of them each row of a batch gets.

    Args:
        about: trade-offs and the length at the start.
        tokens: ``(V, d)`` token embeddings of the model.
        seed: of the start.
    """

    def __init__(self, about: TradeOffEmbedding, tokens: Tensor, seed: int) -> None:
        super().__init__()
        self.about = about
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(len(about.tradeoffs), tokens.shape[1], generator=generator)
        length = about.scale * tokens.detach().norm(dim=1).mean().cpu()
        start = start / start.norm(dim=1, keepdim=True) * length
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        self.weight = nn.Parameter(start.to(tokens.device, dtype))
        self.told: Tensor | None = None

    def add_to(self, embedded: Tensor) -> Tensor:
        """``(B, T, d)`` token embeddings with the vector of each row; untold they stay."""
        if self.told is None:
            return embedded
        vectors = self.weight[self.told.to(self.weight.device)].to(embedded.dtype)
        # A number for all, for each row, or for each position.
        return embedded + (vectors[:, None] if vectors.ndim == 2 else vectors)


def add_tradeoff_embedding(model: Any, about: TradeOffEmbedding, seed: int = 0) -> Any:
    """Give a model vectors of trade-offs, in place.

    Args:
        model: a Hugging Face causal language model, with or without LoRA.
        about: trade-offs and the length at the start.
        seed: of the start.

    Returns:
        The same model, told nothing yet.
    """
    tokens = model.get_input_embeddings()
    vectors = TradeOffVectors(about, tokens.weight, seed)
    model.add_module(_NAME, vectors)
    tokens.register_forward_hook(lambda module, given, out: vectors.add_to(out))
    return model


def has_tradeoff_embedding(model: Any) -> bool:
    """Whether a model can be told a trade-off by a vector."""
    return isinstance(getattr(model, _NAME, None), TradeOffVectors)


def tell(model: Any, told: Tensor | int | None) -> None:
    """Tell each row of the next batch its trade-off, or every row from now on the same one.

    Args:
        model: with vectors.
        told: int64 numbers of trade-offs: ``(B,)``, or ``(B, T)`` where rows share a row, or one
            for all; ``None`` tells nothing any more.
    """
    getattr(model, _NAME).told = None if told is None else torch.as_tensor(told)


def is_embedding_folder(folder: Path) -> bool:
    """Whether a folder holds a policy with vectors."""
    return (folder / CONFIG).exists()


def save_tradeoff_embedding(model: Any, folder: Path) -> None:
    """Write the policy: as Hugging Face or PEFT would without the vectors, these beside it."""
    vectors: TradeOffVectors = getattr(model, _NAME)
    own = {n: p for n, p in model.state_dict().items() if not n.startswith(f"{_NAME}.")}
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder)
    else:
        model.save_pretrained(folder, state_dict=own)
    about = json.dumps(asdict(vectors.about), indent=2)
    (folder / CONFIG).write_text(about, encoding="utf-8")
    tensors = {"weight": vectors.weight.detach().cpu().contiguous()}
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})


def load_tradeoff_embedding(model: Any, folder: Path, train: bool = False) -> Any:
    """Give a loaded policy the vectors that were saved beside it, in place.

    Raises:
        InputError: if they are damaged, or do not fit the model.
    """
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        known = TradeOffEmbedding(tuple(map(tuple, about["tradeoffs"])), about["scale"])
        add_tradeoff_embedding(model, known)
        vectors: TradeOffVectors = getattr(model, _NAME)
        vectors.load_state_dict(load_file(folder / TENSORS))
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, ConfigError, SafetensorError
    ) as error:  # fmt: skip
        raise InputError(
            f"{folder}: found vectors of trade-offs that do not fit ({error}), expected those of "
            "this policy"
        ) from error
    vectors.weight.requires_grad_(train)
    return model
