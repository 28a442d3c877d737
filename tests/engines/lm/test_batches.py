"""Packing, schedules and keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from paretune.engines.lm.batches import batch_schedule, pack_rows, row_lengths
from paretune.engines.lm.encode import Encoded, Ragged

PAD = 0


@pytest.fixture
def two_pairs() -> Encoded:
    """Prompts (11 12) and (13); responses (21 22) (23) and (24) (25 26 27)."""
    return Encoded(
        Ragged.of([[11, 12], [13]]),
        Ragged.of([[21, 22], [23], [24], [25, 26, 27]]),
        np.array([0, 0, 1, 1]),
    )


def test_a_pair_is_one_row(two_pairs: Encoded) -> None:
    rows = pack_rows(two_pairs, [[0, 1], [2, 3]], PAD)
    # The last token of a response (22, 23, 24, 27) is predicted and never read.
    assert rows.input_ids.tolist() == [[11, 12, 21], [13, 25, 26]]
    # The second response goes on from the end of the prompt, as if the first were not there.
    assert rows.position_ids.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert rows.segment is not None
    assert rows.segment.tolist() == [[0, 0, 1], [0, 2, 2]]
    assert rows.lengths.tolist() == [3, 3]
    # Both first tokens are predicted by the prompt's last position, the others by the one before.
    assert rows.predicts.tolist() == [1, 2, 1, 3, 3, 4, 5]
    assert rows.targets.tolist() == [21, 22, 23, 24, 25, 26, 27]
    assert rows.response.tolist() == [0, 0, 1, 2, 3, 3, 3]
    assert rows.tokens.tolist() == [2, 1, 1, 3]


def test_single_responses_are_padded_on_the_right(two_pairs: Encoded) -> None:
    rows = pack_rows(two_pairs, np.array([[3], [0], [2]]), PAD)
    assert rows.input_ids.tolist() == [[13, 25, 26], [11, 12, 21], [13, 0, 0]]
    assert rows.segment is None
    assert rows.lengths.tolist() == [3, 3, 1]
    assert rows.predicts.tolist() == [0, 1, 2, 4, 5, 6]


def test_rows_move_to_a_device_once(two_pairs: Encoded) -> None:
    rows = pack_rows(two_pairs, [[0, 1]], PAD)
    assert rows.to("cpu") is rows
    moved = rows.to("meta")
    assert moved.input_ids.is_meta and moved.segment is not None and moved.segment.is_meta


def test_row_lengths(two_pairs: Encoded) -> None:
    assert row_lengths(two_pairs, np.array([[0, 1], [2, 3]])).tolist() == [5, 5]
    assert row_lengths(two_pairs, np.array([[0], [3]])).tolist() == [4, 4]


@pytest.mark.parametrize(("n_rows", "batch_size"), [(10, 3), (64, 8), (7, 100), (1, 4)])
def test_an_epoch_uses_each_row_once(n_rows: int, batch_size: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, n_rows)
    per_epoch = -(-n_rows // batch_size)
    schedule = batch_schedule(lengths, batch_size, 3 * per_epoch, seed=5)
    assert len(schedule) == 3 * per_epoch
    for epoch in range(3):
        rows = np.concatenate(schedule[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(rows) == list(range(n_rows))
    assert max(map(len, schedule)) <= batch_size


def test_a_schedule_is_a_function_of_its_seed() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    first, again, other = (batch_schedule(lengths, 8, 20, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    # A longer run begins as the shorter one.
    longer = batch_schedule(lengths, 8, 30, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, longer, strict=False))


def test_batches_hold_rows_of_like_length_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 320)
    schedule = batch_schedule(lengths, 10, 32, seed=0)
    padded = sum(lengths[b].max() * len(b) for b in schedule)
    assert padded < 1.05 * lengths.sum()
    longest = [int(lengths[b].max()) for b in schedule]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_packing_does_not_depend_on_its_neighbors(lab: Any) -> None:
    data = lab.encoded(8)
    rows = np.arange(16).reshape(8, 2)
    whole = pack_rows(data, rows, PAD)
    for n in range(8):
        alone = pack_rows(data, rows[n : n + 1], PAD)
        width = alone.input_ids.shape[1]
        assert torch.equal(alone.input_ids[0], whole.input_ids[n, :width])
        assert torch.equal(alone.position_ids[0], whole.position_ids[n, :width])
        assert bool((whole.input_ids[n, width:] == PAD).all())


def test_rows_may_come_in_their_own_order():
    schedule = batch_schedule(np.ones(7, dtype=np.int64), 3, 5, seed=0, is_ordered=True)
    # No batch of row 6 alone, which would weigh three times as much as the others.
    wanted = [[0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4], [5, 6, 0]]
    assert [b.tolist() for b in schedule] == wanted
    few = batch_schedule(np.ones(2, dtype=np.int64), 3, 2, seed=0, is_ordered=True)
    assert [b.tolist() for b in few] == [[0, 1], [0, 1]]
