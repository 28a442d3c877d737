"""Indicators against areas worked out by hand and closed forms."""

import numpy as np
import pytest

from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.indicators import (
    attainable_hypervolume,
    ceiling,
    ceilings,
    expected_utility,
    hypervolume,
    igd_plus,
    largest_angle_gap,
    shortfall_angles,
    to_unit,
)

# Fronts of expected rewards of the embedded world, vertices to three digits.
BREVITY = [(0.349, 1), (0.567, 0.818), (0.753, 0.636), (0.921, 0.455), (1, 0.045)]
CAUTION = [(0, 1), (0.97, 0.12), (1, 0)]


def test_hypervolume_by_hand():
    # Staircase: .25 wide at height 1, then .25 more at .75, then .5 more at .25.
    points = [[0.25, 1.0], [0.5, 0.75], [1.0, 0.25]]
    assert hypervolume(points) == pytest.approx(0.25 * 1 + 0.25 * 0.75 + 0.5 * 0.25)
    # Three objectives: two boxes of .5 that share .25.
    assert hypervolume([[1, 1, 0.5], [0.5, 1, 1]]) == pytest.approx(0.5 + 0.5 - 0.25)
    assert hypervolume([[0.3], [0.7]]) == 0.7


def test_hypervolume_is_measured_in_the_box():
    assert hypervolume([[3.0, 30.0]], low=[1.0, 10.0], high=[5.0, 50.0]) == pytest.approx(0.25)


def test_points_below_the_reference_add_nothing():
    assert hypervolume([[-1.0, 0.9]]) == 0
    assert hypervolume([[-1.0]]) == 0
    assert hypervolume([[0.5, 0.5], [-1.0, 2.0], [0.0, 1.0]]) == 0.25


def test_points_above_the_box_are_clipped_only_on_request():
    assert hypervolume([[1.5, 0.5]]) == 0.5
    assert hypervolume([[1.5, 0.5]], clip_above=False) == 0.75


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_hypervolume_ignores_order_and_dominated_points(n_objectives):
    rng = np.random.default_rng(n_objectives)
    points = rng.random((12, n_objectives))
    expected = hypervolume(points)
    shuffled = points[rng.permutation(12)][:, rng.permutation(n_objectives)]
    assert hypervolume(shuffled) == pytest.approx(expected)
    assert hypervolume(np.concatenate([points, points * 0.9])) == pytest.approx(expected)


def test_a9_quarter_circle():
    angle = np.linspace(0, np.pi / 2, 200_000)
    assert hypervolume(np.stack([np.cos(angle), np.sin(angle)], 1)) == pytest.approx(
        np.pi / 4, abs=1e-4
    )


def test_a9_octant_of_a_sphere():
    points = np.abs(np.random.default_rng(0).normal(size=(100_000, 3)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    # A random staircase lies below the sphere by about N ** -1/2.
    assert np.pi / 6 - 0.004 < hypervolume(points) < np.pi / 6


def test_igd_plus_by_hand():
    front = [[1.0, 0.0], [0.0, 1.0]]
    # From (1, 0) the point falls .5 short; from (0, 1) it falls .25 short; excess is free.
    assert igd_plus([[0.5, 0.75]], front) == pytest.approx((0.5 + 0.25) / 2)
    assert igd_plus([[1.0, 1.0]], front) == 0
    assert igd_plus([[0.0, 0.0]], [[3.0, 4.0]]) == pytest.approx(5)
    assert igd_plus([[0.5]], [[1.0], [0.0]]) == 0.25


def test_igd_plus_uses_the_box():
    assert igd_plus([[0.0, 0.0]], [[2.0, 0.0]], low=0, high=4) == pytest.approx(0.5)


def test_shortfall_angles_by_hand():
    points = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [1.0, 1.0]]
    angles = shortfall_angles(points)
    assert angles[:3].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert np.isnan(angles[3])


def test_angle_gap_by_hand():
    assert largest_angle_gap([[0.5, 0.5]]) == pytest.approx(0.5)
    assert largest_angle_gap([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]) == pytest.approx(0.5)
    assert largest_angle_gap([[1.0, 1.0], [0.0, 1.0]]) == 0
    assert largest_angle_gap([[0.0, 1.0]]) == largest_angle_gap([[1.0, 0.0]]) == 1


def test_a_dominated_point_closes_no_gap():
    ends = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]]
    assert largest_angle_gap([*ends, [0.3, 0.59]]) == pytest.approx(largest_angle_gap(ends))


