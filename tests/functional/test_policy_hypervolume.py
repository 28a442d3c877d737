"""Hypervolume of policies: values, derivatives, and what pulls those without a share."""

import numpy as np
import pytest
import torch

from paretune.errors import ConfigError, ShapeError
from paretune.functional.indicators import hypervolume
from paretune.functional.policy_hypervolume import (
    hypervolume_pull,
    policy_hypervolume,
    positive_directions,
    sampled_hypervolume,
)


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def random_points(n_points, n_objectives, seed):
    return np.random.default_rng(seed).random((n_points, n_objectives))


def gradient(function, points):
    leaf = points.clone().requires_grad_()
    function(leaf).backward()
    return leaf.grad


def test_a_staircase_by_hand():
    # Boxes of .2 x .9, .5 x .6, .8 x .3; each step shares a corner with the next.
    points = double([0.2, 0.9], [0.5, 0.6], [0.8, 0.3])
    volume = 0.18 + 0.30 + 0.24 - 0.2 * 0.6 - 0.5 * 0.3
    assert float(policy_hypervolume(points)) == pytest.approx(volume)
    # The middle one owns .3 upwards and .3 to the right; the first .2 wide and .3 high.
    expected = double([0.3, 0.2], [0.3, 0.3], [0.3, 0.3])
    torch.testing.assert_close(gradient(policy_hypervolume, points), expected)


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("n_points", [1, 2, 5, 6, 9])
def test_value_and_gradient_are_those_of_the_indicator(n_points, n_objectives):
    values = random_points(n_points, n_objectives, seed=n_points)
    points = torch.from_numpy(values)
    assert float(policy_hypervolume(points)) == pytest.approx(hypervolume(values), abs=1e-12)
    step = 1e-6
    found = gradient(policy_hypervolume, points).numpy()
    for cell in np.ndindex(*values.shape):
        up, down = values.copy(), values.copy()
        up[cell] += step
        down[cell] -= step
        numeric = (hypervolume(up) - hypervolume(down)) / (2 * step)
        assert found[cell] == pytest.approx(numeric, abs=1e-8)


def test_both_ways_agree_where_one_takes_over():
    values = torch.from_numpy(random_points(5, 3, seed=3))
    # A sixth point that is dominated changes nothing and has no gradient.
    behind = torch.cat([values, 0.5 * values[:1]])
    assert float(policy_hypervolume(behind)) == pytest.approx(float(policy_hypervolume(values)))
    found = gradient(policy_hypervolume, behind)
    torch.testing.assert_close(found[:5], gradient(policy_hypervolume, values))
    assert (found[5] == 0).all()


def test_permutations_and_inputs():
    values = torch.from_numpy(random_points(4, 3, seed=5))
    kept = values.clone()
    volume = float(policy_hypervolume(values))
    assert float(policy_hypervolume(values[[2, 0, 3, 1]])) == pytest.approx(volume)
    assert float(policy_hypervolume(values[:, [2, 0, 1]])) == pytest.approx(volume)
    assert torch.equal(values, kept)


def test_what_lies_below_the_reference_adds_nothing():
    points = double([0.5, 0.5], [0.9, -0.1])
    assert float(policy_hypervolume(points)) == 0.25
    torch.testing.assert_close(gradient(policy_hypervolume, points), double([0.5, 0.5], [0.0, 0.0]))
    below = double([-0.2, -0.3])
    assert float(sampled_hypervolume(below, positive_directions(8, 2))) == 0.0


def test_copies_share_a_derivative():
    found = gradient(policy_hypervolume, double([0.4, 0.6], [0.4, 0.6]))
    torch.testing.assert_close(found, double([0.3, 0.2], [0.3, 0.2]))


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_many_directions_give_the_volume(n_objectives):
    points = torch.from_numpy(random_points(5, n_objectives, seed=1))
    directions = positive_directions(400_000, n_objectives, seed=2)
    exact = float(policy_hypervolume(points))
    assert float(sampled_hypervolume(points, directions)) == pytest.approx(exact, abs=2e-3)
    found = gradient(lambda p: sampled_hypervolume(p, directions), points)
    torch.testing.assert_close(found, gradient(policy_hypervolume, points), atol=1e-2, rtol=0)


def test_one_direction_by_hand():
    # Along (.6, .8) the first point reaches min(.3/.6, .8/.8) = .5, the second min(1, .5) = .5.
    direction = double([0.6, 0.8])
    value = float(sampled_hypervolume(double([0.3, 0.8]), direction))
    assert value == pytest.approx(np.pi / 4 * 0.25)
    active = gradient(lambda p: sampled_hypervolume(p, direction), double([0.3, 0.8]))
    assert active.tolist() == [[pytest.approx(np.pi / 4 * 2 * 0.5 / 0.6), 0.0]]


def test_directions_are_a_hash():
    few, many = positive_directions(3, 4, seed=5), positive_directions(9, 4, seed=5)
    assert torch.equal(few, many[:3])
    assert (many > 0).all()
    torch.testing.assert_close(many.norm(dim=1), torch.ones(9, dtype=torch.float64))
    assert not torch.equal(few, positive_directions(3, 4, seed=6))
    mean = positive_directions(40_000, 3).mean(0)
    assert mean.tolist() == pytest.approx([0.5] * 3, abs=0.01)  # of a half sphere's coordinate


def test_the_pull_is_the_shortest_way_out():
    # Behind both: .3 right or .1 up out of the first, .1 right or .4 up out of the second; then
    # the nearer exit of the one that is farthest in front, 0.1 from each.
    points = double([0.5, 0.6], [0.3, 0.9], [0.2, 0.5])
    found = gradient(hypervolume_pull, points)
    assert float(hypervolume_pull(points)) == pytest.approx(0.1)
    assert (found[:2] == 0).all()
    assert float(found[2].sum()) == -1.0
    moved = points.clone()
    moved[2] += 0.1
    assert float(hypervolume_pull(moved)) == pytest.approx(0.0, abs=1e-12)


def test_the_pull_lifts_to_the_reference():
    points = double([0.9, -0.2])
    assert float(hypervolume_pull(points)) == pytest.approx(0.2)
    torch.testing.assert_close(gradient(hypervolume_pull, points), double([0.0, -1.0]))


def test_a_front_is_not_pulled():
    points = double([0.2, 0.9], [0.5, 0.6], [0.8, 0.3])
    assert float(hypervolume_pull(points)) == 0.0
    assert (gradient(hypervolume_pull, points) == 0).all()


def test_what_is_refused():
    for function in (policy_hypervolume, hypervolume_pull):
        with pytest.raises(ShapeError, match="expected \\(K, M\\)"):
            function(torch.zeros(3))
    with pytest.raises(ShapeError, match="expected \\(D, 2\\)"):
        sampled_hypervolume(double([0.5, 0.5]), positive_directions(4, 3))
    with pytest.raises(ConfigError, match="directions: found 0 of 2"):
        positive_directions(0, 2)
