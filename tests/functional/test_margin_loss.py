"""The MODPO loss worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from paretune.errors import InputError, ShapeError
from paretune.functional.losses import PairBatch, dpo_loss
from paretune.functional.margin_loss import modpo_loss

NAN = float("nan")


def batch_of(log_ratio_margins, margins):
    n, one = len(log_ratio_margins), torch.ones(len(log_ratio_margins)).double()
    chosen = torch.tensor(log_ratio_margins).double() - 3
    labels = torch.ones(n, len(margins[0])).double()
    batch = PairBatch(chosen, -one, -3 * one, -one, one, one, labels)
    return replace(batch, margins=torch.tensor(margins).double())


def test_by_hand():
    batch = batch_of([2.0, -1.0], [[9.0, 4.0], [9.0, -2.0]])
    # First (.5 * 2 - .75 * 4) / .25 = -8, second (.5 * -1 - .75 * -2) / .25 = 4.
    expected = [math.log1p(math.exp(8)), math.log1p(math.exp(-4))]
    found = modpo_loss(batch, beta=0.5, weights=(0.25, 0.75), axis=0)
    assert found.tolist() == pytest.approx(expected)
    # By the other objective (.5 * 2 - .25 * 9) / .75 = -5/3.
    first = modpo_loss(batch, beta=0.5, weights=(0.25, 0.75), axis=1)[0].item()
    assert first == pytest.approx(math.log1p(math.exp(5 / 3)))


def test_three_objectives_by_hand():
    batch = batch_of([1.0], [[2.0, 8.0, -4.0]])
    # (1 - .25 * 2 + .25 * 4) / .5 = 3.
    found = modpo_loss(batch, beta=1.0, weights=(0.25, 0.5, 0.25), axis=1)
    assert found.item() == pytest.approx(math.log1p(math.exp(-3)))


def test_a_corner_is_plain_dpo():
    batch = batch_of([2.0, -1.0], [[NAN, NAN], [NAN, NAN]])
    found = modpo_loss(batch, beta=0.3, weights=(0.0, 1.0), axis=1)
    assert torch.equal(found, dpo_loss(batch, beta=0.3))


def test_is_dpo_with_a_stronger_penalty_from_a_tilted_reference():
    """What any DPO trainer computes with beta / w_k and other reference columns."""
    generator = torch.Generator().manual_seed(0)
    logps = -10 * torch.rand(4, 6, generator=generator)
    rewards = torch.randn(2, 6, 3, generator=generator)
    one, labels = torch.ones(6), torch.ones(6, 3)
    batch = PairBatch(*logps, one, one, labels, margins=rewards[0] - rewards[1])
    weights, beta = (0.2, 0.5, 0.3), 0.4
    tilt = (rewards * torch.tensor([0.2, 0.0, 0.3])).sum(-1) / beta
    tilted = PairBatch(logps[0], logps[1], logps[2] + tilt[0], logps[3] + tilt[1], one, one, labels)
    found = modpo_loss(batch, beta, weights, axis=1)
    torch.testing.assert_close(found, dpo_loss(tilted, beta / 0.5), atol=1e-4, rtol=1e-5)


def test_what_nobody_asks_for_is_not_read():
    read = batch_of([1.0], [[0.0, 5.0, 2.0]])
    unread = batch_of([1.0], [[NAN, NAN, 2.0]])
    options = {"beta": 1.0, "weights": (0.5, 0.0, 0.5), "axis": 0}
    assert modpo_loss(unread, **options).item() == modpo_loss(read, **options).item() > 0
    assert modpo_loss(unread, 1.0, (0.5, 0.25, 0.25), 0).isnan()


def test_permuting_the_objectives_changes_nothing():
    batch = batch_of([0.3, -0.7], [[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]])
    order, weights = [2, 0, 1], (0.5, 0.3, 0.2)
    turned = replace(batch, margins=batch.margins[:, order])
    torch.testing.assert_close(
        modpo_loss(turned, 0.2, [weights[i] for i in order], axis=1),
        modpo_loss(batch, 0.2, weights, axis=0),
    )


def test_the_gradient_grows_with_one_over_the_weight():
    for weight in (0.5, 0.1):
        batch = batch_of([0.0], [[0.0, 0.0]])
        chosen = batch.chosen.clone().requires_grad_()
        modpo_loss(
            replace(batch, chosen=chosen), 1.0, (weight, 1 - weight), axis=0
        ).sum().backward()
        assert chosen.grad.item() == pytest.approx(-0.5 / weight)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"axis": 1}, InputError, r"objective 1 of trade-off \(1.0, 0.0\), expected one with a"),
        ({"axis": 2}, InputError, "objective 2 of trade-off"),
        ({"axis": -1}, InputError, "objective -1 of trade-off"),
        ({"beta": 0.0}, InputError, "found beta 0.0"),
        ({"weights": (1.0,)}, ShapeError, "1 weights for 2 margins"),
    ],
)
def test_refuses(changes, error, message):
    options = {"beta": 1.0, "weights": (1.0, 0.0), "axis": 0} | changes
    with pytest.raises(error, match=message):
        modpo_loss(batch_of([1.0], [[0.0, 0.0]]), **options)


def test_refuses_pairs_without_margins():
    batch = replace(batch_of([1.0], [[0.0, 0.0]]), margins=None)
    with pytest.raises(InputError, match="without margins"):
        modpo_loss(batch, 1.0, (0.5, 0.5), 0)