def test_expected_utility_by_hand():
    points, users = [[1.0, 0.0], [0.0, 0.5]], [[1, 0], [0.2, 0.8], [0, 1]]
    assert expected_utility(points, users) == pytest.approx((1.0 + 0.4 + 0.5) / 3)


def test_attainable_hypervolume_of_simplices():
    # Below the plane through the unit corners lies 1/M! of the cube.
    for n_objectives, volume in ((2, 1 / 2), (3, 1 / 6), (4, 1 / 24)):
        assert attainable_hypervolume(np.eye(n_objectives)) == pytest.approx(volume)
    assert attainable_hypervolume([[0.5, 0.5]]) == pytest.approx(0.25)
    assert attainable_hypervolume([[0.5, 0.0], [0.3, -1.0]]) == 0
    assert attainable_hypervolume([[0.4], [0.6]]) == 0.6


def test_attainable_hypervolume_of_the_embedded_world():
    assert attainable_hypervolume(BREVITY) == pytest.approx(0.7937, abs=2e-4)
    assert attainable_hypervolume(CAUTION) == pytest.approx(0.5450, abs=2e-4)


def test_ceilings_of_a_straight_front_in_closed_form():
    # On y = 1 - x the best K points are at j / (K + 1), with area K / (2 (K + 1)).
    expected = [k / (2 * (k + 1)) for k in range(1, 9)]
    assert ceilings([[1, 0], [0, 1]], 8).tolist() == pytest.approx(expected, abs=1e-6)


def test_ceilings_of_the_embedded_world():
    assert ceilings(BREVITY, 21)[[1, 4, 10, 20]].tolist() == pytest.approx(
        [0.628, 0.735, 0.768, 0.780], abs=1e-3
    )
    assert ceilings(CAUTION, 21)[[1, 4, 10, 20]].tolist() == pytest.approx(
        [0.367, 0.459, 0.504, 0.523], abs=1e-3
    )


def test_a_ceiling_is_a_bound_and_grows_to_the_attainable():
    reached = ceilings(BREVITY, 60)
    assert (np.diff(reached) > 0).all()
    assert reached[-1] < attainable_hypervolume(BREVITY) < reached[-1] + 0.01
    assert ceiling(BREVITY, 5) == reached[4]
    spread = [(x, np.interp(x, *zip(*BREVITY, strict=True))) for x in np.linspace(0.349, 1, 5)]
    assert hypervolume(spread) < ceiling(BREVITY, 5)


def test_ceilings_of_a_single_reply():
    assert ceilings([[0.5, 0.4], [0.2, 0.1]], 3).tolist() == pytest.approx([0.2, 0.2, 0.2])


def test_inputs_are_not_changed():
    points = np.array([[0.2, 1.4], [0.8, -0.1]])
    before = points.copy()
    hypervolume(points)
    attainable_hypervolume(points)
    igd_plus(points, points)
    ceilings(points, 2)
    assert (points == before).all()


@pytest.mark.parametrize("indicator", [hypervolume, largest_angle_gap, attainable_hypervolume])
def test_nothing_and_unscored_points_are_errors(indicator):
    with pytest.raises(ShapeError, match="at least one point"):
        indicator(np.empty((0, 2)))
    with pytest.raises(NotScoredError, match="row 0, objective 1"):
        indicator([[0.5, np.nan]])


def test_bad_boxes_and_shapes_are_errors():
    with pytest.raises(InputError, match="low < high"):
        hypervolume([[0.5, 0.5]], low=0, high=[1, 0])
    with pytest.raises(ShapeError, match="expected 2 numbers each"):
        to_unit([[0.5, 0.5]], low=[0, 0, 0], high=1)
    with pytest.raises(ShapeError, match="expected 2"):
        ceilings([[1, 1, 1]], 2)
    with pytest.raises(ShapeError, match="expected 2"):
        shortfall_angles([[1, 1, 1]])
    with pytest.raises(InputError, match="0 policies"):
        ceilings(BREVITY, 0)
    with pytest.raises(ShapeError, match="the front has 3"):
        igd_plus([[1, 1]], [[1, 1, 1]])
    with pytest.raises(ShapeError, match="3 weights"):
        expected_utility([[1, 1]], [[1, 0, 0]])
