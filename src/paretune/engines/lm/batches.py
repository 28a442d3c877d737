"""Batches: rows packed as prompt + responses, sorted by length, drawn from a hash.

A *row* is one prompt followed by one response (SFT) or by both responses of a pair. In a pair's
row the prompt is encoded once: each response sees the prompt and itself, never the other one
(a block mask), and its positions go on from the prompt's end. Only the positions that predict
response tokens ever reach the language-model head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.engines.lm.encode import Encoded
from paretune.functional.draws import hash_keys

# Names of what is drawn: no two purposes share a draw.
_ROWS, _ORDER = 1, 2

WINDOW = 32
"""Batches of one length-sorting window: short rows meet short rows, and order stays random."""


@final
@dataclass(frozen=True)
class PackedRows:
    """B rows of the same number of responses K, ready for a model.

    Args:
        input_ids: ``(B, T)`` int64.
        position_ids: ``(B, T)`` int64; each response continues the prompt's positions.
        lengths: ``(B,)`` int64 places used in each row; padding is on the right.
        segment: ``(B, T)`` int16: 0 = prompt, k = response k (from 1), -1 = padding. A position
            may look back at its prompt and at its own segment. ``None`` for K = 1, where plain
            causal attention is the same.
        predicts: ``(R,)`` int64 flat positions in ``B * T`` whose output predicts a response token.
        targets: ``(R,)`` int64 the predicted ids.
        response: ``(R,)`` int64 in ``[0, B * K)``: which response each target belongs to;
            responses of row b are ``b * K .. b * K + K - 1``.
        tokens: ``(B * K,)`` float32 response tokens.
        owner: ``(B, T)`` int64 row that each position came from, where several short rows of one
            response were joined in one (then a segment is a row, and sees itself alone); ``None``
            where each row is its own.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: Tensor
    segment: Tensor | None
    predicts: Tensor
    targets: Tensor
    response: Tensor
    tokens: Tensor
    owner: Tensor | None = None

    def to(self, device: torch.device | str) -> PackedRows:
        """The same rows on a device."""
        if self.input_ids.device == torch.device(device):
            return self
        moved = {
            k: v if v is None else v.to(device, non_blocking=True) for k, v in vars(self).items()
        }
        return PackedRows(**moved)


def pack_rows(
    data: Encoded, rows: Sequence[Sequence[int]] | npt.NDArray[np.int64], pad_id: int
) -> PackedRows:
    """Rows of responses as one padded batch.

    Args:
        data: the encoded data set; every response has at least one token.
        rows: B lists of K response numbers; the responses of a list share their prompt.
        pad_id: fills short rows.
    """
    table = np.asarray(rows, dtype=np.int64)
    n_rows, n_responses = table.shape
    prompt = data.prompt_of[table[:, 0]]
    prompt_lengths = data.prompts.lengths[prompt]
    reply_lengths = data.responses.lengths[table]
    # Nothing is predicted from the last token of a response, so it is a target only: n tokens
    # need n - 1 places in the row. The first one is predicted by the end of the prompt.
    places = reply_lengths - 1
    starts = prompt_lengths[:, None] + np.cumsum(places, axis=1) - places
    lengths = prompt_lengths + places.sum(axis=1)
    width = int(lengths.max())
    ids = np.full((n_rows, width), pad_id, dtype=np.int64)
    positions = np.zeros((n_rows, width), dtype=np.int64)
    segment = np.full((n_rows, width), -1, dtype=np.int16)

    row, within = _ragged_range(prompt_lengths)
    ids[row, within] = data.prompts.ids[data.prompts.offsets[prompt][row] + within]
    positions[row, within] = within
    segment[row, within] = 0

    response, within = _ragged_range(reply_lengths.ravel())
    row = response // n_responses
    column = starts.ravel()[response] + within
    targets = data.responses.ids[data.responses.offsets[table.ravel()][response] + within]
    targets = targets.astype(np.int64)
    predicts = row * width + np.where(within == 0, prompt_lengths[row], column) - 1
    is_read = within < places.ravel()[response]
    row, column, place = row[is_read], column[is_read], response[is_read]
    ids[row, column] = targets[is_read]
    positions[row, column] = prompt_lengths[row] + within[is_read]
    segment[row, column] = place % n_responses + 1
    return PackedRows(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(lengths),
        torch.from_numpy(segment) if n_responses > 1 else None,
        torch.from_numpy(predicts),
        torch.from_numpy(targets),
        torch.from_numpy(response),
        torch.from_numpy(reply_lengths.ravel().astype(np.float32)),
    )


