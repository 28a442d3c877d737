"""Controllability and the points of a known front."""

import numpy as np

from paretune.evaluation.front_shape import controllability, front_targets

LINE = np.array([[w, 1 - w] for w in np.linspace(0, 1, 5)])


def test_a_monotone_method_steers_perfectly() -> None:
    assert controllability(LINE, LINE**3) == (1.0, 1.0)
    assert controllability(LINE, -LINE) == (-1.0, -1.0)


def test_no_variation_and_too_few_tradeoffs_are_not_a_number() -> None:
    assert controllability(LINE, np.column_stack([LINE[:, 0], np.full(5, 0.3)])) == (1.0, None)
    assert controllability(np.full((4, 2), 0.5), LINE[:4]) == (None, None)
    assert controllability(LINE[:2], LINE[:2]) == (None, None)


def test_permuting_objectives_permutes_the_answer() -> None:
    rng = np.random.default_rng(0)
    weights, means = rng.dirichlet(np.ones(3), size=9), rng.normal(size=(9, 3))
    order = [2, 0, 1]
    found = controllability(weights, means)
    assert controllability(weights[:, order], means[:, order]) == tuple(found[i] for i in order)


def test_targets_are_spread_by_length_not_by_vertex() -> None:
    """Two edges of length 1 and 3: a quarter of the steps falls on the short one."""
    hull = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    targets = front_targets(hull, n=5)
    np.testing.assert_allclose(targets, [[0, 1], [0, 0], [1, 0], [2, 0], [3, 0]], atol=1e-12)


def test_targets_of_three_objectives_are_the_vertices() -> None:
    hull = np.eye(3)
    np.testing.assert_array_equal(front_targets(hull), hull)
