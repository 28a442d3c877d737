"""Scalarizations worked out by hand."""

import numpy as np
import pytest

from paretune.errors import ConfigError, InputError, NotScoredError, ShapeError
from paretune.functional.scalarize import chebyshev, linear, smooth_chebyshev


def test_linear_by_hand():
    rewards = [[[1.0, 2.0], [0.0, -4.0]]]
    assert linear(rewards, (0.25, 0.75)).tolist() == [[1.75, -3.0]]


def test_chebyshev_by_hand():
    # Shortfalls .5 and .2, weights in units of the largest .25 and 1: max(.125, .2) = .2.
    assert chebyshev([0.5, 0.8], (0.2, 0.8)) == pytest.approx(0.8)
    assert chebyshev([0.1, 0.8], (0.2, 0.8)) == pytest.approx(1 - 0.25 * 0.9)


def test_even_weights_give_the_smallest_reward():
    rewards = np.random.default_rng(0).random((50, 3))
    assert chebyshev(rewards, (1 / 3,) * 3) == pytest.approx(rewards.min(axis=1))


def test_a_corner_gives_the_reward_of_its_objective():
    rewards = np.random.default_rng(0).random((50, 3))
    assert chebyshev(rewards, (0, 1, 0)) == pytest.approx(rewards[:, 1])


def test_unit_rewards_give_unit_utilities():
    rng = np.random.default_rng(0)
    rewards = np.concatenate([rng.random((200, 4)), np.zeros((1, 4)), np.ones((1, 4))])
    for weights in rng.dirichlet([1] * 4, size=20):
        utility = chebyshev(rewards, tuple(weights))
        assert (utility >= 0).all()
        assert (utility <= 1).all()
        assert utility[-2:] == pytest.approx([0, 1])


def test_chebyshev_reaches_a_dent_that_a_weighted_sum_cannot():
    front = np.array([[1.0, 0.0], [0.4, 0.4], [0.0, 1.0]])
    grid = [(w, 1 - w) for w in np.linspace(0, 1, 101)]
    assert {int(linear(front, w).argmax()) for w in grid} == {0, 2}
    assert {int(chebyshev(front, w).argmax()) for w in grid} == {0, 1, 2}


def test_smooth_chebyshev_is_bounded_by_chebyshev():
    rewards = np.random.default_rng(0).random((100, 3))
    weights = (0.5, 0.3, 0.2)
    for temperature in (1.0, 0.1, 0.001):
        gap = chebyshev(rewards, weights) - smooth_chebyshev(rewards, weights, temperature)
        assert (gap >= -1e-12).all()
        assert (gap <= temperature * np.log(3) + 1e-12).all()


def test_smooth_chebyshev_by_hand():
    # Two equal terms of 0 at the ideal: 1 - tau log 2.
    assert smooth_chebyshev([1.0, 1.0], (0.5, 0.5), 0.2) == pytest.approx(1 - 0.2 * np.log(2))


def test_smooth_chebyshev_does_not_overflow():
    assert smooth_chebyshev([0.0, 1.0], (0.5, 0.5), 1e-4) == pytest.approx(0.0)


@pytest.mark.parametrize("scalarize", [linear, chebyshev, smooth_chebyshev])
def test_permuting_objectives_with_their_weights_changes_nothing(scalarize):
    rewards = np.random.default_rng(0).random((10, 3))
    before = rewards.copy()
    one = scalarize(rewards, (0.5, 0.3, 0.2))
    other = scalarize(rewards[:, [2, 0, 1]], (0.2, 0.5, 0.3))
    assert one == pytest.approx(other)
    assert (rewards == before).all()


@pytest.mark.parametrize("scalarize", [linear, chebyshev, smooth_chebyshev])
def test_bad_input_is_named(scalarize):
    with pytest.raises(ShapeError, match="found 2 weights"):
        scalarize([0.1, 0.2, 0.3], (0.5, 0.5))
    with pytest.raises(NotScoredError, match=r"\(1, 0\)"):
        scalarize([[0.1, 0.2], [np.nan, 0.3]], (0.5, 0.5))
    with pytest.raises(ConfigError, match="sum 1"):
        scalarize([0.1, 0.2], (0.5, 0.6))


def test_temperature_must_be_positive():
    with pytest.raises(InputError, match="temperature 0"):
        smooth_chebyshev([0.1, 0.2], (0.5, 0.5), 0)
