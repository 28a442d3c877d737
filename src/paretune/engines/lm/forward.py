"""Log-probabilities of responses: one backbone pass, the head only where it predicts them."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paretune.engines.lm.batches import PackedRows, pack_rows, row_lengths
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.filling import fill_rows
from paretune.errors import ConfigError

_HEAD_CELLS = 1 << 27
"""Logits held at once (512 MiB in fp32); a larger batch is walked in pieces."""

_LOUD = 30.0
"""Standard deviation that a probe scales logits to: soft-capping shows there, near 0 it hides."""


@final
class ResponseScorer(nn.Module):
    """A causal language model as a module from packed rows to log-probabilities.

    All of the work happens in this module's ``forward``: a wrapper that synchronizes gradients or
    gathers sharded parameters (DDP, FSDP) must see every use of a parameter.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        is_packed: whether the fast pass is exact for the model (:func:`scorer_for` finds out);
            otherwise each response is a row of its own through the model's own forward.
        is_compiled: run the blocks of the fast pass through ``torch.compile``.
        is_filled: whether short rows of one response may share a row.
    """

    def __init__(
        self, model: Any, is_packed: bool, is_compiled: bool = False, is_filled: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.is_packed = is_packed
        self.is_filled = is_filled
        # In a tuple: these are the model's own parameters, which must not be listed twice.
        backbone = backbone_and_head(model)[0]
        self.backbone = (compiled_blocks(backbone) if is_packed and is_compiled else backbone,)

    def pack(self, data: Encoded, rows: npt.NDArray[np.int64], pad_id: int) -> PackedRows:
        """Rows in the layout that ``forward`` wants; responses keep their order.

        Args:
            data: the encoded data set.
            rows: ``(B, K)`` response numbers; the responses of a row share their prompt.
            pad_id: fills short rows.
        """
        packed = pack_rows(data, rows if self.is_packed else rows.reshape(-1, 1), pad_id)
        return fill_rows(packed) if self.is_filled else packed

    def forward(self, rows: PackedRows) -> Tensor:
        """``(B * K,)`` float32 log-probability of each response, nats."""
        if self.is_packed:
            return response_logps(self.model, rows, self.backbone[0])
        return own_logps(self.model, rows)

    @property
    def quantization_method(self) -> Any:
        """Passed on: the trainer must not move a 4-bit model."""
        return getattr(self.model, "quantization_method", None)


def scorer_for(
    model: Any,
    data: Encoded,
    rows: npt.NDArray[np.int64],
    pad_id: int,
    is_compiled: bool = False,
    may_fill: bool = False,
) -> ResponseScorer:
    """The fastest exact way to score rows with a model, found by trying two of them.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        data: the encoded data set.
        rows: ``(B, K)`` response numbers, B >= 1.
        pad_id: fills short rows.
        is_compiled: run the blocks through ``torch.compile``, where the fast pass is exact.
        may_fill: let short rows of one response share a row, where that is exact.
    """
    # The longest row is where a sliding window would cut, a short one where padding would leak.
    order = np.argsort(row_lengths(data, rows), kind="stable")
    probe = pack_rows(data, rows[np.unique([order[0], order[-1]])], pad_id)
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        is_packed = is_exact(model, probe.to(device))
        is_filled = False
        if is_packed and may_fill and rows.shape[1] == 1:
            # As many short ones as it takes to share a row with, or beside, the longest.
            chosen = rows[np.concatenate([order[:4], order[-1:]])]
            is_filled = _fills_exactly(model, pack_rows(data, chosen, pad_id), device)
        return ResponseScorer(model, is_packed, is_compiled, is_filled)
    finally:
        model.train(was_training)


def backbone_and_head(model: Any) -> tuple[nn.Module, nn.Module]:
    """The transformer that gives hidden states, and the layer that turns them into logits."""
    inner: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model, inner.get_output_embeddings()


def compiled_blocks(backbone: nn.Module) -> nn.Module:
    """The backbone with its repeated blocks compiled once for all; ``backbone`` is unchanged.

    Raises:
        ConfigError: if there is no C++ compiler to do it with.
    """
    if next(backbone.parameters()).device.type == "cpu" and not shutil.which(
        os.environ.get("CXX", "g++")
    ):
        raise ConfigError(
            "train.compile: found no C++ compiler, expected g++ or one named by the variable CXX"
        )
    from accelerate.utils import compile_regions

    # Rows of every batch have another length, so shapes stay open.
    compiled: nn.Module = compile_regions(backbone, dynamic=True)
    return compiled


def response_logps(model: Any, rows: PackedRows, backbone: nn.Module | None = None) -> Tensor:
    """Sum of log-probabilities of each response, in nats.

    Exact for models whose logits are the head applied to the backbone's last hidden state and
    whose attention takes a 4-D mask; :func:`is_exact` checks that for a model.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        rows: B rows of K responses on the model's device.
        backbone: the model's own in another form (compiled); default as it is.

    Returns:
        ``(B * K,)`` float32, differentiable.
    """
    head = backbone_and_head(model)[1]
    return head_logps(head, response_states(model, rows, backbone), rows)


def response_states(model: Any, rows: PackedRows, backbone: nn.Module | None = None) -> Tensor:
    """``(R, D)`` last hidden states at the positions that predict response tokens.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        rows: on the model's device.
        backbone: the model's own in another form (compiled); default as it is.
    """
    places = {} if rows.segment is None else {"position_ids": rows.position_ids}
    hidden = (backbone or backbone_and_head(model)[0])(
        input_ids=rows.input_ids,
        attention_mask=additive_mask(rows, _arithmetic(model)),
        use_cache=False,
        **places,
    ).last_hidden_state
    states: Tensor = hidden.flatten(0, 1).index_select(0, rows.predicts)
    return states


def head_logps(head: nn.Module, states: Tensor, rows: PackedRows) -> Tensor:
    """``(B * K,)`` log-probability of each response under an output layer, in nats.

    Args:
        head: from states to logits.
        states: ``(R, D)`` as :func:`response_states` returns them.
        rows: that they belong to.
    """
    outputs: Any = getattr(head, "out_features", None) or head.weight
    n_outputs = outputs if isinstance(outputs, int) else outputs.shape[0]
    piece = max(1, _HEAD_CELLS // n_outputs)
    pieces = zip(states.split(piece), rows.targets.split(piece), strict=True)
    return _sum_by_response(rows, [_logps(head(s), t) for s, t in pieces])


def own_logps(model: Any, rows: PackedRows) -> Tensor:
    """The same quantity through the model's own forward: any architecture, all logits.

    Args:
        model: a Hugging Face causal language model, with or without PEFT adapters.
        rows: B rows of one response each on the model's device.

    Returns:
        ``(B,)`` float32, differentiable.
    """
    columns = torch.arange(rows.input_ids.shape[1], device=rows.input_ids.device)
    mask = (columns < rows.lengths[:, None]).long()
    logits = model(input_ids=rows.input_ids, attention_mask=mask, use_cache=False).logits
    states = logits.flatten(0, 1).index_select(0, rows.predicts)
    return _sum_by_response(rows, [_logps(states, rows.targets)])


def _logps(logits: Tensor, targets: Tensor) -> Tensor:
    # Half precision is too coarse for a sum over tokens; float64 (parity tests) stays.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -cross_entropy(logits, targets, reduction="none")


def _sum_by_response(rows: PackedRows, token_logps: list[Tensor]) -> Tensor:
    values = torch.cat(token_logps) if len(token_logps) > 1 else token_logps[0]
    return values.new_zeros(len(rows.tokens)).index_add(0, rows.response, values)


def _arithmetic(model: Any) -> torch.dtype:
    """What the backbone computes in: a fused attention takes no other type of mask."""
    weight: Tensor = model.get_input_embeddings().weight
    if torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def additive_mask(rows: PackedRows, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """``(B, 1, T, T)`` float mask: 0 where a position may look, very negative elsewhere."""
    if rows.segment is None:
        return None
    width, device = rows.segment.shape[1], rows.segment.device
    looker, seen = rows.segment[:, :, None], rows.segment[:, None, :]
    is_hidden = (looker != seen).logical_and_(seen != 0)
    is_hidden |= torch.ones((width, width), dtype=torch.bool, device=device).triu_(1)
    # bfloat16's own minimum: float32's becomes -inf under autocast, and -inf - -inf is NaN.
    low = torch.finfo(torch.bfloat16).min
    mask = torch.zeros(is_hidden.shape, dtype=dtype, device=device)
    return mask.masked_fill_(is_hidden, low)[:, None]


@torch.no_grad()
def is_exact(model: Any, rows: PackedRows) -> bool:
    """Whether :func:`response_logps` agrees with the model's own forward on these rows.

    Logits are made loud for the comparison: a model that bends them after its head (soft-capping)
    does so unseen while they are small, as in a fresh model, and not once it is trained.

    Args:
        model: in evaluation mode.
        rows: a few rows.
    """
    try:
        with _loud_head(model, rows):
            fast = response_logps(model, rows)
            slow = _one_by_one(model, rows)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError):
        return False  # an architecture that takes no 4-D mask or no position ids
    # Relative to the loud values, far above rounding and far below what a wrong mask does.
    tolerance = 1e-3 if _arithmetic(model).itemsize >= 4 else 1e-2
    return bool(((fast - slow).abs() <= tolerance * (1 + slow.abs())).all())


@torch.no_grad()
def _fills_exactly(model: Any, rows: PackedRows, device: torch.device) -> bool:
    """Whether rows that share a row give what they give alone."""
    filled = fill_rows(rows)
    if filled.owner is None:
        # Nothing is saved here; where short rows do meet, the mask is that of shared prompts.
        return False
    try:
        with _loud_head(model, rows.to(device)):
            alone = response_logps(model, rows.to(device))
            shared = response_logps(model, filled.to(device))
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError):
        return False
    tolerance = 1e-3 if _arithmetic(model).itemsize >= 4 else 1e-2
    return bool(((alone - shared).abs() <= tolerance * (1 + alone.abs())).all())


def _one_by_one(model: Any, rows: PackedRows) -> Tensor:
    """Log-probabilities by the model's own forward, one response at a time, nothing padded."""
    per_row = len(rows.tokens) // len(rows.input_ids)
    out = []
    for n in range(len(rows.tokens)):
        mine = rows.response == n
        prompt_end = int(rows.predicts[mine][0]) % rows.input_ids.shape[1]
        target = rows.targets[mine]
        ids = torch.cat([rows.input_ids[n // per_row, : prompt_end + 1], target])[None]
        logits = model(input_ids=ids, use_cache=False).logits[0, prompt_end:-1]
        out.append(_logps(logits, target).sum())
    return torch.stack(out)


@contextlib.contextmanager
def _loud_head(model: Any, rows: PackedRows) -> Iterator[None]:
    """Scale what the head returns so that its spread on these rows is :data:`_LOUD`."""
    backbone, head = backbone_and_head(model)
    spread = head(backbone(input_ids=rows.input_ids[:1], use_cache=False).last_hidden_state).std()
    factor = _LOUD / float(spread.clamp(min=1e-6))
    handle = head.register_forward_hook(lambda module, args, logits: logits * factor)
    try:
        yield
    finally:
        handle.remove()


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
