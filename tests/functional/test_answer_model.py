from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.user import Utility
from paretune.errors import InputError, ShapeError
from paretune.functional.answer_model import answer_log_chances, utilities
from paretune.functional.scalarize import chebyshev, linear

GAPS = st.floats(-1, 1)
NOISES = st.floats(0.01, 10)


class TestUtilities:
    @pytest.mark.parametrize("kind", ["linear", "chebyshev"])
    @pytest.mark.parametrize("n_objectives", [2, 3, 5])
    def test_agrees_with_scalarize(self, kind: Utility, n_objectives: int) -> None:
        rng = np.random.default_rng(0)
        rewards = rng.random((7, n_objectives))
        weights = rng.dirichlet([1] * n_objectives, 4)
        rule = linear if kind == "linear" else chebyshev
        expected = [rule(rewards, tuple(w)) for w in weights]
        np.testing.assert_allclose(utilities(rewards, weights, kind), expected, atol=1e-12)

    def test_objectives_differ(self) -> None:
        with pytest.raises(ShapeError, match=r"\(1, 2\).*\(1, 3\)"):
            utilities([[0, 1]], [[0.2, 0.3, 0.5]], "linear")


class TestAnswers:
    def test_by_hand(self) -> None:
        # Gap 0.2 at temperature 0.1: worths e^2 and 1, their mean e^1 times 0.5.
        total = np.e**2 + 1 + 0.5 * np.e
        expected = [np.e**2 / total, 1 / total, 0.5 * np.e / total]
        np.testing.assert_allclose(np.exp(answer_log_chances(0.2, 0.1, 0.5)), expected)

    def test_without_ties_it_is_bradley_terry(self) -> None:
        chances = np.exp(answer_log_chances([0.3, -0.3], 0.1, 0.0))
        likely = 1 / (1 + np.exp(-3))
        np.testing.assert_allclose(chances, [[likely, 1 - likely, 0], [1 - likely, likely, 0]])

    def test_a_large_gap_does_not_overflow(self) -> None:
        np.testing.assert_array_equal(np.exp(answer_log_chances(1.0, 1e-6, 1.0)), [1, 0, 0])

    @given(gap=GAPS, temperature=NOISES, same=st.floats(0.01, 10))
    def test_mirror_and_odds(self, gap: float, temperature: float, same: float) -> None:
        one = answer_log_chances(gap, temperature, same)
        other = answer_log_chances(-gap, temperature, same)
        np.testing.assert_allclose(one, other[[1, 0, 2]], atol=1e-12)
        assert np.exp(one).sum() == pytest.approx(1)
        # Whoever chooses chooses as Bradley and Terry say, however often "same" is said.
        assert one[0] - one[1] == pytest.approx(gap / temperature)

    def test_out_of_range(self) -> None:
        with pytest.raises(InputError, match="temperatures from 0"):
            answer_log_chances(0.1, 0.0, 0.5)
        with pytest.raises(InputError, match="same from -1"):
            answer_log_chances(0.1, 0.1, -1.0)
