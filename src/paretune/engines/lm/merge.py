"""Merged policies: weighted sums of updates, exact for full models and for LoRA adapters.

With LoRA the sum of updates is written as one adapter whose factors are stacked (PEFT's ``cat``):
``sum_i w_i B_i A_i`` exactly. Averaging the factors instead mixes terms of different experts
(relative error above 1 on random adapters), and a truncated SVD loses rank; neither is used.
Heads on a frozen trunk are stacked: what they add to a state is summed, so their mixture is exact.
Whole output layers that come with adapters are averaged: logits are linear in them, so policies
that share their backbone mix exactly.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paretune.engines.lm.models import load_base, quiet_peft, require_adapter
from paretune.engines.lm.one_base import require_one_base
from paretune.engines.lm.state_head import attach_head, is_head, load_head, mix_heads
from paretune.errors import ConfigError
from paretune.functional.mixing import average_parameters

_HEADS = {"lm_head", "embed_out"}
"""Names of output layers: what they give is linear in them."""


def merge_policies(
    folders: Sequence[Path],
    weights: Sequence[float],
    base: str | os.PathLike[str],
    quantize: str = "none",
) -> Any:
    """The policy whose update is the weighted sum of several policies' updates.

    Args:
        folders: policies trained from the same base, all adapters or all full models.
        weights: one number a policy, summing to 1.
        base: the base of the adapters.
        quantize: how the base was loaded when the adapters were trained.

    Returns:
        A model in evaluation mode.

    Raises:
        ConfigError: if the policies come from different bases, are of several kinds or conditioned
            on the trade-off, or an adapter kind has no exact sum.
    """
    require_one_base("merge", folders, base)
    if all(is_head(f) for f in folders):
        model = load_base(base, is_frozen=True, quantize=quantize)
        heads = [load_head(folder, model) for folder in folders]
        return attach_head(model, mix_heads(heads, weights)).eval()
    if any(is_head(f) for f in folders):
        raise ConfigError(f"merge: found heads and other policies together in {list(folders)}")
    is_adapter = [(f / "adapter_config.json").exists() for f in folders]
    if all(is_adapter):
        return _merge_adapters(folders, weights, base, quantize)
    models = [load_base(folder) for folder in folders]
    merged = models[0]
    average = average_parameters([m.state_dict() for m in models], weights)
    merged.load_state_dict(average)
    return merged.eval()


def _merge_adapters(
    folders: Sequence[Path],
    weights: Sequence[float],
    base: str | os.PathLike[str],
    quantize: str,
) -> Any:
    from peft import PeftConfig, PeftModel

    for folder in folders:
        require_adapter(folder)
        config: Any = PeftConfig.from_pretrained(str(folder))
        flaw = _no_exact_sum(config)
        if flaw:
            raise ConfigError(f"{folder}: found {flaw}, expected plain LoRA: its sum is exact")
    names = [f"policy{i}" for i in range(len(folders))]
    with quiet_peft():
        frozen = load_base(base, is_frozen=True, quantize=quantize)
        model = PeftModel.from_pretrained(frozen, str(folders[0]), adapter_name=names[0])
        for name, folder in zip(names[1:], folders[1:], strict=True):
            model.load_adapter(str(folder), adapter_name=name)
    used = [(n, float(w)) for n, w in zip(names, weights, strict=True) if w != 0]
    # A single expert at weight 1 is that expert itself, to the bit.
    if len(used) == 1 and used[0][1] == 1.0:
        model.set_adapter(used[0][0])
        return model.eval()
    _average_heads(model, used)
    with quiet_peft():
        model.base_model.add_weighted_adapter(
            [n for n, _ in used], [w for _, w in used], adapter_name="merged",
            combination_type="cat",
        )  # fmt: skip
    model.set_adapter("merged")
    return model.eval()


def _average_heads(model: Any, used: Sequence[tuple[str, float]]) -> None:
    """Put the weighted output layer in place where adapters bring their own."""
    inner = model.get_base_model()
    own = getattr(inner.get_output_embeddings(), "modules_to_save", None)
    if own is None:
        return
    head = copy.deepcopy(own[used[0][0]])
    states = [own[name].state_dict() for name, _ in used]
    head.load_state_dict(average_parameters(states, [weight for _, weight in used]))
    # Without the wrapper PEFT has nothing left that it could not sum.
    inner.set_output_embeddings(head)
    for config in model.peft_config.values():
        config.modules_to_save = None


def _no_exact_sum(config: Any) -> str:
    """What makes weighted sums of an adapter's updates inexact; empty when nothing does."""
    if config.peft_type != "LORA":
        return str(config.peft_type.value)
    if config.bias != "none":
        return f"bias {config.bias!r}"
    if not set(config.modules_to_save or ()) <= _HEADS:
        return "modules_to_save"
    flaws = ("use_rslora", "use_dora", "lora_bias")
    return next((flaw for flaw in flaws if getattr(config, flaw, False)), "")
