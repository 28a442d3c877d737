from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.shots import Examples
from paretune.core.tradeoff import TradeOff
from paretune.core.user import User
from paretune.errors import NotScoredError, ShapeError
from paretune.functional.scalarize import chebyshev, linear
from paretune.functional.utility import example_gaps, rate, utility_gap

NAN = float("nan")
LINEAR = User("a", TradeOff((0.2, 0.3, 0.5)))
WORST = User("b", TradeOff((0.2, 0.3, 0.5)), "chebyshev")
UNIT = arrays(np.float64, (5, 3), elements=st.floats(0, 1))


class TestGap:
    def test_linear(self) -> None:
        labels = [[1, -1, 0.5], [NAN, 1, -1], [NAN, NAN, NAN], [0.5, NAN, NAN]]
        # .2 - .3 + .25; (.3 - .5)/.8; nothing; .1/.2
        np.testing.assert_allclose(utility_gap(labels, LINEAR), [0.15, -0.25, NAN, 0.5])

    def test_chebyshev(self) -> None:
        first = np.array([[0.0, 0.5, 0.9], [NAN, 0.5, 0.9], [NAN, 0.5, 0.9]])
        second = np.array([[1.0, 0.9, 0.6], [1.0, 0.9, 0.6], [1.0, NAN, NAN]])
        # Shares .4, .6, 1. First: max(.4, .3, .1); second: max(0, .06, .4). Without the first
        # objective: .3 against .4. Nothing in common.
        gaps = utility_gap(np.zeros((3, 3)), WORST, first, second)
        np.testing.assert_allclose(gaps, [0.0, 0.1, NAN], atol=1e-12)

    def test_what_weighs_nothing_tells_nothing(self) -> None:
        only = TradeOff((1.0, 0.0, 0.0))
        labels = np.array([[NAN, 1.0, 1.0]])
        assert np.isnan(utility_gap(labels, User("a", only))).all()
        rewards = np.array([[NAN, 1.0, 1.0], [0.5, 0.0, 0.0]])
        found = utility_gap(np.zeros((2, 3)), User("a", only, "chebyshev"), rewards, 1 - rewards)
        np.testing.assert_allclose(found, [NAN, 0.0])

    def test_a_chebyshev_user_needs_rewards(self) -> None:
        for first in (None, np.full((1, 3), NAN)):
            with pytest.raises(NotScoredError, match="expected scores of both responses"):
                utility_gap(np.ones((1, 3)), WORST, first, first)

    def test_columns(self) -> None:
        with pytest.raises(ShapeError, match=r"found shape \(1, 2\), expected \(1, 3\)"):
            utility_gap(np.ones((1, 2)), LINEAR)

    @given(first=UNIT, second=UNIT)
    def test_exchange_turns_the_sign(self, first: np.ndarray, second: np.ndarray) -> None:
        for user in (LINEAR, WORST):
            there = utility_gap(first - second, user, first, second)
            back = utility_gap(second - first, user, second, first)
            np.testing.assert_allclose(there, -back, atol=1e-12)
            assert (abs(there) <= 1 + 1e-12).all()


@given(rewards=UNIT)
def test_rates_are_the_scalarizations(rewards: np.ndarray) -> None:
    weights = LINEAR.tradeoff.weights
    np.testing.assert_allclose(rate(rewards, LINEAR), linear(rewards, weights), atol=1e-12)
    np.testing.assert_allclose(rate(rewards, WORST), chebyshev(rewards, weights), atol=1e-12)


def test_rates_leave_out_what_is_not_scored() -> None:
    rewards = [[NAN, 1.0, 0.0], [NAN, NAN, NAN]]
    np.testing.assert_allclose(rate(rewards, LINEAR), [0.375, NAN])
    np.testing.assert_allclose(rate(rewards, WORST), [0.0, NAN])


def test_examples_of_different_users() -> None:
    records = [
        Record(
            f"q{i}",
            (Response("x", {"a": 1.0, "b": 0.2}), Response("y", {"a": 0.4, "b": 0.6})),
            (Comparison(0, 1, {"a": 1.0, "b": -1.0}),),
        )
        for i in range(2)
    ]
    data = PreferenceData.from_records(records, ("a", "b"))
    users = [User("u", TradeOff((0.25, 0.75))), User("v", TradeOff((0.5, 0.5)), "chebyshev")]
    examples = Examples(np.array([0, 1, 0]), np.array([1, 0, 0]))
    # Linear: .25 - .75; Chebyshev: max(0, .8) against max(.6, .4).
    np.testing.assert_allclose(example_gaps(data, users, examples), [-0.5, -0.2, -0.5])
