from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.core.rewards import Normalizer
from paretune.errors import ConfigError, ShapeError
from paretune.functional.desired_rewards import (
    desired_rewards,
    desired_share,
    gauss_range,
    goal_range,
    sample_goals,
)
from paretune.functional.draws import hash_keys


class TestShare:
    @pytest.mark.parametrize(
        ("weights", "p", "expected"),
        [
            ((0.5, 0.5), 2, (0.5**0.5, 0.5**0.5)),
            ((1, 0), 2, (1, 0)),
            # (.3, .7) over the root of .58.
            ((0.3, 0.7), 2, (0.39392, 0.91915)),
            ((0.3, 0.7), 4, (0.70298, 0.93240)),
            ((0.2, 0.3, 0.5), 1, (0, 0, 1)),
            ((0.4, 0.4, 0.2), 1, (0.5, 0.5, 0)),
            ((1, 0), math.inf, (1, 1)),
        ],
    )
    def test_by_hand(
        self, weights: tuple[float, ...], p: float, expected: tuple[float, ...]
    ) -> None:
        np.testing.assert_allclose(desired_share(weights, p=p), expected, atol=1e-5)

    @pytest.mark.parametrize("p", [1.5, 2, 3, 6])
    @pytest.mark.parametrize("weight", [0.1, 0.3, 0.5, 0.85])
    def test_best_point_of_the_ball(self, p: float, weight: float) -> None:
        """No point of a fine grid on the boundary is better."""
        first = np.linspace(0, 1, 1_000_001)
        second = (1 - first**p) ** (1 / p)
        best = int((weight * first + (1 - weight) * second).argmax())
        found = desired_share((weight, 1 - weight), p=p)
        np.testing.assert_allclose(found, (first[best], second[best]), atol=1e-4)

    @pytest.mark.parametrize("p", [1.0001, 1.5, 2.0, 7.0, 1e6])
    def test_norm_is_one(self, p: float) -> None:
        share = desired_share((0.1, 0.2, 0.7), p=p)
        assert float((share**p).sum()) == pytest.approx(1)
        assert list(share) == sorted(share)

    def test_limits_in_p(self) -> None:
        np.testing.assert_allclose(desired_share((0.4, 0.6), p=1.001), (0, 1), atol=1e-9)
        np.testing.assert_allclose(desired_share((0.4, 0.6), p=1e6), (1, 1), atol=1e-5)

    def test_rules_of_thumb(self) -> None:
        np.testing.assert_allclose(desired_share((0.3, 0.7), "linf"), (0.6, 1))
        np.testing.assert_allclose(desired_share((0.2, 0.35, 0.45), "linf"), (0.6, 1, 1))
        np.testing.assert_allclose(desired_share((0.5, 0.5), "linf"), (1, 1))
        np.testing.assert_allclose(desired_share((0.3, 0.7), "linear"), (0.3, 0.7))

    def test_permuting_objectives_permutes_the_answer(self) -> None:
        for rule in ("norm", "linf", "linear"):
            there = desired_share((0.2, 0.3, 0.5), rule, p=3.0)
            back = desired_share((0.5, 0.3, 0.2), rule, p=3.0)
            np.testing.assert_allclose(there, back[::-1])

    def test_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"found p=0\.5, expected a number >= 1"):
            desired_share((0.5, 0.5), p=0.5)
        with pytest.raises(ConfigError, match="found rule 'l2', expected norm, linf or linear"):
            desired_share((0.5, 0.5), "l2")  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            desired_share((0.5, 0.6))


class TestRewards:
    def test_share_of_each_range(self) -> None:
        found = desired_rewards((0.3, 0.7), np.array([-1.0, 0.0]), np.array([1.0, 10.0]), "linf")
        np.testing.assert_allclose(found, (-1 + 0.6 * 2, 10))

    def test_ranges_must_fit(self) -> None:
        with pytest.raises(ShapeError, match="found ranges of 3 and 2 objectives, expected 2"):
            desired_rewards((0.5, 0.5), np.zeros(3), np.ones(2))

    def test_range_of_the_data(self) -> None:
        normalizer = Normalizer((1.0,), (2.0,), (-9.0,), (9.0,), 5, (-3.0,), (5.0,))
        np.testing.assert_allclose(goal_range(normalizer), [[-2], [2]])
        with pytest.raises(ConfigError, match="found range 'pareto', expected data or gauss"):
            goal_range(normalizer, "pareto")  # type: ignore[arg-type]

    def test_range_of_normals_is_the_extremes_of_a_sample(self) -> None:
        normalizer = Normalizer((1.0, 0.0), (2.0, 1.0), (0.0, 0.0), (1.0, 1.0), 5)
        low, high = goal_range(normalizer, "gauss")
        assert low.shape == high.shape == (2,)
        # The mean of the largest of 50,000 is 4.24, of 100,000 4.37; the draw is fixed.
        assert (low[0], high[0]) == gauss_range() == pytest.approx((-4.24, 4.24), abs=0.5)
        assert gauss_range(100_000)[1] >= gauss_range(50_000)[1]
        assert gauss_range(1)[0] == gauss_range(1)[1]


class TestGoals:
    @pytest.mark.parametrize(("n", "mean"), [(2, -1.467), (3, -2.2)])
    def test_one_objective_is_kept_low(self, n: int, mean: float) -> None:
        goals = sample_goals(hash_keys(0, 1, np.arange(100_000)), np.full(n, -4.4), np.full(n, 4.4))
        assert ((goals < 4.4).sum(axis=1) <= 1).all()
        # low + (high - low) / (M + 1).
        assert goals.min(axis=1).mean() == pytest.approx(mean, abs=0.02)
        share = np.bincount(goals.argmin(axis=1), minlength=n) / len(goals)
        np.testing.assert_allclose(share, 1 / n, atol=0.01)
        np.testing.assert_array_equal(goals, np.round(goals, 1))

    def test_smallest_in_shares_of_each_range(self) -> None:
        keys = hash_keys(0, 1, np.arange(2000))
        goals = sample_goals(keys, np.array([0.0, 100.0]), np.array([1.0, 1000.0]))
        assert 0.45 < (goals[:, 1] < 1000).mean() < 0.55

    def test_a_goal_is_a_function_of_its_key(self) -> None:
        keys = hash_keys(0, 1, np.arange(50))
        low, high = np.zeros(3), np.ones(3)
        np.testing.assert_array_equal(
            sample_goals(keys, low, high)[30:], sample_goals(keys[30:], low, high)
        )
