"""Models on disk and in memory: bases, adapters, and safe saving."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils.logging import disable_progress_bar

from paretune.engines.lm.forward import fast_dtype, set_matmul_precision
from paretune.engines.lm.settings import LoraSettings
from paretune.engines.lm.state_head import attach_head, is_head, load_head
from paretune.engines.lm.tradeoff_adapter import (
    has_tradeoff_adapter,
    is_tradeoff_folder,
    load_tradeoff_adapter,
    save_tradeoff_adapter,
)
from paretune.engines.lm.tradeoff_embedding import (
    has_tradeoff_embedding,
    is_embedding_folder,
    load_tradeoff_embedding,
    save_tradeoff_embedding,
)
from paretune.errors import ConfigError, InputError

_FULL = torch.float32

# transformers draws a bar for every small file it reads or writes, also where nobody watches.
disable_progress_bar()


def pick_device() -> torch.device:
    """The first CUDA device, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hub_revision(base: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Folder or hub id, and the revision of a hub id that is pinned.

    Example:
        >>> hub_revision("owner/name@0a1b2c3")
        ('owner/name', '0a1b2c3')
    """
    if os.path.isdir(base):
        return str(base), None
    name, _, revision = str(base).partition("@")
    return name, revision or None


def load_tokenizer(folder: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    """Tokenizer of a local folder or hub id; see :func:`hub_revision`.

    Raises:
        InputError: if there is none.
    """
    name, revision = hub_revision(folder)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"base: found no tokenizer in {folder!s}, expected tokenizer.json beside the model "
            f"({str(error).splitlines()[0]})"
        ) from error


def base_config(folder: str | os.PathLike[str]) -> Any:
    """Configuration of a base, without its parameters; see :func:`load_base`.

    Raises:
        OSError, ValueError, KeyError: what the library raises where there is none.
    """
    name, revision = hub_revision(folder)
    return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)


def load_base(
    folder: str | os.PathLike[str],
    *,
    is_frozen: bool = False,
    quantize: str = "none",
    device: torch.device | None = None,
) -> PreTrainedModel:
    """A causal language model from a local folder or hub id, weights in safetensors only.

    Args:
        folder: local folder, or hub id; see :func:`hub_revision`.
        is_frozen: no parameter of it will train (adapters do, or nothing does).
        quantize: of a frozen base: ``none`` or ``4bit`` (CUDA and bitsandbytes needed).
        device: where to put it; ``None`` = :func:`pick_device`.

    Raises:
        InputError: if there is no model, or 4 bits are asked for without a GPU.
    """
    device = device or pick_device()
    set_matmul_precision()
    name, revision = hub_revision(folder)
    options: dict[str, Any] = {}
    if quantize == "4bit":
        options |= _four_bits(device)
    else:
        # Parameters that train need float32; a frozen base on a GPU is only multiplied with.
        options["dtype"] = fast_dtype(device) if is_frozen and device.type == "cuda" else _FULL
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"base: cannot load a causal language model from {folder!s}, expected a folder with "
            f"config.json and *.safetensors, or a hub id ({str(error).splitlines()[0]})"
        ) from error
    return place(model, device) if quantize == "none" else model


def place(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Move a model and choose its attention: plain products for short rows on a CPU.

    torch's flash kernel for CPUs is slower than plain products on short rows (its backward is
    more than half of a step), and it takes no mask that lets a pair share its prompt.
    """
    model = model.to(device)
    model.set_attn_implementation("eager" if device.type == "cpu" else "sdpa")
    return model


def build_model(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """A model with random parameters from a config; the same numbers for the same seed."""
    set_matmul_precision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    return place(model, pick_device())


def add_adapter(model: PreTrainedModel, lora: LoraSettings, seed: int) -> Any:
    """The model with a fresh LoRA adapter named ``default``; only the adapter trains.

    Raises:
        ConfigError: if the top layers are asked for, and nothing there is called so.
    """
    from peft import LoraConfig, get_peft_model

    target: str | list[str] = lora.target
    if "," in lora.target:
        target = [name.strip() for name in lora.target.split(",")]
    if lora.layers != "all":
        target = top_modules(model, target, {"top-half": 2, "top-quarter": 4}[lora.layers])
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target,
        task_type="CAUSAL_LM",
        bias="none",
    )
    with torch.random.fork_rng(devices=[]), quiet_peft():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def top_modules(model: PreTrainedModel, target: str | list[str], share: int) -> list[str]:
    """Names of the linear layers in the top blocks.

    Args:
        model: a Hugging Face causal language model.
        target: ``all-linear``, or last parts of names.
        share: one block of so many, at least one.

    Raises:
        ConfigError: if the model has no list of blocks, or none of them has such a layer.
    """
    n = int(model.config.get_text_config().num_hidden_layers)
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    blocks = next((name for name, m in lists if len(m) == n), None)
    wanted = [target] if isinstance(target, str) else target
    tops = tuple(f"{blocks}.{i}." for i in range(n - max(1, n // share), n))
    found = [
        name
        for name, module in model.named_modules()
        if name.startswith(tops) and isinstance(module, nn.Linear | Conv1D)
        if target == "all-linear" or name.rpartition(".")[2] in wanted
    ]
    if not found:
        raise ConfigError(
            f"train.lora.layers: found no layer {target!r} in the top blocks of "
            f"{type(model).__name__}, expected all-linear or names of its linear layers"
        )
    return found


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Warnings that no user can act on.

    PEFT asks transformers by names that transformers warns about, and it warns of an output layer
    with an adapter when embeddings are tied to it: that matters only for writing the update into
    the layer, which is never done here. It tells that it transposed a layer of GPT-2, as it must.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
        yield


def load_policy(
    folder: Path, base: str | os.PathLike[str], *, train: bool = False, quantize: str = "none"
) -> Any:
    """A trained policy: an adapter or a head on its base, or a full model folder.

    Args:
        folder: of the policy.
        base: that adapters and heads belong to.
        train: whether the policy goes on training.
        quantize: how the base was loaded when the adapters were trained.

    Raises:
        InputError: if the folder holds none of them, or a head is to go on training.
    """
    if is_head(folder):
        if train:
            raise InputError(
                f"{folder}: found a head on a frozen trunk, expected a policy that can go on "
                "training (backbone: own)"
            )
        model = load_base(base, is_frozen=True, quantize=quantize)
        return attach_head(model, load_head(folder, model)).eval()
    if is_embedding_folder(folder):
        return load_tradeoff_embedding(_plain_policy(folder, base, train, quantize), folder, train)
    if is_tradeoff_folder(folder):
        model = load_base(base, is_frozen=True, quantize=quantize)
        return load_tradeoff_adapter(model, folder, train=train)
    return _plain_policy(folder, base, train, quantize)


def require_adapter(folder: Path) -> None:
    """Refuse an adapter without safetensors: PEFT would unpickle, or ask the hub.

    Raises:
        InputError: then.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        names = ", ".join(sorted(f.name for f in folder.glob("adapter*")))
        raise InputError(
            f"{folder}: found {names or 'no adapter'}, expected adapter_model.safetensors: other "
            "formats can run code when they are read, so they never are"
        )


def _plain_policy(folder: Path, base: str | os.PathLike[str], train: bool, quantize: str) -> Any:
    if (folder / "adapter_config.json").exists():
        from peft import PeftModel

        require_adapter(folder)
        model = load_base(base, is_frozen=True, quantize=quantize)
        with quiet_peft():
            return PeftModel.from_pretrained(model, str(folder), is_trainable=train)
    if (folder / "config.json").exists():
        return load_base(folder, is_frozen=not train)
    raise InputError(
        f"{folder}: found no policy, expected adapter_config.json, state_head.json or config.json"
    )


def save_policy(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a policy in PEFT / Hugging Face file names, safetensors only, with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    if has_tradeoff_adapter(model):
        save_tradeoff_adapter(model, folder)
    elif has_tradeoff_embedding(model):
        save_tradeoff_embedding(model, folder)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def n_parameters(model: torch.nn.Module, trainable: bool = False) -> int:
    """Number of parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def _four_bits(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        raise InputError("train.lora.quantize: found 4bit without a CUDA device, expected none")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise InputError(
            "train.lora.quantize: 4bit needs bitsandbytes: pip install 'paretune[quant]'"
        ) from error
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=fast_dtype(device),
    )
    return {"quantization_config": config, "device_map": {"": device.index or 0}}
