r"""Low-rank updates that hold the trade-off: one policy that answers for all of them.

Every adapted layer multiplies with :math:`W_0 + U\,\mathrm{diag}(\sigma, s\lambda)\,V^\top`.
The trade-off :math:`\lambda` is set on the whole model at once and costs nothing to change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from paretune.core.adapter import TradeOffAdapter
from paretune.errors import ConfigError, InputError

CONFIG, TENSORS = "tradeoff_adapter.json", "tradeoff_adapter.safetensors"


@final
class ConditionedLinear(nn.Module):
    r"""A frozen linear layer with an update that depends on the trade-off.

    It starts as the layer itself, because :math:`U` starts at 0. The layer may be quantized: it is
    only called.

    Args:
        base: ``nn.Linear``, a quantized form of it, or the ``Conv1D`` of transformers.
        adapter: sizes and start of the update.
        generator: draws :math:`V`.

    Source:
        Zhong et al. 2024 (Panacea), Sec. 4.1, on SVD-LoRA of Zhang et al. 2023 (AdaLoRA).
        Deviations: :math:`U` starts at 0 and :math:`\sigma, s` do not, as in LoRA, where AdaLoRA
        has it the other way round; and no penalty makes the columns of :math:`U` and :math:`V`
        orthogonal, because no direction is ever pruned by its singular value. There may be several
        directions an objective, which share :math:`s\lambda_i`; the source has one.
    """

    def __init__(
        self, base: nn.Module, adapter: TradeOffAdapter, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.base = base
        n_in, n_out = _sizes(base)
        weight: Any = base.weight
        kind = torch.promote_types(weight.dtype, torch.float32) if weight.is_floating_point() else (
            torch.float32
        )  # fmt: skip
        place: dict[str, Any] = {"device": weight.device, "dtype": kind}
        bound = n_in**-0.5
        inner = torch.rand(adapter.width, n_in, generator=generator) * 2 * bound - bound
        self.inner = nn.Parameter(inner.to(**place))
        self.outer = nn.Parameter(torch.zeros(n_out, adapter.width, **place))
        self.shared = nn.Parameter(torch.full((adapter.rank,), adapter.scale, **place))
        self.scale = nn.Parameter(torch.full((1,), adapter.scale, **place))
        self._directions = adapter.directions
        # No buffer: wrappers that train over processes would make those of all processes equal.
        self.tradeoff = torch.full((adapter.n_objectives,), 1 / adapter.n_objectives, **place)

    @property
    def values(self) -> Tensor:
        """``(R,)`` the diagonal at the trade-off that is set, or ``(B, R)`` one a row."""
        given = self.scale * self.tradeoff.repeat_interleave(self._directions, -1)
        return torch.cat([self.shared.expand(*given.shape[:-1], -1), given], -1)

    @property
    def update(self) -> Tensor:
        """What is added to the layer's weight, in the layout that the layer keeps it in."""
        change = (self.outer * self.values) @ self.inner
        return change.T if isinstance(self.base, Conv1D) else change

    @property
    def weight(self) -> Tensor:
        """What the layer multiplies with: some architectures read it themselves."""
        weight: Tensor = self.base.weight  # type: ignore[assignment]
        return weight + self.update.to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        """Of the layer, unchanged."""
        bias: Tensor | None = self.base.bias  # type: ignore[assignment]
        return bias

    def forward(self, states: Tensor) -> Tensor:
        """The layer's output with the update's."""
        out: Tensor = self.base(states)
        if self.tradeoff.ndim == 2:
            inside = nn.functional.linear(states.to(self.inner.dtype), self.inner)
            values = self.values.view(len(states), *[1] * (states.ndim - 2), -1)
            return out + nn.functional.linear(inside * values, self.outer).to(out.dtype)
        # A matrix of the values first: it is small, the states are many.
        outer = self.outer * self.values
        return out + nn.functional.linear(
            nn.functional.linear(states.to(self.inner.dtype), self.inner), outer
        ).to(out.dtype)


