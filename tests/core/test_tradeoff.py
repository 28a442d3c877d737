from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError


@pytest.mark.parametrize(
    "weights",
    [(), (0.5, 0.4), (1.1, -0.1), (math.nan, 1.0), (math.inf, 0.0), (0.5, 0.5, 0.5)],
)
def test_refuses_what_is_off_the_simplex(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="trade-off: found"):
        TradeOff(weights)


def test_accepts_rounding() -> None:
    assert len(TradeOff((1 / 3, 1 / 3, 1 / 3))) == 3
    assert TradeOff((0.1 + 0.2, 0.7)).weights == (0.1 + 0.2, 0.7)


def test_corners_and_center() -> None:
    assert TradeOff.only(1, 3).weights == (0.0, 1.0, 0.0)
    assert TradeOff.even(4).weights == (0.25,) * 4


def test_weights_become_floats() -> None:
    tradeoff = TradeOff((1, 0))  # type: ignore[arg-type]
    assert all(type(w) is float for w in tradeoff.weights)
    assert tradeoff == TradeOff((1.0, 0.0)) and hash(tradeoff) == hash(TradeOff((1.0, 0.0)))


def test_array_is_a_copy() -> None:
    tradeoff = TradeOff((0.25, 0.75))
    tradeoff.array[0] = 9
    np.testing.assert_array_equal(tradeoff.array, [0.25, 0.75])
    assert tradeoff.array.dtype == np.float64


@pytest.mark.parametrize(
    ("weights", "slug"),
    [((0.3, 0.7), "0.3-0.7"), ((1.0, 0.0), "1-0"), ((1 / 3, 2 / 3), "0.3333-0.6667")],
)
def test_slug(weights: tuple[float, ...], slug: str) -> None:
    assert TradeOff(weights).slug == slug


def test_from_names() -> None:
    axes = Objectives.of("helpful", "harmless", "humor")
    assert TradeOff.from_mapping({"humor": 0.4, "helpful": 0.6}, axes).weights == (0.6, 0.0, 0.4)
    with pytest.raises(ConfigError, match=r"helpfull.*did you mean 'helpful'"):
        TradeOff.from_mapping({"helpfull": 1.0}, axes)
    with pytest.raises(ConfigError, match=r"sum 0\.5"):
        TradeOff.from_mapping({"helpful": 0.5}, axes)