def _ragged_range(
    lengths: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which sequence each token belongs to, and its place in it: (2, 1) -> [0 0 1], [0 1 0]."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def row_lengths(data: Encoded, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``(B,)`` tokens of each row, targets included; ``rows`` is ``(B, K)`` response numbers."""
    lengths: npt.NDArray[np.int64] = data.prompts.lengths[
        data.prompt_of[rows[:, 0]]
    ] + data.responses.lengths[rows].sum(1)
    return lengths


def by_tokens(
    lengths: npt.NDArray[np.int64], tokens_per_batch: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows from short to long, in batches of a number of padded tokens.

    Args:
        lengths: ``(Q,)`` tokens of each row.
        tokens_per_batch: padded tokens a batch may hold; a longer row is a batch of its own.

    Example:
        >>> [batch.tolist() for batch in by_tokens(np.array([4, 2, 9, 3]), 8)]
        [[1, 3], [0], [2]]
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= tokens_per_batch:
            stop += 1
        yield order[start:stop]
        start = stop


def sort_window(rows: npt.NDArray[np.int64]) -> int:
    """How many batches are sorted by length together: see :func:`batch_schedule`.

    Args:
        rows: ``(Q, C)`` response numbers: pairs, or responses one by one with C = 1.
    """
    return 1 if rows.shape[1] == 1 else WINDOW


def batch_schedule(
    lengths: npt.NDArray[np.int64],
    batch_size: int,
    steps: int,
    seed: int,
    window: int = WINDOW,
    is_ordered: bool = False,
) -> list[npt.NDArray[np.int64]]:
    """Which rows each step trains on: epochs in random order, sorted by length inside windows.

    Rows of like length waste no padding. Where the length itself is what is learned (responses one
    by one, not in pairs) sorting costs more than it saves: batches of short responses alone and of
    long ones alone pull the policy to and fro, and it ends at the short ones.

    Args:
        lengths: ``(Q,)`` tokens of each row.
        batch_size: rows a step.
        steps: number of steps; epochs repeat until it is reached.
        seed: of the order.
        window: batches that are sorted together, >= 1; 1 leaves the random order.
        is_ordered: the rows come in their own order instead, again and again.

    Returns:
        ``steps`` arrays of row numbers. A batch holds ``batch_size`` rows; one of an epoch may
        hold fewer, and no row is left out of an epoch. With ``is_ordered`` a batch goes on with
        the next epoch instead, and holds fewer only where there are fewer in all.
    """
    plan: list[npt.NDArray[np.int64]] = []
    rows = np.arange(len(lengths))
    if is_ordered:
        # A short batch at the end of every epoch would weigh the same few rows more each time.
        size = min(batch_size, len(rows))
        return list((np.arange(steps * size) % len(rows)).reshape(steps, size))
    epoch = 0
    while len(plan) < steps:
        order = rows[np.argsort(hash_keys(seed, _ROWS, epoch, rows), kind="stable")]
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), batch_size * window):
            together = order[start : start + batch_size * window]
            # Random rows fill the short batch of an epoch. If it held the longest ones, they would
            # always weigh more than the others: a mean over few rows is a step like any other.
            short, full = np.split(together, [len(together) % batch_size])
            full = full[np.argsort(lengths[full], kind="stable")]
            batches += [part for part in (short, *full.reshape(-1, batch_size)) if len(part)]
        shuffle = np.argsort(hash_keys(seed, _ORDER, epoch, np.arange(len(batches))), kind="stable")
        plan += [batches[i] for i in shuffle]
        epoch += 1
    return plan[:steps]
