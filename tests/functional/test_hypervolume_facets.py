"""Exclusive volumes and facets: by hand, against the definition and by differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretune.errors import NotScoredError, ShapeError
from paretune.functional.hypervolume_facets import (
    contributions_and_facets,
    hypervolume_contributions,
)
from paretune.functional.indicators import exclusive_volumes, hypervolume, non_dominated, volumes


def cloud(n, n_objectives, seed=0):
    """Points on a sphere, all on the front, and some below it."""
    points = np.abs(np.random.default_rng(seed).normal(size=(n, n_objectives)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[::4] *= 0.7
    return points


def volume(points, reference):
    """Union of boxes by inclusion and exclusion over a grid of all coordinates."""
    edges = [np.unique(np.append(points[:, d], reference[d])) for d in range(points.shape[1])]
    cells = np.meshgrid(*edges, indexing="ij")
    covered = np.zeros([len(e) - 1 for e in edges], dtype=bool)
    top = [c[tuple(slice(1, None) for _ in edges)] for c in cells]
    size = np.prod(np.meshgrid(*(np.diff(e) for e in edges), indexing="ij"), axis=0)
    above = np.all(
        [c[tuple(slice(0, -1) for _ in edges)] >= r for c, r in zip(cells, reference, strict=True)],
        axis=0,
    )
    for p in points:
        covered |= np.all([t <= x for t, x in zip(top, p, strict=True)], axis=0)
    return float(size[covered & above].sum())


def test_a_staircase_by_hand():
    #  (1, 3) (2, 2) (3, 1) above (0, 0): each owns one unit square; the ends reach to the axes.
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    contributions, facets = contributions_and_facets(points, np.zeros(2))
    assert contributions.tolist() == [1, 1, 1]
    assert facets.tolist() == [[1, 1], [1, 1], [1, 1]]
    contributions, facets = contributions_and_facets(points, np.array([-1.0, 0.0]))
    assert contributions.tolist() == [2, 1, 1]
    assert facets.tolist() == [[1, 2], [1, 1], [1, 1]]


def test_two_boxes_by_hand():
    # (2, 1, 1) owns (1, 2] x 1 x 1, so one unit of x, and one of y or z only beyond x = 1.
    contributions, facets = contributions_and_facets(
        np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 2.0]]), np.zeros(3)
    )
    assert contributions.tolist() == [1, 3]
    assert facets.tolist() == [[1, 1, 1], [3, 2, 2]]


@pytest.mark.parametrize("n_objectives", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("n", [1, 2, 7, 16])
def test_contributions_are_what_removal_takes(n, n_objectives):
    points, reference = cloud(n, n_objectives), np.full(n_objectives, -0.5)
    contributions, facets = contributions_and_facets(points, reference)
    front = np.flatnonzero(contributions > 0)
    theirs = exclusive_volumes(points, reference)
    assert np.abs(contributions - theirs).max() < 1e-12
    whole = volumes([points[front]], reference)[0]
    for b in front:
        rest = np.setdiff1d(front, b)
        left = volumes([points[rest]], reference)[0] if len(rest) else 0.0
        assert contributions[b] == pytest.approx(whole - left, abs=1e-12)
    assert (facets >= 0).all()
    assert (facets[front] > 0).all()


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_volumes_are_those_of_a_grid(n_objectives):
    points, reference = cloud(6, n_objectives, seed=3), np.linspace(-0.4, 0.1, n_objectives)
    assert volumes([points], reference)[0] == pytest.approx(volume(points, reference), abs=1e-12)
    outside = np.concatenate([points, np.full((1, n_objectives), -9.0)])
    assert volumes([outside], reference)[0] == pytest.approx(volumes([points], reference)[0])
    unit = hypervolume(points, reference, reference + 1, clip_above=False)
    assert volumes([points], reference)[0] == pytest.approx(unit)


@pytest.mark.parametrize("n_objectives", [2, 3, 4, 6])
@pytest.mark.parametrize("n", [1, 5, 16])
def test_facets_are_differences(n, n_objectives):
    points, reference = cloud(n, n_objectives, seed=1), np.full(n_objectives, -0.5)
    _, facets = contributions_and_facets(points, reference)
    h = 1e-6
    for b, d in np.ndindex(*points.shape):
        up, down = points.copy(), points.copy()
        up[b, d] += h
        down[b, d] -= h
        ends = volumes([up, down], reference)
        assert facets[b, d] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=8
    )
)
def test_facets_where_points_tie(rows):
    """On whole numbers points tie all the time: the derivative for a decreasing coordinate."""
    points, reference = np.array(rows, dtype=float), np.zeros(3)
    points = points[non_dominated(points)]
    contributions, facets = contributions_and_facets(points, reference)
    h = 1e-3
    for b, d in np.argwhere(np.broadcast_to(contributions[:, None] > 0, points.shape)):
        down = points.copy()
        down[b, d] -= h
        drop = volumes([points], reference)[0] - volumes([down], reference)[0]
        assert facets[b, d] == pytest.approx(drop / h, abs=1e-9)
    assert not facets[contributions == 0].any()


@pytest.mark.parametrize("n_objectives", [1, 2, 4, 6])
def test_copies_add_nothing(n_objectives):
    points = np.full((5, n_objectives), 0.5)
    contributions, facets = contributions_and_facets(points, np.zeros(n_objectives))
    assert not contributions.any()
    assert not facets.any()


@pytest.mark.parametrize("n_objectives", [3, 6])
def test_a_copy_takes_the_place_of_its_original(n_objectives):
    points, reference = cloud(6, n_objectives, seed=2), np.full(n_objectives, -0.5)
    alone = contributions_and_facets(points, reference)
    twice = contributions_and_facets(np.concatenate([points, points[1:2]]), reference)
    for one, two in zip(alone, twice, strict=True):
        assert not two[[1, 6]].any()
        others = [0, 2, 3, 4, 5]
        np.testing.assert_allclose(two[others], one[others], atol=1e-14)
    assert alone[0][1] > 0


def test_one_objective():
    contributions, facets = contributions_and_facets(np.array([[1.0], [3.0]]), np.array([0.5]))
    assert contributions.tolist() == [0, 2.5]
    assert facets.tolist() == [[0], [1]]


def test_points_below_the_reference_add_nothing():
    points = np.array([[2.0, -1.0], [1.0, 1.0]])
    contributions, facets = contributions_and_facets(points, np.zeros(2))
    assert contributions.tolist() == [0, 1]
    assert facets.tolist() == [[0, 0], [1, 1]]
    assert not contributions_and_facets(points - 9, np.zeros(2))[0].any()


def test_a_large_front_keeps_its_largest():
    points = np.array([[1.0, 3.0], [2.0, 2.5], [3.0, 1.0], [0.5, 0.5]])
    contributions, _ = contributions_and_facets(points, np.zeros(2), max_front=2)
    # Sums 4, 4.5, 4: the middle, and of the equal ends the first.
    assert contributions.tolist() == [0.5, 2.5, 0, 0]


@pytest.mark.parametrize("n_objectives", [2, 3, 5])
def test_order_and_units_do_not_matter(n_objectives):
    points, reference = cloud(9, n_objectives, seed=4), np.full(n_objectives, -0.3)
    contributions, facets = contributions_and_facets(points, reference)
    rows, columns = np.random.default_rng(0).permutation(9), np.arange(n_objectives)[::-1]
    scale = np.linspace(1, 2, n_objectives)
    moved = contributions_and_facets(
        (points * scale)[rows][:, columns], (reference * scale)[columns]
    )
    np.testing.assert_allclose(moved[0], contributions[rows] * scale.prod(), atol=1e-13)
    expected = (facets * scale.prod() / scale)[rows][:, columns]
    np.testing.assert_allclose(moved[1], expected, atol=1e-13)


def test_the_gradient_of_a_tensor_is_its_facets():
    points = torch.from_numpy(cloud(8, 3)).requires_grad_()
    reference = torch.full((3,), -0.5)
    found = hypervolume_contributions(points, reference)
    factors = torch.arange(1.0, 9.0).double()
    (found * factors).sum().backward()
    contributions, facets = contributions_and_facets(points.detach().numpy(), np.full(3, -0.5))
    np.testing.assert_allclose(found.detach().numpy(), contributions)
    np.testing.assert_allclose(points.grad.numpy(), factors.numpy()[:, None] * facets)
    assert hypervolume_contributions(points.float(), reference).dtype == torch.float32


def test_inputs_are_not_changed_and_must_be_points():
    points, reference = cloud(5, 3), np.full(3, -0.5)
    before = points.copy()
    contributions_and_facets(points, reference)
    assert (points == before).all()
    with pytest.raises(ShapeError, match="at least one point"):
        contributions_and_facets(np.empty((0, 2)), np.zeros(2))
    with pytest.raises(NotScoredError, match="row 1"):
        contributions_and_facets(np.array([[1, 1], [np.nan, 1]]), np.zeros(2))