def add_tradeoff_adapter(
    model: Any, adapter: TradeOffAdapter, target: str = "all-linear", seed: int = 0
) -> Any:
    """Put an adapter into a model, in place; nothing else trains any more.

    Args:
        model: a Hugging Face causal language model without adapters.
        adapter: sizes and start.
        target: ``all-linear``: every linear layer but the output layer, as LoRA means it; or the
            ends of module names, separated by commas.
        seed: of the start.

    Returns:
        The same model, set to the even trade-off.

    Raises:
        InputError: if no layer is a target, or the model has adapters already.
    """
    if hasattr(model, "peft_config") or has_tradeoff_adapter(model):
        raise InputError("trade-off adapter: found a model with adapters, expected a plain one")
    names = _targets(model, target)
    if not names:
        raise InputError(
            f"trade-off adapter: found no linear layer named {target!r} in {type(model).__name__}, "
            "expected at least one"
        )
    _insert(model, adapter, names, torch.Generator().manual_seed(seed))
    return model


def has_tradeoff_adapter(model: Any) -> bool:
    """Whether a trade-off can be set on a model."""
    return hasattr(model, "tradeoff_adapter")


def set_tradeoff(model: Any, weights: Sequence[float]) -> None:
    """Make a model answer for a trade-off.

    Args:
        model: with a trade-off adapter.
        weights: ``(M,)``, any numbers; a trade-off lies on the simplex.

    Raises:
        ConfigError: if their number is not that of the adapter.
    """
    expected = model.tradeoff_adapter.n_objectives
    if len(weights) != expected:
        raise ConfigError(
            f"trade-off adapter: found {len(weights)} weights, expected {expected}: one for each "
            "objective that the policy was trained on"
        )
    numbers = torch.tensor([float(w) for w in weights], dtype=torch.float64)
    for _, layer in _layers(model):
        layer.tradeoff = numbers.to(layer.tradeoff)


def set_row_tradeoffs(model: Any, rows: Sequence[Sequence[float]]) -> None:
    """Make each row of the next batches answer for a trade-off of its own.

    Args:
        model: with a trade-off adapter that nothing reads the weight of (linear layers).
        rows: ``(B, M)`` one trade-off a row.

    Raises:
        ConfigError: if the number of weights is not that of the adapter.
    """
    expected = model.tradeoff_adapter.n_objectives
    numbers = torch.tensor([[float(w) for w in row] for row in rows], dtype=torch.float64)
    if numbers.ndim != 2 or numbers.shape[1] != expected:
        raise ConfigError(
            f"trade-off adapter: found weights of shape {tuple(numbers.shape)}, expected "
            f"{expected} a row"
        )
    for _, layer in _layers(model):
        layer.tradeoff = numbers.to(layer.tradeoff)


def fix_tradeoff(model: Any, weights: Sequence[float]) -> Any:
    """Make a model answer for one trade-off from now on, in place, as fast as it can exactly.

    Full-precision weights take the update in; half-precision or quantized ones would round it, so
    there it stays beside them.

    Args:
        model: with a trade-off adapter.
        weights: ``(M,)`` the trade-off.

    Returns:
        The same model.

    Raises:
        ConfigError: if the number of weights is wrong.
    """
    set_tradeoff(model, weights)
    kinds = {layer.base.weight.dtype for _, layer in _layers(model)}
    return merge_tradeoff(model, weights) if kinds <= {torch.float32, torch.float64} else model


@torch.no_grad()
def merge_tradeoff(model: Any, weights: Sequence[float]) -> Any:
    """Write the update for one trade-off into the weights, in place, and drop the adapter.

    Args:
        model: with a trade-off adapter, not quantized.
        weights: ``(M,)`` the trade-off.

    Returns:
        The same model, a plain one again.

    Raises:
        ConfigError: if the number of weights is wrong, or a layer is quantized.
    """
    set_tradeoff(model, weights)
    for name, layer in list(_layers(model)):
        weight: Any = layer.base.weight
        if not weight.is_floating_point():
            raise ConfigError(f"{name}: found a quantized layer, expected one to merge into")
        weight += layer.update.to(weight.dtype)
        _put(model, name, layer.base)
    del model.tradeoff_adapter
    return model


@torch.no_grad()
def as_lora(model: Any, weights: Sequence[float]) -> dict[str, tuple[Tensor, Tensor]]:
    """The update for one trade-off as plain LoRA factors, exactly.

    Args:
        model: with a trade-off adapter.
        weights: ``(M,)`` the trade-off.

    Returns:
        Of every adapted layer ``A``, ``(R, in)``, and ``B``, ``(out, R)``: the update is ``B A``.

    Raises:
        ConfigError: if the number of weights is wrong.
    """
    set_tradeoff(model, weights)
    return {n: (m.inner.detach(), (m.outer * m.values).detach()) for n, m in _layers(model)}


