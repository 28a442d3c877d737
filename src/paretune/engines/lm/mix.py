"""Mixed policies: loaded so that as few passes as possible read them, and never merged wrongly.

===========================================  =============================================
policies                                     what a token costs
===========================================  =============================================
differ in the output layer only, reverse KL  one pass: logits are linear in what differs
differ in the output layer only              one pass of the backbone, an output layer each
LoRA adapters of one base                    one pass over a row of each, with one cache
anything else                                a pass and a cache each
===========================================  =============================================
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors import safe_open
from torch import Tensor, nn

from paretune.core.constrained import Divergence
from paretune.engines.lm.adapter_rows import can_stack, stack_adapters
from paretune.engines.lm.forward import backbone_and_head
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.mixture import Heads, Mixture, Part
from paretune.engines.lm.models import load_base, load_policy, quiet_peft, require_adapter
from paretune.engines.lm.one_base import require_one_base
from paretune.engines.lm.state_head import StateHeadLayer, is_head, load_head
from paretune.errors import ConfigError

_HEADS = {"lm_head", "embed_out"}
"""Names of output layers."""


def mix_policies(
    folders: Sequence[Path | None],
    weights: Sequence[float],
    base: str | os.PathLike[str],
    *,
    divergence: Divergence = "reverse_kl",
    alpha: float = 0.5,
    is_normalized: bool = True,
    quantize: str = "none",
) -> Any:
    """The policy that combines the next-token distributions of several policies.

    Policies of weight 0 are not loaded. One of weight 1 is that policy itself. Other divergences
    than the reverse KL read the base as well, which is the reference of all.

    Args:
        folders: of the policies, trained from the same base; ``None`` is the base itself.
        weights: one number a policy, summing to 1.
        base: path or hub id of the base.
        divergence: the one that every policy is optimal for.
        alpha: parameter of ``alpha``, in (0, 1).
        is_normalized: solve for the normalizer.
        quantize: how the base was loaded when the adapters were trained.

    Returns:
        A model or a :class:`Mixture`, in evaluation mode.

    Raises:
        ConfigError: if the policies come from different bases or vocabularies, are of several
            kinds or conditioned on the trade-off, or the weights do not sum to 1.
    """
    used = [(f, float(w)) for f, w in zip(folders, weights, strict=True) if w != 0]
    if not used or abs(sum(w for _, w in used) - 1) > 1e-6:
        raise ConfigError(f"mix: found weights {list(weights)}, expected a sum of 1")
    # The base comes last, where the reference is.
    used.sort(key=lambda policy: policy[0] is None)
    trained = [f for f, _ in used if f is not None]
    require_one_base("mix", trained, base)
    if len(used) == 1:
        alone = load_policy(trained[0], base, quantize=quantize) if trained else None
        return (alone or load_base(base, is_frozen=True, quantize=quantize)).eval()
    kept = tuple(w for _, w in used)
    is_linear = divergence == "reverse_kl" and len(trained) == len(used)
    if is_linear and _share_backbone(trained):
        merged = merge_policies(trained, kept, base, quantize)
        if _ends_with_its_head(merged):
            return merged
    n_base = len(used) - len(trained) + (divergence != "reverse_kl")
    parts = _parts(trained, n_base, base, quantize)
    sizes = {int(part.model.config.get_text_config().vocab_size) for part in parts}
    if len(sizes) > 1:
        raise ConfigError(f"mix: found vocabularies of {sorted(sizes)} tokens, expected one")
    return Mixture(parts, kept, divergence, alpha, is_normalized).eval()


def _parts(
    trained: Sequence[Path], n_base: int, base: str | os.PathLike[str], quantize: str
) -> list[Part]:
    """The trained policies in their order, then the base ``n_base`` times."""
    is_shared = _share_backbone(trained)
    if all(is_head(folder) for folder in trained):
        model = load_base(base, is_frozen=True, quantize=quantize)
        layer = backbone_and_head(model)[1]
        own = [StateHeadLayer(load_head(folder, model), layer) for folder in trained]
        return [_side_by_side(model, [*own, *[layer] * n_base])]
    parts: list[Part] = []
    if are_lora(trained):
        model, names = with_adapters(trained, base, quantize)
        if is_shared:
            layer = model.get_base_model().get_output_embeddings()
            model.set_adapter(names[0])
            parts = [_side_by_side(model, [_OfAdapter(layer, name) for name in names])]
        elif can_stack(model):
            n_blocks = len(names) + n_base
            return [Part(stack_adapters(model, names, n_blocks).eval(), n_blocks=n_blocks)]
    elif is_shared:
        models = [load_base(folder, is_frozen=True) for folder in trained]
        parts = [_side_by_side(models[0], [backbone_and_head(m)[1] for m in models])]
    if not parts:
        parts = [Part(load_policy(f, base, quantize=quantize).eval()) for f in trained]
    if n_base:
        frozen = load_base(base, is_frozen=True, quantize=quantize)
        parts += [Part(frozen.eval())] * n_base
    return parts


def _side_by_side(model: Any, layers: Sequence[nn.Module]) -> Part:
    """One backbone with several output layers."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Tied, moving the model would put the embeddings in the place of the layers.
    inner.config.tie_word_embeddings = False
    inner.set_output_embeddings(Heads(layers))
    return Part(model.eval(), n_heads=len(layers))


