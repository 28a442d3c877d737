import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.functional.pair_scores import pair_scales, pair_scores


def test_the_scale_is_the_ninetieth_percentile_of_the_absolute_difference():
    differences = np.array([[0.0, 0.01], *[[-0.1 * i, 0.0] for i in range(1, 11)]])
    np.testing.assert_allclose(pair_scales(differences), [0.9, 0.05])


@pytest.mark.parametrize(
    ("difference", "label"), [(0.3, 0.5), (-0.3, -0.5), (0.6, 1), (-0.9, -1), (0, 0)]
)
def test_a_label_is_the_difference_in_scales_cut_at_one(difference, label):
    assert pair_scores([difference], [0.6]) == [label]


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_swapping_the_texts_changes_the_sign_only(differences):
    scales = np.array([0.05, 0.5, 1.0])
    swapped = pair_scores(-np.array(differences), scales)
    np.testing.assert_array_equal(swapped, -pair_scores(differences, scales))
    assert np.abs(swapped).max() <= 1


def test_what_is_not_scored_has_no_part_in_the_scale():
    differences = np.array([[np.nan, np.nan], [0.4, np.nan], [-0.4, np.nan]])
    np.testing.assert_allclose(pair_scales(differences, [0.1, 0.3]), [0.4, 0.3])
