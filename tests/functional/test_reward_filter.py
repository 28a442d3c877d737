from __future__ import annotations

import numpy as np
import pytest

from paretune.core.job import Pool
from paretune.errors import ConfigError, NotScoredError
from paretune.functional.reward_filter import (
    above_quantile,
    in_top_layers,
    select_rounds,
    select_scored,
)

N = 200_000


def pool(rewards: np.ndarray, rounds: list[int] | None = None) -> Pool:
    rows = np.arange(len(rewards))
    return Pool(
        np.asarray(rewards, float), rows, rows, None if rounds is None else np.array(rounds)
    )


class TestQuantile:
    @pytest.mark.parametrize(("n", "kept", "kept_by_all"), [(2, 0.510, 0.090), (3, 0.657, 0.027)])
    def test_independent_objectives(self, n: int, kept: float, kept_by_all: float) -> None:
        rewards = np.random.default_rng(0).normal(size=(N, n))
        assert above_quantile(rewards).mean() == pytest.approx(kept, abs=0.005)
        assert above_quantile(rewards, match="all").mean() == pytest.approx(kept_by_all, abs=0.003)

    def test_opposed_objectives(self) -> None:
        first = np.random.default_rng(0).normal(size=N)
        rewards = np.stack([first, -first], axis=1)
        assert above_quantile(rewards).mean() == pytest.approx(0.6, abs=1e-4)
        assert not above_quantile(rewards, match="all").any()

    def test_ties_are_kept(self) -> None:
        rewards = np.array([[0.0], [1.0], [1.0], [1.0]])
        np.testing.assert_array_equal(above_quantile(rewards), [False, True, True, True])
        assert above_quantile(rewards, 0.0).all()

    def test_units_do_not_matter(self) -> None:
        rewards = np.random.default_rng(1).normal(size=(500, 2))
        found = above_quantile(rewards * [3, 0.1] + [7, -5])
        np.testing.assert_array_equal(found, above_quantile(rewards))

    def test_out_of_range(self) -> None:
        with pytest.raises(ConfigError, match="found quantile 1"):
            above_quantile(np.zeros((3, 1)), 1)


class TestLayers:
    def test_fewest_layers_with_the_share(self) -> None:
        # Layers: rows 0 and 1, then 2, then 3.
        rewards = np.array([[2, 0], [0, 2], [0, 1], [0, 0]])
        for share, kept in ((0.1, 2), (0.5, 2), (0.51, 3), (1.0, 4)):
            np.testing.assert_array_equal(in_top_layers(rewards, share), np.arange(4) < kept)

    def test_a_share_is_not_rounded_up_for_the_last_bit(self) -> None:
        rewards = np.arange(10.0)[::-1, None]
        assert in_top_layers(rewards, 1 - 0.7).sum() == 3

    def test_keeps_the_balanced_ones_that_a_quantile_drops(self) -> None:
        first = np.linspace(0, 1, 11)
        rewards = np.stack([first, 1 - first], axis=1)
        assert in_top_layers(rewards).all()
        np.testing.assert_array_equal(np.flatnonzero(~above_quantile(rewards)), [4, 5, 6])

    def test_out_of_range(self) -> None:
        with pytest.raises(ConfigError, match="found share 0"):
            in_top_layers(np.zeros((3, 1)), 0)


class TestRows:
    def test_scored(self) -> None:
        np.testing.assert_array_equal(select_scored(pool(np.zeros((3, 2)))), [0, 1, 2])
        with pytest.raises(NotScoredError, match="1 of 2 responses lack a reward, the first is"):
            select_scored(pool(np.array([[0, 0], [0, np.nan]])))

    def test_each_round_has_thresholds_of_its_own(self) -> None:
        rewards = np.array([[0], [1], [8], [9], [-3], [-2]])
        rows = select_rounds(pool(rewards, [0, 0, 1, 1, 2, 2]), max_records=10)
        np.testing.assert_array_equal(rows, [1, 3, 5])

    def test_pareto(self) -> None:
        rewards = np.array([[0, 1], [1, 0], [-1, -1], [5, 5], [4, 6], [3, 3]])
        rows = select_rounds(pool(rewards, [0, 0, 0, 1, 1, 1]), keep="pareto", max_records=10)
        np.testing.assert_array_equal(rows, [0, 1, 3, 4])

    def test_records_are_capped_by_chance_and_replies_are_not(self) -> None:
        rewards = np.random.default_rng(0).normal(size=(400, 2))
        rounds = [0] * 300 + [1] * 100
        full = select_rounds(pool(rewards, rounds), max_records=300)
        capped = select_rounds(pool(rewards, rounds), max_records=40)
        assert (capped < 300).sum() == 40 < (full < 300).sum()
        assert set(capped) <= set(full)
        np.testing.assert_array_equal(capped[capped >= 300], full[full >= 300])
        assert (capped[:20] < 150).any() and capped[39] > 200, "not only the first ones"
        other = select_rounds(pool(rewards, rounds), max_records=40, seed=1)
        assert set(other) != set(capped)
        none = select_rounds(pool(rewards, rounds), max_records=0)
        assert (none >= 300).all()

    def test_without_rounds_all_are_records(self) -> None:
        rows = select_rounds(pool(np.array([[0], [1], [2]])), max_records=10)
        np.testing.assert_array_equal(rows, [2])

    def test_refused(self) -> None:
        with pytest.raises(ConfigError, match="found 'best', expected quantile or pareto"):
            select_rounds(pool(np.zeros((2, 1))), keep="best", max_records=1)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="max_records=-1"):
            select_rounds(pool(np.zeros((2, 1))), max_records=-1)
        with pytest.raises(NotScoredError):
            select_rounds(pool(np.array([[np.nan]])), max_records=1)
