"""Batches: rows packed as prompt + responses, sorted by length, drawn from a hash.

A *row* is one prompt followed by one response (SFT) or by both responses of a pair. In a pair's
row the prompt is encoded once: each response sees the prompt and itself, never the other one
(a block mask), and its positions go on from the prompt's end. Only the positions that predict
response tokens ever reach the language-model head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.engines.lm.encode import Encoded

_WINDOW = 32
"""Batches of one length-sorting window: short rows meet short rows, and order stays random."""


@final
@dataclass(frozen=True)
class PackedRows:
    """B rows of the same number of responses K, ready for a model.

    Args:
        input_ids: ``(B, T)`` int64.
        position_ids: ``(B, T)`` int64; each response continues the prompt's positions.
        allowed: ``(B, T, T)`` bool, True where a position may look; ``None`` for K = 1, where
            plain causal attention on right-padded rows is the same.
        predicts: ``(R,)`` int64 flat positions in ``B * T`` whose output predicts a response token.
        targets: ``(R,)`` int64 the predicted ids.
        response: ``(R,)`` int64 in ``[0, B * K)``: which response each target belongs to;
            responses of row b are ``b * K .. b * K + K - 1``.
        tokens: ``(B * K,)`` response tokens.
        n_tokens: tokens that are not padding.
    """

    input_ids: Tensor
    position_ids: Tensor
    allowed: Tensor | None
    predicts: Tensor
    targets: Tensor
    response: Tensor
    tokens: Tensor
    n_tokens: int

    def to(self, device: torch.device | str) -> PackedRows:
        """The same rows on a device."""
        if self.input_ids.device == torch.device(device):
            return self
        moved = {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return PackedRows(**moved)


def pack_rows(
    data: Encoded, rows: Sequence[Sequence[int]] | npt.NDArray[np.int64], pad_id: int
) -> PackedRows:
    """Rows of responses as one padded batch.

    Args:
        data: the encoded data set.
        rows: B lists of K response numbers; the responses of a list share their prompt.
        pad_id: fills short rows.
    """
    table = np.asarray(rows, dtype=np.int64)
    n_rows, n_responses = table.shape
    prompts = [data.prompts[int(data.prompt_of[r[0]])] for r in table]
    replies = [[data.responses[int(n)] for n in r] for r in table]
    totals = [len(p) + sum(len(x) for x in r) for p, r in zip(prompts, replies, strict=True)]
    width = max(totals)
    ids = np.full((n_rows, width), pad_id, dtype=np.int64)
    positions = np.zeros((n_rows, width), dtype=np.int64)
    segment = np.full((n_rows, width), -1, dtype=np.int16)
    predicts, targets, response, counts = [], [], [], []
    for b, (prompt, parts) in enumerate(zip(prompts, replies, strict=True)):
        start = len(prompt)
        ids[b, :start] = prompt
        positions[b, :start] = np.arange(start)
        segment[b, :start] = 0
        last_of_prompt, at = b * width + start - 1, start
        for k, part in enumerate(parts):
            n = len(part)
            ids[b, at : at + n] = part
            positions[b, at : at + n] = np.arange(start, start + n)
            segment[b, at : at + n] = k + 1
            # The first token of every response is predicted by the end of the prompt.
            predicts.append(
                np.concatenate([[last_of_prompt], b * width + np.arange(at, at + n - 1)])
            )
            targets.append(part)
            response.append(np.full(n, b * n_responses + k))
            counts.append(n)
            at += n
    allowed = None
    if n_responses > 1:
        same = segment[:, :, None] == segment[:, None, :]
        causal = np.tri(width, dtype=bool)[None]
        allowed = torch.from_numpy(causal & (same | (segment[:, None, :] == 0)))
    return PackedRows(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        allowed,
        torch.from_numpy(np.concatenate(predicts)),
        torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        torch.from_numpy(np.concatenate(response)),
        torch.tensor(counts, dtype=torch.float32),
        int(sum(totals)),
    )


def row_lengths(data: Encoded, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``(B,)`` tokens of each packed row; ``rows`` is ``(B, K)`` response numbers."""
    lengths: npt.NDArray[np.int64] = data.prompts.lengths[
        data.prompt_of[rows[:, 0]]
    ] + data.responses.lengths[rows].sum(1)
    return lengths


def hash_keys(seed: int, *streams: int | npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Random 64-bit keys from (seed, numbers): the same on every machine and in any order.

    Draws that come from such keys need no generator state, so a resumed run repeats them.
    """
    with np.errstate(over="ignore"):
        key = np.asarray(np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
        for stream in streams:
            key = _mix(key + np.uint64(0x9E3779B97F4A7C15) + np.asarray(stream).astype(np.uint64))
    return np.atleast_1d(key)


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # Finalizer of splitmix64 (Steele, Lea and Flood 2014): every input bit changes every output.
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def batch_schedule(
    lengths: npt.NDArray[np.int64], batch_size: int, steps: int, seed: int
) -> list[npt.NDArray[np.int64]]:
    """Which rows each step trains on: epochs in random order, sorted by length inside windows.

    Args:
        lengths: ``(Q,)`` tokens of each row.
        batch_size: rows a step.
        steps: number of steps; epochs repeat until it is reached.
        seed: of the order.

    Returns:
        ``steps`` arrays of row numbers. A batch holds ``batch_size`` rows; the last of an epoch
        may hold fewer, and no row is left out of an epoch.
    """
    plan: list[npt.NDArray[np.int64]] = []
    rows = np.arange(len(lengths))
    epoch = 0
    while len(plan) < steps:
        order = rows[np.argsort(hash_keys(seed, 1, epoch, rows), kind="stable")]
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), batch_size * _WINDOW):
            window = order[start : start + batch_size * _WINDOW]
            window = window[np.argsort(lengths[window], kind="stable")]
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        shuffle = np.argsort(hash_keys(seed, 2, epoch, np.arange(len(batches))), kind="stable")
        plan += [batches[i] for i in shuffle]
        epoch += 1
    return plan[:steps]