@final
class _OfAdapter(nn.Module):
    """The output layer as one of several adapters has it."""

    def __init__(self, layer: Any, name: str) -> None:
        super().__init__()
        self.layer, self.name = layer, name

    def forward(self, states: Tensor) -> Tensor:
        """``(..., V)`` logits."""
        layer, name = self.layer, self.name
        own = getattr(layer, "modules_to_save", {})
        if name in own:
            layer = own[name]
        is_updated = name in getattr(layer, "lora_A", {})
        logits: Tensor = (layer.base_layer if is_updated else layer)(states)
        if is_updated:
            inner = layer.lora_A[name](states.to(layer.lora_A[name].weight.dtype))
            logits = logits + (layer.lora_B[name](inner) * layer.scaling[name]).to(logits.dtype)
        return logits


def with_adapters(
    folders: Sequence[Path], base: str | os.PathLike[str], quantize: str
) -> tuple[Any, list[str]]:
    """The base with all adapters, and their names."""
    from peft import PeftModel

    names = [f"policy{i}" for i in range(len(folders))]
    for folder in folders:
        require_adapter(folder)
    with quiet_peft():
        frozen = load_base(base, is_frozen=True, quantize=quantize)
        model = PeftModel.from_pretrained(frozen, str(folders[0]), adapter_name=names[0])
        for name, folder in zip(names[1:], folders[1:], strict=True):
            model.load_adapter(str(folder), adapter_name=name)
    return model.eval(), names


def are_lora(folders: Sequence[Path]) -> bool:
    """Whether the folders are LoRA adapters with nothing beside them but output layers."""
    from peft import PeftConfig

    for folder in folders:
        if not (folder / "adapter_config.json").exists():
            return False
        config: Any = PeftConfig.from_pretrained(str(folder))
        is_plain = config.peft_type == "LORA" and config.bias == "none"
        is_plain = is_plain and not (config.target_parameters or config.trainable_token_indices)
        if not is_plain or not set(config.modules_to_save or ()) <= _HEADS:
            return False
    return True


def _share_backbone(folders: Sequence[Path]) -> bool:
    """Whether several policies differ in their output layers only, to the bit."""
    if len(folders) < 2:
        return False
    if all(is_head(folder) for folder in folders):
        return True
    if any(is_head(folder) for folder in folders):
        return False
    first, settings = _backbone_files(folders[0]), _adapter_settings(folders[0])
    for folder in folders[1:]:
        other = _backbone_files(folder)
        if first.keys() != other.keys() or settings != _adapter_settings(folder):
            return False
        # One tensor after the other: policies trained apart differ in the first ones.
        for name, path in first.items():
            if not torch.equal(_tensor(path, name), _tensor(other[name], name)):
                return False
    return bool(first)


def _backbone_files(folder: Path) -> dict[str, Path]:
    """Where each tensor outside of the output layer lies, by name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), "pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return {name: path for name, path in found.items() if not _HEADS & set(name.split("."))}


def _adapter_settings(folder: Path) -> str:
    path = folder / "adapter_config.json"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _tensor(path: Path, name: str) -> Tensor:
    with safe_open(str(path), "pt") as file:
        found: Tensor = file.get_tensor(name)
    return found


@torch.no_grad()
def _ends_with_its_head(model: Any) -> bool:
    """Whether logits are what the output layer gives, with no cap or scale behind it."""
    layer = backbone_and_head(model)[1]
    given: list[Tensor] = []

    def spread(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        # So loud that a soft cap would show.
        given.append(torch.linspace(-99, 99, out.shape[-1]).to(out).expand_as(out))
        return given[-1]

    handle = layer.register_forward_hook(spread)
    try:
        ids = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
        return torch.equal(model(input_ids=ids).logits, given[-1])
    finally:
        handle.remove()
