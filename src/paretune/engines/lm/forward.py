"""Log-probabilities of responses: one backbone pass, the head only where a response is predicted."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paretune.engines.lm.batches import PackedRows

_HEAD_CELLS = 1 << 27
"""Logits held at once (512 MiB in fp32); a larger batch is walked in pieces."""


def backbone_and_head(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The transformer that gives hidden states, and the layer that turns them into logits."""
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model, inner.get_output_embeddings()


def response_logps(model: nn.Module, rows: PackedRows) -> Tensor:
    """Sum of log-probabilities of each response, in nats.

    Exact for models whose logits are the head applied to the backbone's last hidden state and
    whose attention takes a 4-D mask; :func:`is_exact` checks that for a model.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        rows: B rows of K responses on the model's device.

    Returns:
        ``(B * K,)`` float32, differentiable.
    """
    backbone, head = backbone_and_head(model)
    hidden = backbone(
        input_ids=rows.input_ids,
        position_ids=rows.position_ids,
        attention_mask=additive_mask(rows),
        use_cache=False,
    ).last_hidden_state
    states = hidden.flatten(0, 1).index_select(0, rows.predicts)
    piece = max(1, _HEAD_CELLS // head.weight.shape[0])
    token_logps = torch.cat(
        [
            -cross_entropy(head(s).float(), t, reduction="none")
            for s, t in zip(states.split(piece), rows.targets.split(piece), strict=True)
        ]
    )
    out = torch.zeros(len(rows.tokens), dtype=token_logps.dtype, device=token_logps.device)
    return out.index_add(0, rows.response, token_logps)


def additive_mask(rows: PackedRows) -> Tensor | None:
    """``(B, 1, T, T)`` float mask: 0 where a position may look, very negative elsewhere."""
    if rows.allowed is None:
        return None
    # bfloat16's own minimum: float32's becomes -inf under autocast, and -inf - -inf is NaN.
    low = torch.finfo(torch.bfloat16).min
    mask = torch.zeros(rows.allowed.shape, device=rows.allowed.device)
    return mask.masked_fill_(~rows.allowed, low)[:, None]


@torch.no_grad()
def plain_response_logps(model: nn.Module, rows: PackedRows) -> Tensor:
    """The same quantity by the model's own forward, one response a row: slow and obvious."""
    k = len(rows.tokens) // len(rows.input_ids)
    out = []
    for b in range(len(rows.input_ids)):
        for n in range(b * k, b * k + k):
            mine = rows.response == n
            prompt_end = int(rows.predicts[mine][0]) % rows.input_ids.shape[1]
            target = rows.targets[mine]
            ids = torch.cat([rows.input_ids[b, : prompt_end + 1], target])[None]
            logits = model(input_ids=ids, use_cache=False).logits[0, prompt_end:-1].float()
            out.append(-cross_entropy(logits, target, reduction="sum"))
    return torch.stack(out)


@torch.no_grad()
def is_exact(model: nn.Module, rows: PackedRows, tolerance: float = 1e-3) -> bool:
    """Whether :func:`response_logps` agrees with the model's own forward on these rows.

    Args:
        model: in evaluation mode.
        rows: a few rows.
        tolerance: largest difference relative to 1 + |log-probability|.
    """
    try:
        fast = response_logps(model, rows)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False  # an architecture that takes no 4-D mask or no position ids
    slow = plain_response_logps(model, rows)
    return bool(((fast - slow).abs() <= tolerance * (1 + slow.abs())).all())


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """Arithmetic that the device is fast at: bfloat16 where it has units for it, else float32.

    Decided from what the processor says it can do, never from a timing: a noisy machine must not
    change results from one run to the next.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _cpu_can("amx_bf16", "avx512_bf16", "bf16") else torch.float32


def _cpu_can(*names: str) -> bool:
    # Older torch cannot be asked; it then gets float32, which is right everywhere.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    return any(bool(ask().get(name, False)) for name in names)


@contextlib.contextmanager
def autocast(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Mixed precision in ``dtype``; does nothing for float32."""
    kind = torch.device(device).type
    if dtype is torch.float32:
        yield
        return
    with torch.autocast(kind, dtype=dtype):
        yield


def set_matmul_precision() -> None:
    """Send float32 products to the faster kernels where that changes no result.

    On AMD processors torch's default float32 path (MKL) runs at half speed; "medium" takes oneDNN,
    at the same error (2.1 times faster on EPYC). Elsewhere it would cost speed (Intel without
    AMX: 0.9 times) or precision (AMX rounds to bfloat16), so the default stays.
    """
    cpuinfo = Path("/proc/cpuinfo")
    vendor = cpuinfo.read_text(errors="ignore")[:400] if cpuinfo.exists() else platform.processor()
    if "AuthenticAMD" in vendor and not _cpu_can("amx_bf16"):
        torch.set_float32_matmul_precision("medium")
