"""Heads on a frozen trunk: a small network on the last hidden states is all that a policy owns.

Such a policy is a base model with :class:`StateHeadLayer` in the place of its output layer; it
answers, generates and is scored like any other. On disk it is two small files beside nothing:
the base is named, not copied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import silu

from paretune.engines.lm.forward import backbone_and_head
from paretune.errors import ConfigError, InputError

HEAD, CONFIG = "state_head.safetensors", "state_head.json"
_FORMAT = 1


@final
class StateHead(nn.Module):
    r"""What is added to a last hidden state: :math:`h' = h + B\,\mathrm{silu}(A h)`.

    Args:
        inner: ``(r, D)``, A.
        outer: ``(D, r)``, B; zero is the trunk itself.
    """

    def __init__(self, inner: Tensor, outer: Tensor) -> None:
        super().__init__()
        self.inner = nn.Parameter(inner)
        self.outer = nn.Parameter(outer)

    def forward(self, states: Tensor) -> Tensor:
        """``(..., D)`` states of the policy from those of the trunk."""
        moved = silu(states.to(self.inner.dtype) @ self.inner.T) @ self.outer.T
        return states + moved.to(states.dtype)


@final
class StateHeadLayer(nn.Module):
    """An output layer that sees the states through a head.

    Args:
        head: on the states.
        layer: the model's own output layer.
    """

    def __init__(self, head: StateHead, layer: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.layer = layer
        weight: Any = layer.weight
        self.out_features = int(weight.shape[0])

    @property
    def weight(self) -> Any:
        """Of the output layer: what asks for it wants its shape, device or ties."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """Of the output layer."""
        return getattr(self.layer, "bias", None)

    def forward(self, states: Tensor) -> Tensor:
        """``(..., V)`` logits."""
        logits: Tensor = self.layer(self.head(states))
        return logits


def start_factors(width: int, rank: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``(r, D)`` and ``(D, r)`` of a head that has not moved: it is the trunk itself.

    The same for every head of a group: none may depend on how many are trained beside it.
    """
    generator = torch.Generator().manual_seed(seed)
    # As PEFT starts its adapters: uniform within 1 / sqrt(inputs), and zero.
    bound = 1 / math.sqrt(width)
    inner = torch.rand(rank, width, generator=generator) * 2 * bound - bound
    return inner.to(dtype), torch.zeros(width, rank, dtype=dtype)


def attach_head(model: Any, head: StateHead) -> Any:
    """The model with a head between its last hidden state and its output layer; in place.

    Args:
        model: a Hugging Face causal language model without a head yet.
        head: on its device.
    """
    layer = backbone_and_head(model)[1]
    model.set_output_embeddings(StateHeadLayer(head, layer))
    return model


def mix_heads(heads: Sequence[StateHead], weights: Sequence[float]) -> StateHead:
    r"""The head of a mixture of policies on one trunk: exact, and one policy in cost.

    Logits are linear in the states, so :math:`\prod_k \pi_k^{w_k}`, normalized, is the policy with
    :math:`h' = h + \sum_k w_k B_k\,\mathrm{silu}(A_k h)`: one head with the rows of all.

    Args:
        heads: of the policies.
        weights: one number a head, summing to 1 (the trunk's own logits count once).

    Source:
        Shi et al. 2024 (MOD), Eq. 8 with the reverse KL divergence; the stacking is ours.
    """
    used = [(h, float(w)) for h, w in zip(heads, weights, strict=True) if w != 0]
    if abs(sum(weights) - 1) > 1e-6 or not used:
        raise ConfigError(f"mix: found weights {list(weights)}, expected a sum of 1")
    # A single head at weight 1 is itself, to the bit.
    return StateHead(
        torch.cat([head.inner.detach() for head, _ in used]),
        torch.cat([head.outer.detach() * weight for head, weight in used], dim=1),
    )


def save_head(head: StateHead, base: str, folder: Path) -> None:
    """Write a head, and the name of the base it belongs to.

    Args:
        head: to write.
        base: path or hub id of its base, for people: who loads it says which base that is.
        folder: made when missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    factors = {"inner": head.inner, "outer": head.outer}
    tensors = {n: p.detach().cpu().contiguous() for n, p in factors.items()}
    save_file(tensors, folder / HEAD, metadata={"format": "pt"})
    rank, width = head.inner.shape
    facts = {
        "format": _FORMAT, "kind": "state", "activation": "silu", "rank": rank, "hidden": width,
        "base": base,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def is_head(folder: Path) -> bool:
    """Whether a folder holds a policy of this kind."""
    return (folder / CONFIG).exists()


def load_head(folder: Path, model: Any) -> StateHead:
    """The head of a folder, on the device of a model that it fits.

    Raises:
        InputError: if the files are damaged or belong to a model of another width.
    """
    try:
        facts = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = load_file(folder / HEAD)
        kind, activation = (facts["format"], facts["kind"]), facts["activation"]
        head = StateHead(found["inner"], found["outer"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"{folder}: cannot load a head, expected {CONFIG} and {HEAD} ({error})"
        ) from error
    if kind != (_FORMAT, "state") or activation != "silu":
        raise InputError(
            f"{folder / CONFIG}: found kind {kind[1]!r}, format {kind[0]!r}, activation "
            f"{activation!r}; expected 'state', {_FORMAT}, 'silu'"
        )
    weight: Any = backbone_and_head(model)[1].weight
    width, (rank, mine) = int(weight.shape[-1]), head.inner.shape
    if mine != width or head.outer.shape != (width, rank):
        raise InputError(
            f"{folder / HEAD}: found a head of width {mine}, expected {width}, the width of the "
            f"base (it was trained on {facts.get('base')!r})"
        )
    return head.to(weight.device)
