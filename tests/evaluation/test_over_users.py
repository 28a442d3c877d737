from __future__ import annotations

import numpy as np
import pytest

from paretune.errors import InputError, ShapeError
from paretune.evaluation.over_users import user_difference, user_interval, wilson_interval


class TestUsers:
    def test_rows_of_a_user_stay_together(self) -> None:
        """Two users, one always right: a resample is 0, 1/2 or 1, never in between."""
        found = user_interval([1.0] * 50 + [0.0] * 50, np.repeat([3, 9], 50))
        assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)

    def test_it_is_as_wide_as_the_spread_of_users(self) -> None:
        rng = np.random.default_rng(0)
        skill = rng.uniform(0.2, 0.8, 400)
        user_of = np.repeat(np.arange(400), 8)
        right = (rng.uniform(size=3200) < skill[user_of]).astype(float)
        found = user_interval(right, user_of)
        error = right.reshape(400, 8).mean(axis=1).std() / np.sqrt(400)
        assert found.value == pytest.approx(right.mean())
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)

    def test_users_with_more_rows_weigh_more(self) -> None:
        assert user_interval([1.0, 0.0, 0.0, 0.0], np.array([0, 1, 1, 1])).value == 0.25

    def test_unknown_rows_are_left_out(self) -> None:
        found = user_interval([1.0, np.nan, 0.0, 1.0], np.array([0, 0, 1, 2]))
        assert found == user_interval([1.0, 0.0, 1.0], np.array([0, 1, 2]))

    def test_the_same_seed_meets_the_same_users(self) -> None:
        rng = np.random.default_rng(0)
        values, user_of = rng.uniform(size=60), np.repeat(np.arange(20), 3)
        assert user_interval(values, user_of, 1) == user_interval(values, user_of, 1)
        assert user_interval(values, user_of, 1) != user_interval(values, user_of, 2)

    def test_one_user_is_no_population(self) -> None:
        with pytest.raises(InputError, match="found 1 to resample"):
            user_interval([1.0, 0.0], np.array([4, 4]))
        with pytest.raises(InputError, match="found 0 to resample"):
            user_interval([np.nan], np.array([4]))
        with pytest.raises(ShapeError, match="expected the same"):
            user_interval([1.0], np.array([4, 4]))


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    base, user_of = rng.uniform(size=200), np.repeat(np.arange(50), 4)
    found = user_difference(base + 0.1, base, user_of)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.1)
    half = user_difference([1.0, np.nan, 1.0], [0.0, 1.0, 0.0], np.array([0, 1, 2]))
    assert (half.value, half.low, half.high) == (1, 1, 1)
    with pytest.raises(ShapeError, match="expected the same"):
        user_difference([1.0], [1.0, 2.0], np.array([0]))


class TestWilson:
    def test_seventy_of_a_hundred(self) -> None:
        found = wilson_interval(70, 100)
        assert (found.value, round(found.low, 3), round(found.high, 3)) == (0.7, 0.604, 0.781)

    def test_ends(self) -> None:
        # z^2 / (n + z^2) with z = 1.95996, n = 10.
        assert wilson_interval(0, 10).low == 0
        assert wilson_interval(0, 10).high == pytest.approx(0.27753, abs=1e-5)
        assert wilson_interval(10, 10).low == pytest.approx(1 - 0.27753, abs=1e-5)
        assert wilson_interval(10, 10).high == 1

    @pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1, 2, 1.0)])
    def test_bad_numbers(self, arguments: tuple[float, int]) -> None:
        with pytest.raises(InputError, match="Wilson"):
            wilson_interval(*arguments)
