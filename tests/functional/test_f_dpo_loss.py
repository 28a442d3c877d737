"""f-DPO by hand, and that its optimum is the one of its divergence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paretune.errors import InputError
from paretune.functional.divergences import tilt
from paretune.functional.f_dpo_loss import FLOOR, f_dpo_loss
from paretune.functional.generators import generator
from paretune.functional.losses import PairBatch, dpo_loss

LOG2, LOG3 = math.log(2), math.log(3)
BARRIERS = ("reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey")


def batch(chosen: Tensor, rejected: Tensor) -> PairBatch:
    """Log-ratios as given: the reference is 1 nat everywhere."""
    ref, ones = torch.ones_like(chosen), torch.ones_like(chosen)
    return PairBatch(chosen + 1, rejected + 1, ref, ref, ones, ones, ones[:, None])


# Chosen at ratio 2, rejected at 1/3; beta 2. Margins of the slopes by hand:
BY_HAND = {
    "reverse_kl": LOG2 + LOG3,
    "forward_kl": -1 / 2 + 3,
    "jsd": math.log(4 / 3) - math.log(1 / 2),
    # (1 - u^-a) / a with a = 1/2.
    "alpha": 2 * (3**0.5 - 2**-0.5),
    "jeffrey": LOG2 + LOG3 - 1 / 2 + 3,
}


@pytest.mark.parametrize("divergence", BARRIERS)
def test_by_hand(divergence) -> None:
    pair = batch(torch.tensor([LOG2]).double(), torch.tensor([-LOG3]).double())
    expected = math.log1p(math.exp(-2 * BY_HAND[divergence]))
    assert f_dpo_loss(pair, 2.0, divergence).tolist() == pytest.approx([expected])


def test_alpha_is_read() -> None:
    pair = batch(torch.tensor([LOG2]).double(), torch.tensor([0.0]).double())
    margin = (1 - 2**-0.25) / 0.25
    found = f_dpo_loss(pair, 1.0, "alpha", alpha=0.25).tolist()
    assert found == pytest.approx([math.log1p(math.exp(-margin))])


def test_the_reverse_kl_is_dpo_to_the_bit() -> None:
    noise = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 200, generator=noise) * 8
    pairs = batch(chosen, rejected)
    assert torch.equal(f_dpo_loss(pairs, 0.3), dpo_loss(pairs, 0.3))


@pytest.mark.parametrize("divergence", BARRIERS)
def test_equal_ratios_cost_log_2(divergence) -> None:
    pair = batch(torch.tensor([0.7]), torch.tensor([0.7]))
    assert f_dpo_loss(pair, 3.0, divergence).tolist() == pytest.approx([LOG2])


@pytest.mark.parametrize("divergence", BARRIERS)
@pytest.mark.parametrize("size", [5.0, 40.0, 300.0, 5000.0])
def test_long_responses_stay_finite_and_pull_the_right_way(divergence, size) -> None:
    chosen, rejected = torch.tensor([-size, size]), torch.tensor([size, -size])
    both = torch.stack([chosen, rejected]).requires_grad_()
    losses = f_dpo_loss(batch(both[0], both[1]), 0.1, divergence)
    losses.sum().backward()
    assert both.grad is not None
    assert torch.isfinite(losses).all() and torch.isfinite(both.grad).all()
    assert both.grad[0, 0] < 0 and losses[0] > LOG2 > losses[1]
    assert (both.grad[0] <= 0).all() and (both.grad[1] >= 0).all()


@pytest.mark.parametrize("divergence", BARRIERS)
def test_nothing_jumps_at_the_floor(divergence) -> None:
    ratios = torch.tensor([FLOOR - 1e-6, FLOOR, FLOOR + 1e-6]).double().requires_grad_()
    f_dpo_loss(batch(torch.zeros_like(ratios), ratios), 1e-9, divergence).sum().backward()
    slopes = ratios.grad
    assert slopes is not None
    torch.testing.assert_close(slopes, slopes[1].expand(3), rtol=1e-5, atol=0)


@pytest.mark.parametrize("divergence", BARRIERS)
def test_its_optimum_is_the_optimum_under_its_divergence(divergence) -> None:
    """The gradient of the expected loss over Bradley-Terry labels vanishes there, only there."""
    ref = torch.tensor([0.5, 0.3, 0.2]).double().log().log_softmax(-1)
    rewards, beta = torch.tensor([0.0, 1.0, -0.5]).double(), 0.4

    def slope_at(logps: Tensor) -> float:
        logits = logps.clone().requires_grad_()
        free = logits.log_softmax(-1)
        first, second = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
        ones = torch.ones(len(first)).double()
        pairs = PairBatch(
            free[first], free[second], ref[first], ref[second], ones, ones, ones[:, None]
        )
        chance = torch.sigmoid(rewards[first] - rewards[second])
        (chance * f_dpo_loss(pairs, beta, divergence)).sum().backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    best = tilt(ref, rewards / beta, divergence)
    assert slope_at(best) < 1e-12
    others = [d for d in BARRIERS if d != divergence]
    assert all(slope_at(tilt(ref, rewards / beta, d)) > 1e-3 for d in others)


@pytest.mark.parametrize("divergence", BARRIERS)
def test_margin_is_that_of_the_slopes(divergence) -> None:
    chosen, rejected = torch.tensor([0.3, -2.0]).double(), torch.tensor([-1.0, 4.0]).double()
    f = generator(divergence)
    expected = -logsigmoid(0.7 * (f.slope(chosen) - f.slope(rejected)))
    torch.testing.assert_close(f_dpo_loss(batch(chosen, rejected), 0.7, divergence), expected)


@pytest.mark.parametrize(
    ("beta", "divergence", "alpha", "message"),
    [
        (0.0, "jsd", 0.5, "found beta 0.0"),
        (math.nan, "jsd", 0.5, "found beta nan"),
        (1.0, "chi_squared", 0.5, "found chi_squared, whose optimum gives some responses no mass"),
        (1.0, "total_variation", 0.5, "found total_variation"),
        (1.0, "alpha", 1.0, "found alpha 1.0"),
        (1.0, "kl", 0.5, "found 'kl'"),
    ],
)
def test_refusals(beta, divergence, alpha, message) -> None:
    with pytest.raises(InputError, match=message):
        f_dpo_loss(batch(torch.zeros(1), torch.zeros(1)), beta, divergence, alpha)
