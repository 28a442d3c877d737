import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.errors import ShapeError
from paretune.functional.agreement import Agreement, label_agreement

NAN = float("nan")


def one(s, t):
    s, t = (np.array(v, dtype=float)[:, None] for v in (s, t))
    return label_agreement(s, t)[0]


def test_a_value_worked_by_hand():
    # In both orders: (1, 1), (1, -1), (-1, -1), (-1, 1), (0, 1), (0, -1): 15 pairs of points.
    # Concordant: (1,1)-(-1,-1), (1,1)-(0,-1), (-1,-1)-(0,1): 3. Discordant: (1,-1)-(-1,1),
    # (1,-1)-(0,1), (-1,1)-(0,-1): 3. So the tau is 0.
    assert one([1, 1, 0], [1, -1, 1]) == Agreement(3, 1, 1, 0.0)
    # (1, 1) twice, (1, -1) once, and turned: of 3 * 3 pairs that differ in s, 2 * 2 are
    # (1,1)-(-1,-1), one is (1,-1)-(-1,1), four are tied in t: (4 - 1) / sqrt(9 * 9) = 1/3.
    found = one([1, 1, 1], [1, 1, -1])
    assert (found.n, found.same, found.opposite) == (3, 2, 1)
    assert found.tau == pytest.approx(1 / 3, abs=1e-12)


def test_only_the_overlap_counts_and_objectives_are_apart():
    labels = np.array([[1.0, NAN], [NAN, 0.5], [-1.0, 1.0]])
    others = np.array([[1.0, 1.0], [1.0, -0.5], [-1.0, NAN]])
    first, second = label_agreement(labels, others)
    assert first == Agreement(2, 2, 0, 1.0)
    assert second == Agreement(1, 0, 1, -1.0)


@pytest.mark.parametrize(("s", "t"), [([], []), ([NAN], [1]), ([0, 0], [1, -1]), ([1, 1], [0, 0])])
def test_where_nothing_is_decided_there_is_no_number(s, t):
    assert math.isnan(one(s, t).tau)


def test_data_whose_first_response_is_always_better_have_a_tau():
    assert one([1, 1, 1], [1, 1, 1]).tau == 1.0


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match="one shape"):
        label_agreement(np.zeros((2, 1)), np.zeros((3, 1)))


PAIRS = st.lists(
    st.tuples(st.integers(-6, 6), st.integers(-3, 3), st.booleans()), min_size=1, max_size=12
)


@given(PAIRS)
def test_which_response_is_first_does_not_matter(rows):
    s = [a / 6 for a, _, _ in rows]
    t = [float(b) for _, b, _ in rows]
    turned = one(
        [-a if flip else a for a, (_, _, flip) in zip(s, rows, strict=True)],
        [-b if flip else b for b, (_, _, flip) in zip(t, rows, strict=True)],
    )
    straight = one(s, t)
    assert (turned.same, turned.opposite) == (straight.same, straight.opposite)
    assert turned.tau == pytest.approx(straight.tau, abs=1e-12, nan_ok=True)
    mirrored = one(t, s)
    assert mirrored.tau == pytest.approx(straight.tau, abs=1e-12, nan_ok=True)
    assert -1 - 1e-12 <= straight.tau <= 1 + 1e-12 or math.isnan(straight.tau)
