"""Exact optima on tables against hand-worked numbers and against gradient descent."""

import math

import pytest
import torch

from paretune.errors import InputError, ShapeError
from paretune.functional.closed_form import (
    dpo_optimum,
    expected_rewards,
    kl_divergence,
    kl_regularized_optimum,
    rewarded_clone,
)


@pytest.fixture
def table():
    generator = torch.Generator().manual_seed(0)
    ref = torch.randn(3, 5, generator=generator, dtype=torch.float64).log_softmax(-1)
    return ref, torch.rand(3, 5, 2, generator=generator, dtype=torch.float64)


def test_optimum_by_hand():
    # pi = (.25 e^{2 log 3}, .75 e^0) = (2.25, .75) of 3.
    ref = torch.tensor([[0.25, 0.75]]).log()
    rewards = torch.tensor([[[math.log(3), 9.0], [0.0, 9.0]]])
    optimum = kl_regularized_optimum(ref, rewards, torch.tensor([1.0, 0.0]), beta=0.5)
    assert optimum.exp().tolist() == [pytest.approx([0.75, 0.25])]


def test_no_other_policy_does_better(table):
    ref, rewards = table
    weights, beta = torch.tensor([0.3, 0.7], dtype=torch.float64), 0.2

    def value(logps):
        gained = (logps.exp() * (rewards @ weights)).sum(-1)
        return (gained - beta * kl_divergence(logps, ref)).sum()

    best = kl_regularized_optimum(ref, rewards, weights, beta)
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-3, 0.1, 3.0):
        for _ in range(50):
            noise = scale * torch.randn(best.shape, generator=generator, dtype=best.dtype)
            assert value((best + noise).log_softmax(-1)) < value(best)


def test_dpo_optimum_zeroes_the_gradient_of_the_expected_loss(table):
    ref, rewards = table
    reward, beta, slope = rewards[..., 0], 0.4, 10.0
    logps = dpo_optimum(ref, reward, beta, slope).clone().requires_grad_()
    log_ratio = logps - ref
    margin = beta * (log_ratio[:, :, None] - log_ratio[:, None, :])
    chance = torch.sigmoid(slope * (reward[:, :, None] - reward[:, None, :]))
    loss = -(chance * torch.nn.functional.logsigmoid(margin)).sum()
    (gradient,) = torch.autograd.grad(loss, logps)
    assert gradient.abs().max() < 1e-12


def test_slope_is_inverse_strength(table):
    ref, rewards = table
    one = dpo_optimum(ref, rewards[..., 0], beta=0.5, slope=10)
    corner = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert one == pytest.approx(kl_regularized_optimum(ref, rewards, corner, beta=0.05))


def test_expected_rewards_by_hand():
    logps = torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log()
    rewards = torch.tensor([[[2.0, 0.0], [4.0, 1.0]], [[1.0, 1.0], [9.0, 9.0]]])
    # First prompt (3, .5), second (1, 1).
    assert expected_rewards(logps, rewards).tolist() == [2.0, 0.75]


def test_divergence_by_hand():
    one, other = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert kl_divergence(one, other).item() == pytest.approx(expected)
    assert kl_divergence(one, one).item() == 0


def test_actions_that_neither_policy_takes_count_nothing():
    one = torch.tensor([[1.0, 0.0]]).log()
    assert kl_divergence(one, one).item() == 0


def test_bad_input_is_named(table):
    ref, rewards = table
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    with pytest.raises(InputError, match="beta 0"):
        kl_regularized_optimum(ref, rewards, weights, beta=0)
    with pytest.raises(InputError, match="slope -1"):
        dpo_optimum(ref, rewards[..., 0], beta=1, slope=-1)
    with pytest.raises(ShapeError, match=r"weights \(3,\)"):
        kl_regularized_optimum(ref, rewards, torch.ones(3, dtype=torch.float64) / 3, beta=1)
    with pytest.raises(ShapeError, match=r"\(2, 5\)"):
        kl_regularized_optimum(ref[:2], rewards, weights, beta=1)
    with pytest.raises(ShapeError, match=r"\(S, A, M\)"):
        expected_rewards(ref, rewards[..., 0])


def test_clone_by_hand():
    # Proportional to .2 (1 * 2 + 0) , .3 (0 + 3 * 1) and .5 (.5 * 2 + 3 * 0).
    data = torch.tensor([[0.2, 0.3, 0.5]]).log()
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]]])
    found = rewarded_clone(data, rewards, torch.tensor([2.0, 3.0])).exp()
    assert found.tolist() == [pytest.approx([0.4 / 1.8, 0.9 / 1.8, 0.5 / 1.8])]


def test_no_other_policy_has_a_larger_rewarded_likelihood(table):
    ref, rewards = table
    strengths = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def value(logps):
        return (ref.exp() * (rewards @ strengths) * logps).sum()

    best = rewarded_clone(ref, rewards, strengths)
    for seed in range(20):
        noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(seed)).double()
        assert value((best + 0.1 * noise).log_softmax(-1)) < value(best)


def test_what_cannot_be_cloned(table):
    ref, rewards = table
    with pytest.raises(InputError, match="expected numbers >= 0"):
        rewarded_clone(ref, rewards - 0.5, torch.ones(2, dtype=torch.float64))
    with pytest.raises(ShapeError, match="strengths has 3"):
        rewarded_clone(ref, rewards, torch.ones(3, dtype=torch.float64))
