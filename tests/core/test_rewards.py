from __future__ import annotations

import json
import math

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.errors import NotScoredError, ShapeError

AXES = Objectives.of("a", "b")


def matrix(*rows: tuple[float, float]) -> RewardMatrix:
    return RewardMatrix(AXES, np.array(rows, dtype=np.float64).reshape(-1, 2))


def test_columns_by_name() -> None:
    rewards = matrix((1, 2), (3, math.nan))
    np.testing.assert_array_equal(rewards.column("b"), [2, math.nan])
    np.testing.assert_array_equal(rewards.is_scored, [True, False])


def test_refuses_wrong_shapes_and_infinity() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\), expected \(N, 2\)"):
        RewardMatrix(AXES, np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="row 1 is infinite"):
        matrix((0, 0), (0, math.inf))


def test_a_hole_is_named() -> None:
    assert matrix((1, 2)).require_scored("a front") is not None
    with pytest.raises(NotScoredError, match=r"a front .* 1 of 4 .* response 1, b"):
        matrix((1, 2), (3, math.nan)).require_scored("a front")


def test_statistics_of_the_scored_cells() -> None:
    fit = Normalizer.fit(matrix((1, 5), (3, 5), (math.nan, 5)))
    # Two rewards: the quantiles lie a thousandth of the way from the ends.
    tails = (1.002, 5.0), (2.998, 5.0)
    assert fit == Normalizer((2.0, 5.0), (1.0, 1.0), (1.0, 5.0), (3.0, 5.0), 2, *tails)
    np.testing.assert_allclose(fit.standardize(np.array([[4.0, 5.5]])), [[2.0, 0.5]])
    with pytest.raises(NotScoredError, match="objective 'b'"):
        Normalizer.fit(matrix((1, math.nan)))


def test_normalizer_round_trip_in_another_order() -> None:
    fit = Normalizer.fit(matrix((1, 5), (3, 7.5)))
    text = json.dumps(fit.to_json(AXES))
    assert Normalizer.from_json(json.loads(text), AXES) == fit
    assert Normalizer.from_json(json.loads(text), Objectives.of("b", "a")).mean == (6.25, 2.0)


def test_bulk_leaves_out_a_thousandth_on_each_side() -> None:
    # 0 to 1000: mean 500, and the quantiles are 1 and 999.
    fit = Normalizer.fit(RewardMatrix(Objectives.of("a"), np.arange(1001.0)[:, None]))
    low, high = fit.bulk
    np.testing.assert_allclose([low[0], high[0]], np.array([-499, 499]) / fit.std[0])


def test_files_without_quantiles_still_load() -> None:
    row = {"mean": 1.0, "std": 2.0, "low": -3.0, "high": 5.0}
    old = Normalizer.from_json({"n": 4, "objectives": {"a": row, "b": row}}, AXES)
    assert old == Normalizer((1.0, 1.0), (2.0, 2.0), (-3.0, -3.0), (5.0, 5.0), 4)
    np.testing.assert_allclose(old.bulk, [[-2, -2], [2, 2]])
    assert "lower" not in old.to_json(AXES)["objectives"]["a"]
