from __future__ import annotations

import json
import math

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.errors import InputError, NotScoredError
from paretune.scoring.normalizer import frozen_normalizer

BOTH = Objectives.of("helpful", "harmless")


def matrix(rows, objectives=BOTH):
    return RewardMatrix(objectives, np.array(rows, dtype=np.float64))


def test_statistics_by_hand():
    # helpful 1 2 3: mean 2, variance 2/3. harmless 0 4, one not scored: mean 2, std 2.
    fitted = Normalizer.fit(matrix([[1, 0], [2, np.nan], [3, 4]]))
    assert fitted.mean == (2.0, 2.0)
    assert fitted.std == pytest.approx((math.sqrt(2 / 3), 2.0))
    assert fitted.low == (1.0, 0.0)
    assert fitted.high == (3.0, 4.0)
    assert fitted.n == 2


def test_z_scores_by_hand():
    z = Normalizer((2.0, 2.0), (0.5, 2.0), (1.0, 0.0), (3.0, 4.0), 3).standardize(
        np.array([[3.0, 1.0], [2.0, np.nan]])
    )
    np.testing.assert_array_equal(z, [[2.0, -0.5], [0.0, np.nan]])


def test_training_rewards_have_mean_0_and_std_1():
    rewards = np.random.default_rng(0).normal(3, 5, size=(1000, 2))
    z = Normalizer.fit(matrix(rewards)).standardize(rewards)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-12)


def test_a_constant_objective_maps_to_zero():
    fitted = Normalizer.fit(matrix([[1, 7], [2, 7]]))
    assert fitted.std[1] == 1.0
    assert fitted.standardize(np.array([1.0, 7.0]))[1] == 0.0


def test_an_objective_without_any_score_is_an_error():
    with pytest.raises(NotScoredError, match="harmless"):
        Normalizer.fit(matrix([[1, np.nan]]))


def test_json_round_trip_is_exact_and_by_name():
    rewards = np.random.default_rng(1).normal(size=(9, 2))
    fitted = Normalizer.fit(matrix(rewards))
    data = json.loads(json.dumps(fitted.to_json(BOTH)))
    assert Normalizer.from_json(data, BOTH) == fitted
    swapped = Normalizer.from_json(data, Objectives.of("harmless", "helpful"))
    assert swapped.mean == fitted.mean[::-1]


def test_published_statistics_of_one_task_disagree_by_far():
    # Two public sets of statistics for the same rewards: raw 0 is +0.01 or -0.74.
    published = Normalizer((-0.01500361,), (1.40736504,), (0.0,), (0.0,), 1)
    rebuilt = Normalizer((1.292,), (1.745,), (0.0,), (0.0,), 1)
    zero = np.zeros(1)
    assert published.standardize(zero)[0] == pytest.approx(0.0107, abs=1e-4)
    assert rebuilt.standardize(zero)[0] == pytest.approx(-0.7404, abs=1e-4)
    only = Objectives.of("helpful")
    with pytest.raises(InputError, match=r"normalizer of helpful: .* mean 1\.292 .* expected mean"):
        frozen_normalizer(published, rebuilt, only)
    assert frozen_normalizer(published, rebuilt, only, is_forced=True) is published


@pytest.mark.parametrize(("shift", "scale"), [(1e-3, 1.0), (0.0, 1.001)])
def test_a_small_difference_in_either_statistic_is_refused(shift, scale):
    rewards = np.random.default_rng(2).normal(size=(50, 2))
    saved = Normalizer.fit(matrix(rewards))
    rewards[:, 1] = (rewards[:, 1] - saved.mean[1]) * scale + saved.mean[1] + shift
    with pytest.raises(InputError, match="normalizer of harmless"):
        frozen_normalizer(saved, Normalizer.fit(matrix(rewards)), BOTH)


def test_the_same_data_agrees_in_any_order():
    rewards = np.random.default_rng(3).normal(1e6, 1, size=(1000, 2))
    saved, again = Normalizer.fit(matrix(rewards)), Normalizer.fit(matrix(rewards[::-1]))
    assert frozen_normalizer(saved, again, BOTH) is saved
