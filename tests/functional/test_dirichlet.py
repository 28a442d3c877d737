from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.errors import ConfigError
from paretune.functional.dirichlet import dirichlet_draws, dirichlet_nodes

KEYS = np.arange(20_000, dtype=np.uint64)


def moment(powers: tuple[int, ...], concentration: float) -> float:
    """Of the Dirichlet distribution: a ratio of gamma functions."""
    total, n = len(powers) * concentration, sum(powers)
    parts = [math.lgamma(concentration + p) - math.lgamma(concentration) for p in powers]
    return math.exp(sum(parts) - math.lgamma(total + n) + math.lgamma(total))


class TestDraws:
    @pytest.mark.parametrize("concentration", [0.3, 1.0, 4.0])
    @pytest.mark.parametrize("powers", [(1, 0, 0), (2, 0, 0), (0, 1, 1), (0, 0, 3)])
    def test_moments(self, powers: tuple[int, ...], concentration: float) -> None:
        draws = dirichlet_draws(KEYS, 3, concentration)
        found = (draws ** np.array(powers)).prod(axis=1).mean()
        assert found == pytest.approx(moment(powers, concentration), abs=0.008)

    def test_rows_lie_on_the_simplex_even_at_the_corners(self) -> None:
        draws = dirichlet_draws(KEYS, 4, 1e-4)
        assert np.isfinite(draws).all() and (draws >= 0).all()
        np.testing.assert_allclose(draws.sum(axis=1), 1)
        assert (draws.max(axis=1) > 0.999).mean() > 0.99

    def test_a_draw_is_a_function_of_its_key(self) -> None:
        np.testing.assert_array_equal(
            dirichlet_draws(KEYS[:5], 3, 0.5)[::-1], dirichlet_draws(KEYS[:5][::-1], 3, 0.5)
        )

    def test_one_objective_has_one_tradeoff(self) -> None:
        assert (dirichlet_draws(KEYS[:3], 1) == 1).all()


class TestNodes:
    @pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 3.0])
    @pytest.mark.parametrize("powers", [(5,), (1, 4), (2, 3, 0), (1, 1, 3), (0, 2, 1, 2)])
    def test_polynomials_are_exact(self, powers: tuple[int, ...], concentration: float) -> None:
        nodes, weights = dirichlet_nodes(len(powers), concentration, order=3)
        found = weights @ (nodes ** np.array(powers)).prod(axis=1)
        assert found == pytest.approx(moment(powers, concentration), rel=1e-9)

    def test_two_nodes_by_hand(self) -> None:
        # Gauss and Legendre on [0, 1].
        nodes, weights = dirichlet_nodes(2, 1.0, order=2)
        low = 0.5 - 0.5 / math.sqrt(3)
        np.testing.assert_allclose(np.sort(nodes[:, 0]), [low, 1 - low])
        np.testing.assert_allclose(weights, [0.5, 0.5])

    def test_nodes_lie_inside_the_simplex(self) -> None:
        nodes, weights = dirichlet_nodes(4, 0.5, order=4)
        assert nodes.shape == (64, 4) and (nodes > 0).all() and (weights > 0).all()
        np.testing.assert_allclose(nodes.sum(axis=1), 1)
        assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("n_objectives", "concentration"), [(0, 1.0), (2, 0.0), (2, -1.0), (2, math.inf), (2, math.nan)]
)
def test_bad_numbers(n_objectives: int, concentration: float) -> None:
    for call in (
        lambda: dirichlet_draws(KEYS, n_objectives, concentration),
        lambda: dirichlet_nodes(n_objectives, concentration),
    ):
        with pytest.raises(ConfigError, match="dirichlet: found"):
            call()
    with pytest.raises(ConfigError, match="found order 0"):
        dirichlet_nodes(2, order=0)