def export_lora(model: Any, weights: Sequence[float], folder: Path) -> None:
    """Write the policy of one trade-off as a LoRA adapter, in PEFT's files, for any server.

    Args:
        model: with a trade-off adapter.
        weights: ``(M,)`` the trade-off.
        folder: made when missing.

    Raises:
        ConfigError: if the number of weights is wrong.
    """
    from peft import LoraConfig

    factors = as_lora(model, weights)
    width = model.tradeoff_adapter.width
    # alpha = r: the factors carry their scale.
    config = LoraConfig(
        r=width, lora_alpha=width, target_modules=list(factors), task_type="CAUSAL_LM", bias="none",
        base_model_name_or_path=model.config.name_or_path or None,
        fan_in_fan_out=any(isinstance(m.base, Conv1D) for _, m in _layers(model)),
    )  # fmt: skip
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    tensors = {}
    for name, pair in factors.items():
        for side, factor in zip(("lora_A", "lora_B"), pair, strict=True):
            tensors[f"base_model.model.{name}.{side}.weight"] = factor.cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def is_tradeoff_folder(folder: Path) -> bool:
    """Whether a folder holds a policy that a trade-off can be set on."""
    return (folder / CONFIG).exists()


def save_tradeoff_adapter(model: Any, folder: Path) -> None:
    """Write the adapter, without its base."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = dict(_layers(model))
    about = {
        "adapter": asdict(model.tradeoff_adapter),
        "base": model.config.name_or_path,
        "layers": list(layers),
    }
    (folder / CONFIG).write_text(json.dumps(about, indent=2), encoding="utf-8")
    tensors = {
        f"{name}.{key}": parameter.detach().cpu().contiguous()
        for name, layer in layers.items()
        for key, parameter in layer.named_parameters(recurse=False)
    }
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})


def load_tradeoff_adapter(
    model: Any, folder: str | os.PathLike[str], *, train: bool = False
) -> Any:
    """Put a saved adapter into its base, in place.

    Args:
        model: the base.
        folder: as :func:`save_tradeoff_adapter` wrote it.
        train: whether it goes on training.

    Returns:
        The same model, set to the even trade-off.

    Raises:
        InputError: if the files are damaged, or do not fit the base.
    """
    place = Path(folder)
    try:
        about = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        adapter, tensors = TradeOffAdapter(**about["adapter"]), load_file(place / TENSORS)
    except (OSError, ValueError, KeyError, TypeError, ConfigError, SafetensorError) as error:
        raise InputError(
            f"{folder}: cannot load a trade-off adapter, expected {CONFIG} and {TENSORS} ({error})"
        ) from error
    try:
        _insert(model, adapter, about["layers"], torch.Generator())
        for name, layer in _layers(model):
            for key, parameter in layer.named_parameters(recurse=False):
                parameter.data.copy_(tensors[f"{name}.{key}"])
                parameter.requires_grad_(train)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{folder}: found an adapter of {about['base']!r} that does not fit the base "
            f"({str(error).splitlines()[0]}), expected the base that it was trained on"
        ) from error
    return model


def _targets(model: Any, target: str) -> list[str]:
    head = model.get_output_embeddings()
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)
              and m is not head]  # fmt: skip
    if target == "all-linear":
        return linear
    ends = [end.strip() for end in target.split(",")]
    return [n for n in linear if any(n == end or n.endswith(f".{end}") for end in ends)]


def _insert(
    model: Any, adapter: TradeOffAdapter, names: Sequence[str], generator: torch.Generator
) -> None:
    model.requires_grad_(False)
    for name in names:
        _put(model, name, ConditionedLinear(model.get_submodule(name), adapter, generator))
    # Of the model itself, so that whoever has it knows what can be set.
    model.tradeoff_adapter = adapter


def _put(model: Any, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _layers(model: Any) -> Iterator[tuple[str, ConditionedLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, ConditionedLinear):
            yield name, module


def _sizes(base: nn.Module) -> tuple[int, int]:
    """Inputs and outputs; of a quantized layer its weight would not tell."""
    if isinstance(base, Conv1D):
        return base.weight.shape[0], base.weight.shape[1]
    return base.in_features, base.out_features  # type: ignore[return-value]
