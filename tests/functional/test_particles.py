from __future__ import annotations

import numpy as np
import pytest

from paretune.errors import InputError
from paretune.functional.particles import Prior, particles


@pytest.mark.parametrize("n_objectives", [2, 3, 4, 5, 8])
def test_weights_are_an_even_cover_of_the_simplex(n_objectives: int) -> None:
    weights = particles(n_objectives).weights
    assert 100 <= len(weights) <= 350
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.mean(axis=0), 1 / n_objectives)
    rolled = {tuple(row) for row in np.roll(weights, 1, axis=1).round(9)}
    assert rolled == {tuple(row) for row in weights.round(9)}


@pytest.mark.parametrize("n_objectives", [2, 3, 4, 5])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_moments_are_those_of_the_uniform_prior(n_objectives: int, steps: int) -> None:
    weights = particles(n_objectives, Prior(steps=steps)).weights
    # Dirichlet(1): E[w_i^2] = 2 / (M (M + 1)), E[w_i w_j] = 1 / (M (M + 1)).
    ones = np.eye(n_objectives) + 1
    expected = ones / (n_objectives * (n_objectives + 1))
    np.testing.assert_allclose(weights.T @ weights / len(weights), expected)


def test_order_is_utility_then_weights_then_noise() -> None:
    prior = Prior(temperatures=(0.1, 0.4), same=(0.0, 1.0), steps=2)
    known = particles(2, prior)
    logs = known.answer_log_chances([[0.0, 1.0]], [[1.0, 0.0]]).reshape(2, 3, 4, 3)
    # Weights 1/2 -+ 1/sqrt(8): the linear gap is their difference; Chebyshev shortfalls are 1 and
    # their ratio.
    low, high = 0.5 - 8**-0.5, 0.5 + 8**-0.5
    for kind, gap in enumerate((high - low, 1 - low / high)):
        odds = logs[kind, 0, :, 0] - logs[kind, 0, :, 1]
        np.testing.assert_allclose(odds, gap / np.array([0.1, 0.1, 0.4, 0.4]))
    assert list(np.isneginf(logs[0, 0, :, 2])) == [True, False, True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"utilities": ()},
        {"utilities": ("cubic",)},
        {"temperatures": (0.0,)},
        {"temperatures": (float("nan"),)},
        {"same": (-1.0,)},
        {"steps": -1},
    ],
)
def test_prior_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="prior: found"):
        Prior(**wrong)  # type: ignore[arg-type]


def test_one_objective_has_no_trade_off() -> None:
    with pytest.raises(InputError, match="found 1 objectives"):
        particles(1)
