"""The frozen trunk of many policies: run once, its last hidden states kept.

One pass gives the states at the positions that predict response tokens, and with them the
log-probabilities under the trunk itself: as heads start from the trunk, these are the reference.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paretune.engines.lm.batches import PackedRows, by_tokens, row_lengths
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.forward import (
    autocast,
    backbone_and_head,
    response_states,
    scorer_for,
)
from paretune.errors import InputError
from paretune.functional.linear_logps import linear_logps

_SHARED = 4
"""Responses of a prompt that one row holds: the prompt is read once for them."""

_KEPT = 1 << 28
"""Bytes of a trunk that a process keeps for the next group that asks for the same one."""


@final
@dataclass(frozen=True)
class Trunk:
    """Last hidden states of responses, and what turns them into log-probabilities.

    Args:
        states: ``(T, D)`` the states that predict each token of each response, one response after
            the other; on the model's device, or a memory map.
        start: ``(N,)`` int64 first row of each response, -1 where it was not read.
        logps: ``(N,)`` float64 log-probability of each response, nats; NaN where not read.
        weight: ``(V, D)`` of the output layer, in the precision of products.
        bias: ``(V,)`` or ``None``.
        tokens: prompt and response tokens that the pass read, padding left out.
    """

    states: Tensor
    start: npt.NDArray[np.int64]
    logps: npt.NDArray[np.float64]
    weight: Tensor
    bias: Tensor | None
    tokens: int


def read_trunk(
    model: Any,
    data: Encoded,
    responses: npt.NDArray[np.int64],
    pad_id: int,
    *,
    dtype: torch.dtype,
    memory: float,
    folder: Path,
    tokens_per_batch: int = 8192,
) -> Trunk:
    """Run the trunk over responses once.

    States are kept in the precision of the parameters (float32; on a GPU in ``dtype``), in memory
    or, where they outgrow it, in a memory map: the same numbers, so the same result.

    Args:
        model: a Hugging Face causal language model; nothing of it changes.
        data: the encoded data set.
        responses: ``(R,)`` distinct numbers of the responses that are needed, R >= 1.
        pad_id: fills short rows.
        dtype: arithmetic of the pass and of the output layer.
        memory: bytes that states may take before they go to disk.
        folder: where the memory map lies; its file has no name once it is mapped.
        tokens_per_batch: padded tokens a batch may hold.

    Raises:
        InputError: if logits are not one plain layer applied to the last hidden state.
    """
    key = _identity(model, responses, dtype)
    if _slot and _slot[0][0]() is data and _slot[0][1] == key:
        return _slot[0][2]
    head = plain_head(model)
    tables = _by_prompt(data, responses)
    scorer = scorer_for(model, data, tables[-1], pad_id)
    if not scorer.is_packed:
        raise _no_heads_on(model)
    weight = head.weight.detach()
    # Float64 models (parity tests) stay float64.
    products = torch.promote_types(weight.dtype, dtype) if weight.dtype.itemsize > 4 else dtype
    kept = dtype if weight.is_cuda else torch.promote_types(weight.dtype, dtype)
    shape = (int(data.responses.lengths[responses].sum()), weight.shape[1])
    is_large = shape[0] * shape[1] * kept.itemsize > memory
    states = _mapped(shape, kept, folder) if is_large else weight.new_empty(shape, dtype=kept)
    trunk = Trunk(
        states,
        np.full(len(data.responses), -1, dtype=np.int64),
        np.full(len(data.responses), np.nan),
        weight.to(products),
        None if head.bias is None else head.bias.detach().to(products),
        int(sum(row_lengths(data, table).sum() for table in tables)),
    )
    was_training = model.training
    model.eval()
    pack = partial(scorer.pack, data, pad_id=pad_id)
    with torch.no_grad(), autocast(weight.device, dtype):
        _fill(trunk, model, data, tables, pack, tokens_per_batch)
    model.train(was_training)
    if not is_large and states.nbytes + weight.nbytes <= _KEPT:
        # A copy: the model may go on training after this.
        trunk = replace(trunk, weight=trunk.weight.clone())
        _slot[:] = [(weakref.ref(data, lambda _: _slot.clear()), key, trunk)]
    return trunk


def _fill(
    trunk: Trunk,
    model: Any,
    data: Encoded,
    tables: Sequence[npt.NDArray[np.int64]],
    pack: Callable[[npt.NDArray[np.int64]], PackedRows],
    tokens_per_batch: int,
) -> None:
    """The pass itself: states one response after the other, in the order of the batches."""
    done = 0
    for table in tables:
        for batch in by_tokens(row_lengths(data, table), tokens_per_batch):
            some = table[batch].ravel()
            rows = pack(table[batch]).to(trunk.weight.device)
            found = response_states(model, rows).to(trunk.states.dtype)
            sizes = data.responses.lengths[some]
            trunk.start[some] = done + np.cumsum(sizes) - sizes
            trunk.states[done : done + len(found)] = found
            done += len(found)
            # As heads are scored that have not moved: log-ratios start at zero exactly.
            each = linear_logps(
                found.to(trunk.weight.dtype), trunk.weight, rows.targets, trunk.bias
            )
            sums = each.new_zeros(len(some)).index_add(0, rows.response, each)
            trunk.logps[some] = sums.double().cpu().numpy()


def plain_head(model: Any) -> nn.Linear:
    """The output layer of a model on which heads can sit.

    Raises:
        InputError: if it is more than one matrix and perhaps a bias.
    """
    head = backbone_and_head(model)[1]
    if hasattr(model, "peft_config") or type(head) is not nn.Linear:
        raise _no_heads_on(model)
    return head


def _no_heads_on(model: Any) -> InputError:
    return InputError(
        f"frozen trunk: found {type(model).__name__}, whose logits are not one plain layer applied "
        "to its last hidden state; expected a base without adapters whose heads can share it"
    )


def _by_prompt(data: Encoded, responses: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Tables ``(B, C)`` of responses that share their prompt, for each C up to the most."""
    order = responses[np.argsort(data.prompt_of[responses], kind="stable")]
    prompt = data.prompt_of[order]
    is_first = np.concatenate([[True], prompt[1:] != prompt[:-1]])
    begin = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
    row_begins = np.flatnonzero((np.arange(len(order)) - begin) % _SHARED == 0)
    sizes = np.diff(np.append(row_begins, len(order)))
    return [
        order[row_begins[sizes == size][:, None] + np.arange(size)]
        for size in range(1, _SHARED + 1)
        if (sizes == size).any()
    ]


def _mapped(shape: tuple[int, int], dtype: torch.dtype, folder: Path) -> Tensor:
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".trunk-", dir=folder)
    os.close(handle)
    n = shape[0] * shape[1]
    states = torch.from_file(name, shared=True, size=n, dtype=dtype)  # type: ignore[call-overload]
    # Mapped, it needs no name, and a killed job leaves nothing; Windows keeps it until the end.
    with contextlib.suppress(OSError):
        os.unlink(name)
    mapped: Tensor = states.view(shape)
    return mapped


def _identity(model: Any, responses: npt.NDArray[np.int64], dtype: torch.dtype) -> Any:
    """Tells trunks of one data set apart: which model, which responses."""
    numbers = tuple(float(p.detach().sum(dtype=torch.float64)) for p in model.parameters())
    device = next(model.parameters()).device
    return numbers, responses.tobytes(), dtype, device


_slot: list[tuple[weakref.ref[Encoded], Any, Trunk]] = []
