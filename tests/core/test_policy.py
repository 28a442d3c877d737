from __future__ import annotations

import pytest

from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError

GRID = [TradeOff((j / 4, 1 - j / 4)) for j in range(5)]


def test_nearest_is_itself_on_the_grid() -> None:
    assert [nearest_tradeoff(t, GRID) for t in GRID] == GRID


def test_nearest_between() -> None:
    assert nearest_tradeoff(TradeOff((0.6, 0.4)), GRID) == TradeOff((0.5, 0.5))
    # 0.375 is as far from 0.25 as from 0.5: the earlier one.
    assert nearest_tradeoff(TradeOff((0.375, 0.625)), GRID) == TradeOff((0.25, 0.75))
    assert nearest_tradeoff(TradeOff((0.375, 0.625)), GRID[::-1]) == TradeOff((0.5, 0.5))


def test_nearest_of_nothing_or_of_another_size() -> None:
    with pytest.raises(ConfigError, match="no trade-off was trained"):
        nearest_tradeoff(GRID[0], [])
    with pytest.raises(ConfigError, match="3 weights, expected 2"):
        nearest_tradeoff(TradeOff.even(3), GRID)


@pytest.mark.parametrize(
    ("kind", "policies", "weights", "candidates"),
    [
        ("pick", (), (), 1),
        ("pick", ("a",), (0.5, 0.5), 1),
        ("pick", ("a", "b"), (0.5, 0.5), 1),
        ("condition", ("a", "b"), (0.5, 0.5), 1),
        ("pick", ("a",), (1.0,), 0),
    ],
)
def test_refuses_steering_that_means_nothing(kind, policies, weights, candidates) -> None:
    with pytest.raises(ConfigError, match="steering:"):
        Steering(kind, policies, weights, TradeOff.even(2), candidates)
