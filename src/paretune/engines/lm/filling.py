"""Several short rows in one: what padding would have filled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from paretune.engines.lm.batches import PackedRows

LONGEST = 512
"""Tokens: longer rows gain from the plain causal attention that filled rows give up."""

_WORTH = 0.8
"""Filled rows must hold at most this share of the places that padded ones hold."""


def fill_rows(rows: PackedRows) -> PackedRows:
    """The same responses in as few rows as first-fit needs, where that saves enough.

    Each row keeps its own positions, looks at nothing but itself, and gives the same numbers.
    Random batches of short and long responses are mostly padding otherwise (two thirds on the
    embedded world).

    Args:
        rows: B rows of one response each.

    Returns:
        Rows of the same width, fewer of them, with ``owner``; or ``rows`` where they are long or
        little is saved.
    """
    lengths = rows.lengths.numpy()
    width = rows.input_ids.shape[1]
    if width > LONGEST:
        return rows
    bin_of, start, place = first_fit(lengths, width)
    n_bins = int(bin_of.max()) + 1
    if n_bins > _WORTH * len(lengths):
        return rows
    row = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = bin_of[row] * width + start[row] + within
    old = torch.from_numpy(row * width + within)
    new = torch.from_numpy(at)

    def moved(values: torch.Tensor, empty: int) -> torch.Tensor:
        found = torch.full((n_bins * width,), empty, dtype=values.dtype)
        found[new] = values
        return found.view(n_bins, width)

    # A row that ends is followed by another one's start: what is predicted moves with its row.
    of = rows.predicts // width
    shift = torch.from_numpy((bin_of - np.arange(len(lengths))) * width + start)
    used = np.bincount(bin_of, lengths, minlength=n_bins).astype(np.int64)
    return replace(
        rows,
        input_ids=moved(rows.input_ids.flatten()[old], _padding(rows)),
        position_ids=moved(rows.position_ids.flatten()[old], 0),
        lengths=torch.from_numpy(used),
        segment=moved(torch.from_numpy((place[row] + 1).astype(np.int16)), -1),
        predicts=rows.predicts + shift[of],
        owner=moved(torch.from_numpy(row), 0),
    )


def first_fit(
    lengths: npt.NDArray[np.int64], width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each row goes: the longest first, each to the first place that has room.

    Args:
        lengths: ``(B,)`` tokens of each row, in [1, width].
        width: of a place.

    Returns:
        ``(B,)`` number of the place, offset in it, and how many rows it held before.

    Example:
        >>> [found.tolist() for found in first_fit(np.array([2, 5, 3, 1]), 5)]
        [[1, 0, 1, 2], [3, 0, 0, 0], [1, 0, 0, 0]]
    """
    bin_of, start, place = (np.zeros(len(lengths), dtype=np.int64) for _ in range(3))
    room: list[int] = []
    held: list[int] = []
    for row in np.argsort(-lengths, kind="stable"):
        length = int(lengths[row])
        number = next((n for n, left in enumerate(room) if left >= length), len(room))
        if number == len(room):
            room.append(width)
            held.append(0)
        bin_of[row], start[row], place[row] = number, width - room[number], held[number]
        room[number] -= length
        held[number] += 1
    return bin_of, start, place


def _padding(rows: PackedRows) -> int:
    """Any id will do where nothing looks; the one that fills short rows is known to exist."""
    return int(rows.input_ids[int(rows.lengths.argmin()), -1])
