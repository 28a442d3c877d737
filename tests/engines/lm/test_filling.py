"""Short rows that share a row: same numbers, same gradients, fewer places."""

import numpy as np
import pytest
import torch

from paretune.engines.lm.batches import pack_rows
from paretune.engines.lm.encode import Encoded, Ragged
from paretune.engines.lm.filling import fill_rows, first_fit
from paretune.engines.lm.forward import response_logps, scorer_for


def encoded(lengths, eos=2):
    """Prompts of two tokens with responses of these lengths."""
    rng = np.random.default_rng(0)
    prompts = Ragged.of([rng.integers(5, 30, 2) for _ in lengths])
    replies = Ragged.of([[*rng.integers(5, 30, n - 1), eos] for n in lengths])
    return Encoded(prompts, replies, np.arange(len(lengths)))


def test_first_fit_by_hand():
    # 7 opens a row of 8; 5 the next; 3 fits behind 5; 2 opens; 1 fits behind 7.
    bin_of, start, place = first_fit(np.array([3, 7, 1, 5, 2]), 8)
    assert bin_of.tolist() == [1, 0, 0, 1, 2]
    assert start.tolist() == [5, 0, 7, 0, 0]
    assert place.tolist() == [1, 0, 1, 0, 0]


def test_tokens_positions_and_targets_move_with_their_row():
    data = encoded([3, 9, 2, 4])
    plain = pack_rows(data, np.arange(4)[:, None], pad_id=0)
    filled = fill_rows(plain)
    # Places: 4, 10, 3 and 5; the row of 5 has room for 4, and 3 begins a row of its own.
    assert filled.input_ids.shape == (3, 10) and filled.lengths.tolist() == [10, 9, 3]
    assert plain.input_ids.shape == (4, 10)
    for old, new in ((plain, filled),):
        assert torch.equal(old.targets, new.targets) and torch.equal(old.response, new.response)
    # What stands where a target is predicted, and at which position, is unchanged.
    for name in ("input_ids", "position_ids"):
        before = getattr(plain, name).flatten()[plain.predicts]
        after = getattr(filled, name).flatten()[filled.predicts]
        assert torch.equal(before, after)
    assert torch.equal(filled.owner.flatten()[filled.predicts], plain.response)
    assert filled.lengths.sum() == plain.lengths.sum()


def test_little_saving_or_long_rows_leave_rows_alone():
    even = pack_rows(encoded([5, 5, 5]), np.arange(3)[:, None], 0)
    assert fill_rows(even) is even
    long = pack_rows(encoded([600, 3, 3]), np.arange(3)[:, None], 0)
    assert fill_rows(long) is long


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_numbers_and_gradients_are_those_of_rows_alone(lab, name):
    model = lab.model(name).double().eval()
    data = encoded([3, 12, 2, 4, 5, 2])
    rows = np.arange(6)[:, None]
    scorer = scorer_for(model, data, rows, lab.pad, may_fill=True)
    assert scorer.is_filled
    filled = scorer.pack(data, rows, lab.pad)
    assert filled.owner is not None and len(filled.input_ids) < 6
    plain = pack_rows(data, rows, lab.pad)
    weights = torch.arange(1.0, 7.0).double()
    found, gradients = [], []
    for packed in (filled, plain):
        model.zero_grad()
        logps = response_logps(model, packed)
        (logps * weights).sum().backward()
        found.append(logps.detach())
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_a_model_that_takes_no_mask_keeps_its_rows(lab):
    data = encoded([3, 12, 2, 4, 5, 2])
    scorer = scorer_for(lab.model("mamba"), data, np.arange(6)[:, None], lab.pad, may_fill=True)
    assert not scorer.is_filled


def test_pairs_are_never_filled(lab):
    data = encoded([3, 12, 2, 4])
    pairs = Encoded(data.prompts, data.responses, np.array([0, 0, 1, 1]))
    scorer = scorer_for(lab.model(), pairs, np.array([[0, 1], [2, 3]]), lab.pad, may_fill=True)
    assert not scorer.is_filled
