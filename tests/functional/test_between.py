from __future__ import annotations

import numpy as np
import pytest

from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.between import between
from paretune.functional.simplex import dirichlet, lattice


def test_the_two_neighbors_on_a_line() -> None:
    found = between(TradeOff((0.34, 0.66)), lattice(2, 10))
    assert [t.weights for t, _ in found] == [(0.3, 0.7), (0.4, 0.6)]
    assert [s for _, s in found] == pytest.approx([0.6, 0.4])


def test_a_trained_one_is_itself() -> None:
    for wanted in lattice(3, 4):
        assert between(wanted, lattice(3, 4)) == [(wanted, 1.0)]


def test_the_triangle_around_a_point() -> None:
    # By hand: 0.6 (1, 0, 0) + 0.2 (0.5, 0.5, 0) + 0.2 (0.5, 0, 0.5).
    found = dict(between(TradeOff((0.8, 0.1, 0.1)), lattice(3, 2)))
    expected = {(1.0, 0.0, 0.0): 0.6, (0.5, 0.5, 0.0): 0.2, (0.5, 0.0, 0.5): 0.2}
    assert {t.weights: s for t, s in found.items()} == pytest.approx(expected)


def test_outside_it_is_the_nearest() -> None:
    trained = [TradeOff((0.4, 0.6)), TradeOff((0.6, 0.4))]
    assert between(TradeOff((0.9, 0.1)), trained) == [(trained[1], 1.0)]


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_shares_give_the_tradeoff_from_nearby(n_objectives: int) -> None:
    trained = lattice(n_objectives, 3)
    for wanted in dirichlet(n_objectives, 20, np.random.default_rng(0)):
        found = between(wanted, trained)
        assert 1 <= len(found) <= n_objectives
        assert min(s for _, s in found) > 0
        mean = sum(s * t.array for t, s in found)
        assert np.abs(mean - wanted.array).max() < 1e-9
        # A cell of a grid with step 1/3 is no larger than two steps.
        assert max(np.abs(t.array - wanted.array).max() for t, _ in found) < 2 / 3
        permuted = TradeOff(tuple(wanted.weights[::-1]))
        turned = between(permuted, [TradeOff(t.weights[::-1]) for t in trained])
        cost = [sum(s * ((t.array - w.array) ** 2).sum() for t, s in f)
                for f, w in ((found, wanted), (turned, permuted))]  # fmt: skip
        assert cost[0] == pytest.approx(cost[1], abs=1e-9)


def test_nothing_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trade-off was trained"):
        between(TradeOff((1.0,)), [])
