"""Floors from a front: by hand, and the claim about them on random sets with ties."""

import numpy as np
import pytest

from paretune.errors import InfeasibleError, InputError, ShapeError
from paretune.functional.dominance import non_dominated
from paretune.functional.thresholds import constrained_row, floor_ranges, insertion_index


def test_insertion_index_by_hand():
    listed = [0.1, 0.3, 0.3, 0.8]
    values = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 0.9)
    # One less than the smallest j with v <= list[j], counted from 1.
    assert [insertion_index(listed, v) for v in values] == [0, 0, 1, 1, 3, 3, 4]
    with pytest.raises(InputError, match="ascend"):
        insertion_index([0.2, 0.1], 0.1)


def test_ranges_by_hand():
    front = np.array([[0.9, 0.1, 0.4], [0.5, 0.5, 0.4], [0.1, 0.9, 0.2]])
    low, high = floor_ranges(front, 1)
    assert low.tolist() == [0.1, 0.1, 0.2]
    assert high.tolist() == [0.5, 0.5, 0.4]
    low, _ = floor_ranges(front, 2)
    assert low.tolist() == [-np.inf, 0.5, -np.inf]
    with pytest.raises(ShapeError):
        floor_ranges(front, 3)


def test_choice_by_hand():
    points = np.array([[0.2, 0.9], [1.0, 0.3], [1.0, 0.6], [0.7, 0.7]])
    assert constrained_row(points, [0, 0.2], primary=0) == 2
    assert constrained_row(points, [9, 0.65], primary=0) == 3
    assert constrained_row(points, [0.5, 9], primary=1) == 3
    with pytest.raises(InfeasibleError, match="none of 4 points"):
        constrained_row(points, [0, 1], primary=0)
    with pytest.raises(ShapeError):
        constrained_row(points, [0, 0, 0], primary=0)


def random_set(generator):
    """Points of a coarse grid, so that values tie, and a row of their front."""
    n_points, n_objectives = generator.integers(3, 9), generator.integers(2, 5)
    points = generator.integers(0, 4, (n_points, n_objectives)) / 4
    return points, non_dominated(points)


def adversarial_choice(points, floors, is_front):
    """A constrained optimum, dominated if ties allow; ``None`` if nothing is feasible."""
    rows = np.flatnonzero((points[:, 1:] >= floors[1:]).all(axis=1))
    rows = rows[points[rows, 0] == points[rows, 0].max()]
    return rows[is_front[rows].argmin()]


@pytest.mark.parametrize("seed", [0, 1])
def test_proposition_on_random_sets_with_ties(seed):
    generator = np.random.default_rng(seed)
    failures = dict.fromkeys(("inside", "own value", "lexicographic", "not on front"), 0)
    for _ in range(2000):
        points, is_front = random_set(generator)
        front = points[is_front]
        low, high = floor_ranges(front, int(generator.integers(len(front))))
        low = np.maximum(low, -1)
        share = generator.uniform(0.05, 0.95, len(low))
        inside = low + share * (high - low)
        failures["inside"] += not is_front[adversarial_choice(points, inside, is_front)]
        failures["own value"] += not is_front[adversarial_choice(points, high, is_front)]
        anywhere = inside if generator.random() < 0.5 else generator.random(len(low)) * high
        failures["lexicographic"] += not is_front[constrained_row(points, anywhere, 0)]
        if not is_front.all():
            start = points[~is_front][0]
            failures["not on front"] += not is_front[adversarial_choice(points, start, is_front)]
    # The rule as it is stated fails; with the point's own value, or a tie-break, nothing does.
    assert failures["inside"] > 10
    assert failures["not on front"] > 100
    assert failures["own value"] == 0
    assert failures["lexicographic"] == 0
