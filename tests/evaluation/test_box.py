"""The frozen unit box."""

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.errors import InputError, ShapeError
from paretune.evaluation.box import Box, frozen_box

AXES = Objectives.of("helpful", "concise")


def test_training_extremes_map_to_the_corners() -> None:
    rewards = RewardMatrix(AXES, np.array([[-1.0, 10.0], [3.0, 30.0], [1.0, 20.0]]))
    box = frozen_box(AXES, normalizer=Normalizer.fit(rewards))
    assert (box.low, box.high) == ((-1.0, 10.0), (3.0, 30.0))
    assert "3 training rewards" in box.origin
    np.testing.assert_allclose(box.unit(np.array([[0.0, 35.0]])), [[0.25, 1.25]])


def test_exactly_one_source_is_accepted() -> None:
    with pytest.raises(InputError, match="both or none"):
        frozen_box(AXES)
    with pytest.raises(InputError, match="both or none"):
        frozen_box(
            AXES, normalizer=Normalizer((0, 0), (1, 1), (0, 0), (1, 1), 2), bounds=([0, 0], [1, 1])
        )


@pytest.mark.parametrize("low, high", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_an_objective_without_a_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match="objective 1 ranges from"):
        Box((0.0, low), (1.0, high), "declared")


def test_the_number_of_bounds_must_fit() -> None:
    with pytest.raises(ShapeError, match="expected 2 objectives"):
        frozen_box(AXES, bounds=([0.0], [1.0]))
