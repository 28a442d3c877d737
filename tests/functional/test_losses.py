"""Pairwise losses worked out by hand."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from paretune.errors import ShapeError
from paretune.functional.losses import (
    PairBatch,
    dpo_loss,
    ipo_loss,
    mean_dpo_loss,
    weighted_dpo_loss,
)

LOG3 = math.log(3)
EVERY_LOSS = [
    partial(dpo_loss, beta=0.3),
    partial(mean_dpo_loss, beta=0.3),
    partial(ipo_loss, beta=0.3),
    partial(weighted_dpo_loss, beta=0.3, weights=(0.25, 0.75)),
]


def batch_of(margins, labels=None, chosen_tokens=1, rejected_tokens=1):
    """Pairs with these log-ratio margins: the chosen side gains all, the rejected side nothing."""
    n = len(margins)
    return PairBatch(
        chosen=torch.tensor(margins) - 2.0,
        rejected=torch.full((n,), -1.0),
        ref_chosen=torch.full((n,), -2.0),
        ref_rejected=torch.full((n,), -1.0),
        chosen_tokens=torch.full((n,), float(chosen_tokens)),
        rejected_tokens=torch.full((n,), float(rejected_tokens)),
        labels=torch.ones(n, 2) if labels is None else torch.tensor(labels),
    )


def columns(batch):
    """What every loss reads: the weights of users and the margins are not given."""
    assert batch.weights is None and batch.margins is None
    return list(vars(batch).values())[:-2]


def random_batch():
    generator = torch.Generator().manual_seed(0)
    logps = -10 * torch.rand(4, 6, generator=generator)
    tokens = torch.randint(1, 9, (2, 6), generator=generator).float()
    labels = torch.rand(6, 2, generator=generator) * 2 - 1
    return PairBatch(*logps, *tokens, labels)


def test_margin_by_hand():
    one = torch.ones(1)
    batch = PairBatch(-3 * one, -5 * one, -4 * one, -7 * one, 2 * one, 4 * one, torch.ones(1, 1))
    # Log-ratios 1 and 2; per token .5 and .5.
    assert batch.log_ratio_margin.item() == -1
    assert batch.mean_log_ratio_margin.item() == 0


def test_a_response_without_tokens_divides_by_one():
    batch = batch_of([2.0], chosen_tokens=0, rejected_tokens=0)
    assert batch.mean_log_ratio_margin.item() == 2


def test_dpo_by_hand():
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2, sigmoid(-log 3) = 1/4.
    losses = dpo_loss(batch_of([LOG3, 0.0, -LOG3]), beta=1.0)
    assert losses.tolist() == pytest.approx([math.log(4 / 3), math.log(2), math.log(4)])
    # beta 2 doubles the log-odds: sigmoid(2 log 3) = 9/10.
    assert dpo_loss(batch_of([LOG3]), beta=2.0).item() == pytest.approx(math.log(10 / 9))


def test_dpo_gradient_by_hand():
    chosen = torch.tensor([LOG3 - 2], requires_grad=True)
    whole = batch_of([LOG3])
    batch = PairBatch(chosen, *(getattr(whole, f) for f in list(whole.__dataclass_fields__)[1:]))
    dpo_loss(batch, beta=0.5).sum().backward()
    # -beta (1 - sigmoid(beta m)), with beta m = log 3 / 2, sigmoid = sqrt 3 / (1 + sqrt 3).
    assert chosen.grad.item() == pytest.approx(-0.5 / (1 + 3**0.5))


def test_mean_dpo_by_hand():
    # Chosen log-ratio 4 log 3 over 4 tokens; rejected 0 over 2.
    losses = mean_dpo_loss(batch_of([4 * LOG3], chosen_tokens=4, rejected_tokens=2), beta=1.0)
    assert losses.item() == pytest.approx(math.log(4 / 3))


def test_ipo_by_hand():
    # Target margin 1 / (2 * .25) = 2; margins per token 3, 2 and 0.
    losses = ipo_loss(batch_of([6.0, 4.0, 0.0], chosen_tokens=2), beta=0.25)
    assert losses.tolist() == pytest.approx([1, 0, 4])


def test_weighted_dpo_by_hand():
    # Objectives agree, conflict, tie on the first: -log sigmoid of +m, -m, or log 2.
    labels = [[1.0, 1.0], [1.0, -1.0], [0.0, 1.0]]
    losses = weighted_dpo_loss(batch_of([LOG3] * 3, labels), beta=1.0, weights=(0.25, 0.75))
    good, bad, tie = math.log(4 / 3), math.log(4), math.log(2)
    expected = [good, 0.25 * good + 0.75 * bad, 0.25 * tie + 0.75 * good]
    assert losses.tolist() == pytest.approx(expected)


def test_weighted_dpo_takes_labels_by_sign():
    graded = weighted_dpo_loss(batch_of([0.7], [[0.2, -0.9]]), beta=1.0, weights=(0.5, 0.5))
    signed = weighted_dpo_loss(batch_of([0.7], [[1.0, -1.0]]), beta=1.0, weights=(0.5, 0.5))
    assert graded.item() == signed.item()


def test_a_missing_label_is_neither_a_tie_nor_a_discount():
    nan = float("nan")
    labels = [[1.0, nan], [nan, 1.0], [nan, nan]]
    losses = weighted_dpo_loss(batch_of([LOG3] * 3, labels), beta=1.0, weights=(0.25, 0.75))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), math.log(4 / 3), 0])


def test_a_label_without_weight_changes_nothing():
    labels = [[1.0, -1.0], [float("nan"), -1.0]]
    losses = weighted_dpo_loss(batch_of([LOG3] * 2, labels), beta=1.0, weights=(1.0, 0.0))
    assert losses.tolist() == pytest.approx([math.log(4 / 3), 0])


def test_missing_labels_leave_clean_gradients():
    chosen = torch.tensor([0.5], requires_grad=True)
    whole = batch_of([0.0], [[float("nan"), 1.0]])
    batch = PairBatch(chosen, *(getattr(whole, f) for f in list(whole.__dataclass_fields__)[1:]))
    weighted_dpo_loss(batch, beta=1.0, weights=(0.5, 0.5)).sum().backward()
    assert torch.isfinite(chosen.grad).all()


def test_agreeing_labels_make_weighted_dpo_plain_dpo():
    batch = random_batch()
    agreeing = replace(batch, labels=torch.ones(6, 2))
    weighted = weighted_dpo_loss(agreeing, beta=0.2, weights=(0.3, 0.7))
    assert weighted.tolist() == pytest.approx(dpo_loss(agreeing, beta=0.2).tolist())


def test_permuting_objectives_with_their_weights_changes_nothing():
    batch = random_batch()
    turned = replace(batch, labels=batch.labels.flip(1))
    one = weighted_dpo_loss(batch, beta=0.2, weights=(0.3, 0.7))
    assert weighted_dpo_loss(turned, beta=0.2, weights=(0.7, 0.3)).tolist() == pytest.approx(
        one.tolist()
    )


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_one_loss_a_pair_and_inputs_untouched(loss):
    batch = random_batch()
    before = [tensor.clone() for tensor in columns(batch)]
    losses = loss(batch)
    assert losses.shape == (6,)
    assert (losses >= 0).all()
    for tensor, copy in zip(columns(batch), before, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_pairs_do_not_see_each_other(loss):
    batch = random_batch()
    halves = [PairBatch(*(c[s] for c in columns(batch))) for s in (slice(2), slice(2, 6))]
    joined = torch.cat([loss(half) for half in halves])
    assert joined.tolist() == pytest.approx(loss(batch).tolist())


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_double_precision_is_kept(loss):
    batch = PairBatch(*(c.double() for c in columns(random_batch())))
    assert loss(batch).dtype == torch.float64


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_beta_must_be_positive(loss):
    with pytest.raises(ValueError, match="beta must be > 0, found 0"):
        loss(random_batch(), beta=0.0)


def test_one_weight_a_label_column():
    with pytest.raises(ShapeError, match="3 weights for 2 label columns"):
        weighted_dpo_loss(random_batch(), beta=1.0, weights=(0.2, 0.3, 0.5))
