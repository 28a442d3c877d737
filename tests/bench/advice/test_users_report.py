import numpy as np
import pytest

from paretune.bench.advice import Advice
from paretune.bench.advice.users_report import (
    disagreement,
    is_one_taste,
    preferred_sides,
    transitive_share,
    users_report,
)
from paretune.errors import InputError, ShapeError
from paretune.functional.users import draw_users


def weights_of(n, alpha, n_axes=6):
    users = draw_users(n, n_axes, seed=4, alphas=(alpha,))
    return np.array([user.tradeoff.weights for user in users])


def test_a_user_prefers_the_side_with_the_larger_weighted_label():
    labels = [[1.0, -0.5], [-0.2, 0.1], [0.5, -0.5], [0.0, 0.0]]
    weights = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    np.testing.assert_array_equal(
        preferred_sides(labels, weights), [[1, -1, 1, 0], [1, -1, 0, 0], [-1, 1, -1, 0]]
    )


def test_disagreement_is_the_mean_over_pairs_of_users():
    # Users 0 and 1 differ on 1 of 4, 0 and 2 on 2 of 2, 1 and 2 on 1 of 2.
    sides = [[1, 1, 1, 1], [1, 1, 1, -1], [0, 0, -1, -1]]
    assert disagreement(sides) == pytest.approx((1 / 4 + 1 + 1 / 2) / 3)
    assert disagreement([[1, -1], [1, -1]]) == 0
    # The first two have nothing in common and are not counted.
    assert disagreement([[1, 0], [0, 1], [1, -1]]) == pytest.approx((0 + 1) / 2)


@pytest.mark.parametrize("sides", [[[1, 1]], [[1, 0], [0, 1]], [1, 1]])
def test_nothing_to_compare_is_refused(sides):
    with pytest.raises(InputError, match="users: found"):
        disagreement(sides)


def test_own_labels_come_from_one_taste_and_those_of_two_users_mixed_do_not():
    labels = np.random.default_rng(0).uniform(-1, 1, (300, 3))
    one, other = preferred_sides(labels, [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    assert is_one_taste(labels, one)
    assert not is_one_taste(labels, np.where(np.arange(300) % 2, one, other))
    assert not is_one_taste(labels, -one)
    assert is_one_taste(labels, np.zeros(300))


def test_labels_cut_at_one_can_go_in_a_circle():
    """Weights .4 and .6, scales .5: a < b < c by .28 - .27 each, but c < a by .4 - .54.

    From a to c the first axis gains 1.4 scales, of which 1 counts.
    """
    scales, weights = np.array([0.5, 0.5]), np.array([[0.4, 0.6]])
    a, b, c = (0.0, 0.45), (0.35, 0.225), (0.7, 0.0)
    assert transitive_share(np.array([[a, b, c]]), scales, weights) == 0
    assert transitive_share(np.array([[c, b, a]]), scales, weights) == 0
    wide = 2 * scales
    assert transitive_share(np.array([[a, b, c]]), wide, weights) == 1
    straight = np.array([[[1.0, 1.0], [0.5, 0.5], [0.0, 0.0]]])
    assert transitive_share(straight, scales, weights) == 1
    ties = np.zeros((1, 3, 2))
    assert transitive_share(np.concatenate([ties, [[a, b, c]]]), scales, weights) == 0.5


def test_peaked_users_differ_more_than_balanced_ones_and_each_is_consistent():
    world = Advice()
    peaked = users_report(world, weights_of(20, 0.2), n=200)
    balanced = users_report(world, weights_of(20, 2.0), n=200)
    assert peaked == users_report(world, weights_of(20, 0.2), n=200)
    assert (peaked.n_users, peaked.n_comparisons) == (20, 200)
    assert balanced.diversity > 0.15
    assert peaked.diversity > balanced.diversity + 0.05
    for found in (peaked, balanced):
        assert found.one_taste == 1
        assert found.transitive > 0.99
    alike = users_report(world, np.tile(weights_of(1, 2.0), (3, 1)), n=50)
    assert alike.diversity == 0


def test_bad_users_are_refused():
    with pytest.raises(ShapeError, match=r"weights of shape \(2, 2\), expected \(U, 6\)"):
        users_report(Advice(), [[0.5, 0.5], [1.0, 0.0]])
    with pytest.raises(InputError, match="n = 0"):
        users_report(Advice(), weights_of(2, 1.0), n=0)
