"""Trade-off grids."""

import numpy as np
import pytest

from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.simplex import dirichlet, lattice, representatives, spread


@pytest.mark.parametrize(
    ("n_objectives", "denominator", "size"),
    [(2, 10, 11), (3, 4, 15), (3, 5, 21), (3, 10, 66), (4, 5, 56), (1, 7, 1)],
)
def test_a7_lattice_sizes(n_objectives, denominator, size):
    grid = lattice(n_objectives, denominator)
    assert len(set(grid)) == size
    assert grid == sorted(grid)
    assert all(
        abs(w * denominator - round(w * denominator)) < 1e-9 for t in grid for w in t.weights
    )


def test_lattice_of_two_objectives_by_hand():
    expected = [(j / 4, 1 - j / 4) for j in range(5)]
    assert [t.weights for t in lattice(2, 4)] == expected


def test_representatives_are_corners_and_center():
    grid = lattice(3, 3)
    assert representatives(grid) == [*(TradeOff.only(i, 3) for i in range(3)), TradeOff.even(3)]


def test_representatives_of_a_grid_without_corners_or_center():
    grid = [TradeOff((0.3, 0.7)), TradeOff((0.4, 0.6)), TradeOff((0.9, 0.1))]
    assert representatives(grid) == [grid[2], grid[0], grid[1]]


def test_spread_takes_the_farthest():
    grid = lattice(3, 4)
    assert spread(grid, 3) == [TradeOff.only(i, 3) for i in (2, 1, 0)]
    assert spread(grid, len(grid)) == grid
    assert spread([TradeOff((0.3, 0.7)), TradeOff((0.4, 0.6))], 1) == [TradeOff((0.4, 0.6))]
    with pytest.raises(ConfigError, match="found 3 of 2 trade-offs"):
        spread([TradeOff((0.3, 0.7)), TradeOff((0.4, 0.6))], 3)


def test_a_representative_appears_once():
    only = TradeOff((0.5, 0.5))
    assert representatives([only]) == [only]


def test_ties_go_to_the_earlier_trade_off():
    assert representatives(lattice(2, 3))[-1] == TradeOff((1 / 3, 2 / 3))


def test_dirichlet_covers_the_simplex_and_repeats_with_its_seed():
    draws = dirichlet(3, 4000, np.random.default_rng(0))
    weights = np.array([t.weights for t in draws])
    assert weights.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    # Uniform on the triangle: variance of a weight is (1/3)(2/3)/4.
    assert weights.var(axis=0) == pytest.approx([1 / 18] * 3, abs=0.005)
    assert draws == dirichlet(3, 4000, np.random.default_rng(0))
    assert dirichlet(2, 0, np.random.default_rng(0)) == []


def test_concentration_gathers_at_the_center():
    tight = dirichlet(2, 500, np.random.default_rng(0), concentration=200)
    assert all(abs(t.weights[0] - 0.5) < 0.15 for t in tight)


def test_bad_numbers_are_errors():
    with pytest.raises(ConfigError, match="denominator 0"):
        lattice(2, 0)
    with pytest.raises(ConfigError, match="no trade-off"):
        representatives([])
    with pytest.raises(ConfigError, match="concentration 0"):
        dirichlet(2, 1, np.random.default_rng(0), concentration=0)
