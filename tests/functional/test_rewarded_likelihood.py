"""Weighted likelihoods: their calibration, their loss, and what it is the best of."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from paretune.errors import ConfigError, InputError, NotScoredError, ShapeError
from paretune.functional.policy_hypervolume import hypervolume_pull, policy_hypervolume
from paretune.functional.rewarded_likelihood import (
    LikelihoodBatch,
    PolicyHypervolume,
    calibrate,
    inside,
)

CORNERS = ((1.0, 0.0), (0.0, 1.0))


def random_batch(n_policies=3, n_rows=8, n_objectives=2, seed=0):
    generator = np.random.default_rng(seed)
    found = calibrate(generator.normal(size=(n_rows, n_objectives)))
    return LikelihoodBatch(
        torch.from_numpy(generator.normal(-3, 0.3, (n_policies, n_rows))).requires_grad_(),
        torch.from_numpy(generator.normal(-3, 0.3, n_rows)),
        torch.from_numpy(found.weights),
        torch.from_numpy(found.low),
        torch.from_numpy(found.high),
    )


def test_calibration_by_hand():
    # Unit rewards 0, 1/2, 1 with mean 1/2; the other objective the other way round.
    found = calibrate([[2.0, 6.0], [3.0, 4.0], [4.0, 2.0]])
    assert found.weights.tolist() == [[0, 2], [1, 1], [2, 0]]
    # A tenth to the center: .95 of one and .05 of the other.
    best = (1 * math.log(1) + 2 * math.log(0.95 * 2)) / 3
    worst = (1 * math.log(1) + 2 * math.log(0.05 * 2)) / 3
    assert found.high.tolist() == pytest.approx([best, best])
    assert found.low.tolist() == pytest.approx([worst - 0.1 * (best - worst)] * 2)


def test_units_do_not_matter():
    rewards = np.random.default_rng(0).random((20, 3))
    found, other = calibrate(rewards), calibrate(rewards * [3.0, 0.1, 20.0] - [5.0, 0.0, 1.0])
    np.testing.assert_allclose(found.weights, other.weights)
    np.testing.assert_allclose(found.low, other.low)
    assert found.weights.mean(0) == pytest.approx(1.0)
    assert (found.weights >= 0).all()


def test_objectives_that_agree_keep_the_start_inside():
    found = calibrate([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    assert (found.low < 0).all()
    assert (found.high > 0).all()


def test_the_range_is_what_a_trained_table_reaches():
    """A table of one prompt, fitted by gradient steps, against the range from rewards alone."""
    rewards = np.random.default_rng(2).random((6, 2))
    found = calibrate(rewards)
    weights = torch.from_numpy(found.weights)
    for corner in range(2):
        target = torch.from_numpy(found.weights @ inside(np.eye(2))[corner] / 6)
        logits = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)

        def loss(logits=logits, target=target, optimizer=optimizer):
            optimizer.zero_grad()
            value = -(target * logits.log_softmax(0)).sum()
            value.backward()
            return value

        optimizer.step(loss)
        gains = (logits.detach().log_softmax(0) + math.log(6)) @ weights / 6
        assert float(gains[corner]) == pytest.approx(found.high[corner], abs=1e-6)
        worst = found.low[1 - corner] + 0.1 / 1.1 * (found.high - found.low)[1 - corner]
        assert float(gains[1 - corner]) == pytest.approx(min(worst, 0.0), abs=1e-5)


def test_what_calibration_refuses():
    with pytest.raises(InputError, match="found 4 for all 3 responses on objective 1"):
        calibrate([[0.0, 4.0], [1.0, 4.0], [2.0, 4.0]])
    with pytest.raises(NotScoredError, match="row 1, objective 0"):
        calibrate([[0.0, 4.0], [math.nan, 4.0]])


def test_gains_by_hand():
    logps = torch.tensor([[-1.0, -2.0]])
    ref = torch.tensor([-2.0, -1.0])
    weights = torch.tensor([[2.0, 0.5], [0.0, 1.5]])
    batch = LikelihoodBatch(logps, ref, weights, torch.zeros(2), torch.ones(2))
    assert batch.gains.tolist() == [[1.0, -0.5]]  # (2 * 1 + 0) / 2 and (.5 - 1.5) / 2


def test_warm_up_is_a_weighted_sum():
    batch = replace(random_batch(2), progress=0.1)
    points = (batch.gains - batch.low) / (batch.high - batch.low)
    found = PolicyHypervolume(CORNERS, warm_up=0.2)(batch)
    expected = -(torch.tensor([[0.95, 0.05], [0.05, 0.95]]).double() * points).sum()
    torch.testing.assert_close(found, expected)
    # A running mean moves the place and not the derivative, which is the same everywhere.
    (slope,) = torch.autograd.grad(found, batch.logps)
    moved = replace(batch, running=torch.full((2, 2), 0.3, dtype=torch.float64))
    (other,) = torch.autograd.grad(PolicyHypervolume(CORNERS, warm_up=0.2)(moved), moved.logps)
    torch.testing.assert_close(slope, other)


def test_afterwards_it_is_volume_and_pull():
    batch = random_batch(3)
    points = (batch.gains - batch.low) / (batch.high - batch.low)
    loss = PolicyHypervolume((*CORNERS, (0.5, 0.5)), warm_up=0.2, pull=0.7)
    expected = 0.7 * hypervolume_pull(points) - policy_hypervolume(points)
    torch.testing.assert_close(loss(batch), expected)
    assert float(PolicyHypervolume(loss.anchors, pull=0.0)(batch).detach()) == pytest.approx(
        -float(policy_hypervolume(points.detach()))
    )


def test_the_running_mean_is_the_place():
    batch = random_batch(2)
    running = torch.tensor([[0.2, -0.1], [-0.2, 0.1]], dtype=torch.float64)
    loss = PolicyHypervolume(CORNERS, warm_up=0.0, memory=0.75)
    place = 0.75 * running + 0.25 * batch.gains.detach()
    torch.testing.assert_close(loss.remember(running, batch.gains.detach()), place)
    leaf = place.clone().requires_grad_()
    points = (leaf - batch.low) / (batch.high - batch.low)
    (hypervolume_pull(points) - policy_hypervolume(points)).backward()
    assert leaf.grad is not None
    value = loss(replace(batch, running=running))
    (found,) = torch.autograd.grad(value, batch.logps)
    torch.testing.assert_close(found, leaf.grad @ batch.weights.T / 8)


def test_the_end_is_past_any_warm_up():
    batch = replace(random_batch(2), progress=1.0)
    points = (batch.gains - batch.low) / (batch.high - batch.low)
    found = PolicyHypervolume(CORNERS, warm_up=0.99, pull=0.0)(batch)
    torch.testing.assert_close(found, -policy_hypervolume(points))


def test_directions_estimate_the_volume():
    batch = random_batch(2)
    exact = float(PolicyHypervolume(CORNERS, pull=0.0)(batch).detach())
    sampled = PolicyHypervolume(CORNERS, pull=0.0, estimator="monte_carlo", directions=50_000)
    assert float(sampled(batch).detach()) == pytest.approx(exact, rel=0.02)


def test_the_center_is_what_anchors_lead_to():
    found = calibrate(np.random.default_rng(1).random((10, 2)))
    strengths = inside(CORNERS) / (found.high - found.low)
    by_hand = []
    for row in strengths:
        ratio = found.weights @ row / row.sum()
        by_hand.append([np.mean(found.weights[:, j] * np.log(ratio)) for j in range(2)])
    np.testing.assert_allclose(found.center(CORNERS), np.mean(by_hand, axis=0))


def test_a_center_takes_away_what_policies_gain_alike():
    batch = replace(random_batch(3), center=torch.tensor([0.1, -0.2], dtype=torch.float64))
    loss = PolicyHypervolume((*CORNERS, (0.5, 0.5)), warm_up=0.0)
    points = loss.points(batch).detach()
    mean = (torch.tensor([0.1, -0.2]) - batch.low) / (batch.high - batch.low)
    torch.testing.assert_close(points.mean(0), mean)
    alike = replace(batch, logps=batch.logps + 5.0)
    torch.testing.assert_close(loss.points(alike).detach(), points)
    (slope,) = torch.autograd.grad(loss(batch), batch.logps)
    leaf = points.clone().requires_grad_()
    (hypervolume_pull(leaf) - policy_hypervolume(leaf)).backward()
    assert leaf.grad is not None
    torch.testing.assert_close(slope, leaf.grad / (batch.high - batch.low) @ batch.weights.T / 8)


@pytest.mark.parametrize(
    "field", [{"warm_up": 1.1}, {"warm_up": -0.1}, {"pull": -1.0}, {"memory": 1.0},
              {"directions": 0}, {"estimator": "both"}],
)  # fmt: skip
def test_fields_out_of_range(field):
    with pytest.raises(ConfigError, match=next(iter(field))):
        PolicyHypervolume(CORNERS, **field)


def test_as_many_policies_as_anchors():
    with pytest.raises(ShapeError, match="found 3 policies and 2 objectives"):
        PolicyHypervolume(CORNERS)(random_batch(3))
