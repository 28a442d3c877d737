from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.errors import InputError, ShapeError
from paretune.functional.calibration import bradley_terry_slope, bradley_terry_slopes
from paretune.functional.draws import hash_keys
from paretune.functional.pairing import label_from_rewards

NAN = float("nan")


def slope(differences: list[float], labels: list[float], counts: list[float] | None = None):
    columns = [np.array(differences, float), np.array(labels, float)]
    return bradley_terry_slope(*columns, None if counts is None else np.array(counts, float))


@pytest.mark.parametrize("unit", [1e-6, 0.5, 3.0, 1e6])
def test_one_size_of_difference_by_hand(unit: float) -> None:
    # Three of four agree: sigmoid(s * unit) = 3/4.
    found = slope([unit] * 4, [1, 1, 1, -1])
    assert found == pytest.approx(math.log(3) / unit, rel=1e-12)


def test_two_sizes_by_hand() -> None:
    """Chances sigmoid(2 x) at x = 1 and x = 2, exactly: the slope is 2."""
    chances = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-4))]
    labels = [2 * t - 1 for t in chances]
    assert slope([1, 2], labels) == pytest.approx(2, rel=1e-12)
    # The same chances as labels of +-1 that count so often.
    counts = [chances[0], 1 - chances[0], chances[1], 1 - chances[1]]
    assert slope([1, 1, 2, 2], [1, -1, 1, -1], counts) == pytest.approx(2, rel=1e-12)


def test_the_better_first_or_second_is_the_same() -> None:
    assert slope([1, -1, -1, 1], [1, -1, -1, -1]) == slope([1, 1, 1, 1], [1, 1, 1, -1])


def test_ties_say_that_both_are_as_likely() -> None:
    # Two agree, two tie: the mean chance is 3/4.
    assert slope([1] * 4, [1, 1, 0, 0]) == pytest.approx(math.log(3))


def test_what_says_nothing_is_left_out() -> None:
    known = slope([1] * 4, [1, 1, 1, -1])
    assert slope([1, 1, 1, 1, NAN, 5, 0], [1, 1, 1, -1, -1, NAN, -1]) == known
    counts = [1, 1, 1, 1, 9, 9, 9]
    assert slope([1, 1, 1, 1, NAN, 5, 0], [1, 1, 1, -1, -1, NAN, -1], counts) == known


def test_separable_labels_are_bounded_by_hand() -> None:
    # Eight of eight agree at one size: one contradiction in ten, sigmoid(-s) = 1/10.
    assert slope([1] * 8, [1] * 8) == pytest.approx(math.log(9))
    assert slope([0.01] * 8, [1] * 8) == pytest.approx(100 * math.log(9))
    assert slope([1], [1]) == pytest.approx(math.log(2))


def test_more_separable_labels_allow_more() -> None:
    found = [slope([1] * n, [1] * n) for n in (1, 10, 100, 10_000)]
    assert found == sorted(found) and found[-1] < 10


def test_labels_that_are_nearly_separable_are_bounded_too() -> None:
    # A contradiction at a tiny difference allows any slope otherwise.
    differences = [1.0] * 98 + [1e-9]
    assert slope(differences, [1] * 98 + [-1]) < 6


def test_the_slope_behind_drawn_labels_is_found() -> None:
    rng = np.random.default_rng(0)
    differences = rng.uniform(-0.6, 0.6, (20_000, 2)) * (1, 30)
    keys = hash_keys(0, 1, np.arange(len(differences)))
    labels = label_from_rewards(differences * (10, 1 / 3), 1.0, keys)
    found = bradley_terry_slopes(differences, labels)
    # Measured 9.98 and .336; the standard error is 1.5 %.
    assert found == pytest.approx([10, 1 / 3], rel=0.04)


def test_rescaled_rewards_give_the_same_margins() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(size=200)
    labels = np.where(rng.random(200) < 1 / (1 + np.exp(-3 * differences)), 1.0, -1.0)
    one = differences * bradley_terry_slope(differences, labels)
    other = 7 * differences * bradley_terry_slope(7 * differences, labels)
    np.testing.assert_allclose(other, one, rtol=1e-12)


@pytest.mark.parametrize(
    ("differences", "labels", "message"),
    [
        ([1, 1, 1], [-1, -1, 1], "agree with the rewards in 33% of 3 comparisons and do not"),
        ([1, 1], [1, -1], "is a smaller one better"),
        ([1, 2], [0, 0], "expected them to"),
        ([0, 0], [1, -1], "no labelled one of 2 comparisons with different rewards"),
        ([1, NAN], [NAN, 1], "expected some to calibrate by"),
        ([], [], "no labelled one of 0 comparisons"),
    ],
)
def test_refuses(differences, labels, message) -> None:
    with pytest.raises(InputError, match=message):
        slope(differences, labels)


def test_says_which_objective() -> None:
    columns = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    labels = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    with pytest.raises(InputError, match="calibration: harmless: found labels that agree"):
        bradley_terry_slopes(columns, labels, names=("helpful", "harmless"))
    with pytest.raises(InputError, match="calibration: objective 1: found"):
        bradley_terry_slopes(columns, labels)
    with pytest.raises(ShapeError, match=r"\(3, 2\) and labels \(3, 1\)"):
        bradley_terry_slopes(columns, labels[:, :1])


def test_inputs_are_not_changed() -> None:
    differences, labels = np.array([[1.0], [-2.0], [3.0]]), np.array([[1.0], [-1.0], [0.0]])
    before = differences.copy(), labels.copy()
    bradley_terry_slopes(differences, labels)
    np.testing.assert_array_equal(differences, before[0])
    np.testing.assert_array_equal(labels, before[1])
