from __future__ import annotations

import numpy as np
import pytest

from paretune.bench.fronts import known_front, single_replies, unit_values
from paretune.core.tradeoff import TradeOff


def test_mixtures_reach_over_a_dent_and_single_replies_do_not() -> None:
    values = np.array([[[1.0, 0.0], [0.4, 0.3], [0.0, 1.0], [0.1, 0.1]]])
    front = known_front(values, [TradeOff.even(2)])
    assert front.hull == ((0.0, 1.0), (1.0, 0.0))
    assert front.replies == ((0.0, 1.0), (0.4, 0.3), (1.0, 0.0))
    # Best smallest value of a reply; at even weights the Chebyshev utility is the same.
    assert front.utility_min == pytest.approx(0.3)
    assert front.utility_chebyshev == pytest.approx(0.3)
    assert [best for _, best in front.best_chebyshev] == pytest.approx([0.3])
    assert front.hypervolume == pytest.approx(0.5)
    # One policy on the line x + y = 1 covers a quarter at best.
    assert front.ceilings[1] == pytest.approx(0.25, abs=1e-5)


def test_contexts_add_up() -> None:
    values = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.0, 0.0]]])
    assert known_front(values).hull == ((0.25, 0.75), (0.75, 0.25))


def test_a_front_of_one_point_has_no_area() -> None:
    front = known_front(np.array([[[1.0, 1.0], [0.0, 0.5]]]))
    assert front.hull == ((1.0, 1.0),) and front.hypervolume == 0 and not front.ceilings


def test_three_objectives() -> None:
    front = known_front(np.eye(3)[None])
    assert sorted(front.hull) == sorted(map(tuple, np.eye(3).tolist()))
    assert front.hypervolume == pytest.approx(1 / 6) and front.ceilings == {}


def test_too_many_policies_are_not_enumerated() -> None:
    generator = np.random.default_rng(0)
    x = generator.random((12, 30))
    values = np.stack([x, 1 - x**2], axis=-1)
    assert single_replies(values) is None
    front = known_front(values)
    assert front.replies == front.hull and len(front.hull) > 100


def test_units_are_those_of_single_replies() -> None:
    cells = np.array([[[0.0, 5.0], [4.0, 5.0]]])
    # An objective that never changes has no scale.
    np.testing.assert_allclose(unit_values(np.array([3.0, 5.0]), cells), [0.75, 0.0])
