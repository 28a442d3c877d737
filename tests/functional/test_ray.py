"""The preference ray: direction, distance and what it can reach."""

import numpy as np
import pytest

from paretune.errors import ConfigError, ShapeError
from paretune.functional.ray import is_reachable, ray_direction, ray_distance, reward_range
from paretune.functional.simplex import lattice


def test_directions_by_hand():
    assert ray_direction((0.5, 0.3, 0.2)) == pytest.approx(np.array([0.5, 0.7, 0.8]) / 2)
    # 1/w = 2, 4, 4 of a sum of 10.
    assert ray_direction((0.5, 0.25, 0.25), "chebyshev") == pytest.approx([0.2, 0.4, 0.4])


def test_a_corner_gives_up_the_others():
    assert ray_direction((1, 0)).tolist() == [0, 1]
    assert ray_direction((1, 0), "chebyshev").tolist() == [0, 1]
    assert ray_direction((0.5, 0.5, 0), "chebyshev").tolist() == [0, 0, 1]


def test_smoothing_separates_directions_of_edge_trade_offs():
    one = ray_direction((0.8, 0.2, 0), "chebyshev", smoothing=0.1)
    other = ray_direction((0.2, 0.8, 0), "chebyshev", smoothing=0.1)
    assert (one != other).any()
    # Weights become .9 w + .1/3.
    w = 0.9 * np.array([0.8, 0.2, 0]) + 0.1 / 3
    assert one == pytest.approx((1 / w) / (1 / w).sum())


def test_a2_two_objectives_know_one_ray():
    shortfall = np.random.default_rng(0).random((500, 2))
    for tradeoff in lattice(2, 10):
        literal = ray_distance(shortfall, ray_direction(tradeoff.weights))
        chebyshev = ray_distance(shortfall, ray_direction(tradeoff.weights, "chebyshev"))
        assert literal[0] == pytest.approx(chebyshev[0], abs=1e-9)
        assert literal[1] == pytest.approx(chebyshev[1], abs=1e-9)


def test_a2_distance_equals_the_literal_vector_formula():
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(200, 3)) * [1, 5, 0.2]
    low, high = reward_range(rewards)
    weights = np.array([0.5, 0.3, 0.2])
    compromise = low + weights * (high - low)
    line = (compromise - high) / np.linalg.norm(compromise - high)
    along = (rewards - high) @ line
    expected = np.linalg.norm((rewards - high) - along[:, None] * line, axis=1)
    distance, t = ray_distance(high - rewards, ray_direction(tuple(weights)) * (high - low))
    assert distance == pytest.approx(expected)
    assert t == pytest.approx(along)
    assert (along >= 0).all(), "rows cannot lie behind the maximum of the same rows"


def test_a4_rows_behind_the_ideal_are_measured_to_it():
    rewards = np.array([[2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    distance, t = ray_distance(1 - rewards, ray_direction((0.5, 0.5)))
    assert distance == pytest.approx([1.41421356, 0, 0], abs=1e-8)
    assert t == pytest.approx([0, 0, 1.41421356])


def test_the_ray_has_no_far_end():
    distance, _ = ray_distance(np.array([[5.0, 5.0]]), ray_direction((0.5, 0.5)))
    assert distance == pytest.approx([0])


def test_without_a_direction_the_ray_is_the_ideal():
    distance, t = ray_distance(np.array([[3.0, 4.0]]), np.zeros(2))
    assert (distance.tolist(), t.tolist()) == ([5], [0])


@pytest.mark.parametrize(
    ("n_objectives", "share", "tolerance"), [(3, 1 / 4, 5e-3), (4, 1 / 27, 2e-3)]
)
def test_a6_share_of_reachable_directions(n_objectives, share, tolerance):
    directions = np.random.default_rng(0).dirichlet([1] * n_objectives, size=200_000)
    assert is_reachable(directions).mean() == pytest.approx(share, abs=tolerance)


def test_every_literal_direction_is_reachable_and_chebyshev_leaves_the_region():
    weights = np.random.default_rng(0).dirichlet([1] * 3, size=200)
    assert is_reachable([ray_direction(tuple(w)) for w in weights]).all()
    assert not is_reachable([ray_direction(tuple(w), "chebyshev") for w in weights]).all()
    assert is_reachable(np.random.default_rng(0).dirichlet([1, 1], size=100)).all()


def test_range_by_extremes_and_quantiles():
    rewards = np.arange(101, dtype=float)[:, None]
    assert [v.item() for v in reward_range(rewards)] == [0, 100]
    assert [v.item() for v in reward_range(rewards, 0.1)] == pytest.approx([10, 90])


def test_bad_options_are_errors():
    with pytest.raises(ConfigError, match="direction 'up'"):
        ray_direction((0.5, 0.5), "up")
    with pytest.raises(ConfigError, match="smoothing"):
        ray_direction((0.5, 0.5), smoothing=2)
    with pytest.raises(ConfigError, match="weights >= 0"):
        ray_direction((1.5, -0.5))
    with pytest.raises(ConfigError, match=r"range_quantile 0\.5"):
        reward_range(np.zeros((2, 2)), 0.5)
    with pytest.raises(ShapeError, match="M >= 2"):
        is_reachable([[1.0]])
