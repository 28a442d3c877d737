"""Verdicts and fronts, worked by hand and against enumeration."""

import itertools

import numpy as np
import pytest
import torch

from paretune.errors import InfeasibleError, ShapeError
from paretune.functional.constrained import constrained_optimum
from paretune.functional.dominance import non_dominated
from paretune.functional.feasibility import (
    check_floors,
    expected_front,
    front_gap,
    reply_front,
    unregularized_optimum,
)

CORNERS = np.array([[[1.0, 0.0], [0.0, 1.0]]])


def test_verdict_by_hand():
    # pi = (x, 1 - x) reaches (x, 1 - x).
    verdict = check_floors(CORNERS, np.array([0.5, 0.4]))
    assert verdict.is_feasible
    assert verdict.margin == pytest.approx(0.05)
    assert verdict.best == (1, 1)
    assert verdict.best_together == pytest.approx((0.6, 0.5))
    assert verdict.explain(["kind", "short"]) == "kind >= 0.5 and short >= 0.4 can be met"


def test_words_for_a_wish_out_of_reach():
    # Both contexts evenly likely: best of the first constraint (1 + .64) / 2 = .82.
    values = np.array([[[1.0, 0.5], [0.2, 0.5]], [[0.64, 0.5], [0.0, 0.5]]])
    verdict = check_floors(values, np.array([0.9, 0.1]))
    assert not verdict.is_feasible
    assert verdict.explain(["harmless", "humor"]) == (
        "harmless >= 0.9 cannot be met: best seen 0.82"
    )
    assert verdict.explain() == "constraint 0 >= 0.9 cannot be met: best seen 0.82"
    both = check_floors(values, np.array([0.9, 0.6]))
    assert both.explain(["harmless", "humor"]) == (
        "harmless >= 0.9 cannot be met: best seen 0.82; humor >= 0.6 cannot be met: best seen 0.5"
    )


def test_words_for_wishes_that_exclude_each_other():
    verdict = check_floors(CORNERS, np.array([0.7, 0.4]))
    assert verdict.margin == pytest.approx(-0.05)
    assert verdict.explain(["kind", "short"]) == (
        "kind >= 0.7 and short >= 0.4 cannot be met together: with the other floors kept kind "
        "reaches 0.6, short reaches 0.3; all can be met when each is lowered by 0.05"
    )


def test_weights_and_allowed_actions_count():
    values = np.array([[[1.0], [0.0]], [[0.0], [0.5]]])
    assert check_floors(values, np.array([0.0])).best == (0.75,)
    assert check_floors(values, np.array([0.0]), np.array([0.2, 0.8])).best == pytest.approx((0.6,))
    allowed = np.array([[False, True], [True, True]])
    assert check_floors(values, np.array([0.0]), None, allowed).best == (0.25,)


def test_no_floor_is_met():
    verdict = check_floors(np.zeros((1, 2, 0)), np.zeros(0))
    assert verdict.is_feasible
    assert verdict.explain() == "no floor to meet"


def test_shapes():
    with pytest.raises(ShapeError, match="floors"):
        check_floors(CORNERS, np.array([0.5]))
    with pytest.raises(ShapeError, match="primary"):
        unregularized_optimum(np.zeros((1, 3)), CORNERS, np.array([0.5, 0.5]))
    with pytest.raises(ShapeError, match="weights"):
        expected_front(np.zeros((1, 2, 3)))


def test_unregularized_optimum_by_hand():
    p, q = np.array([[1.0, 0.5, 0.0]]), np.array([[[0.5], [1.0], [0.0]]])
    # 1/2 pi_1 + pi_2 = b on the first two: pi_2 = 2b - 1.
    for floor in (0.5, 2 / 3, 0.9, 1.0):
        policy = unregularized_optimum(p, q, np.array([floor]))
        assert policy[0].tolist() == pytest.approx([2 - 2 * floor, 2 * floor - 1, 0], abs=1e-9)
    with pytest.raises(InfeasibleError, match=r"constraint 0 >= 1.1"):
        unregularized_optimum(p, q, np.array([1.1]))


@pytest.mark.parametrize("seed", [0, 1])
def test_unregularized_optimum_is_the_limit_of_small_tau(seed):
    generator = np.random.default_rng(seed)
    p, q = generator.random((3, 6)), generator.random((3, 6, 2))
    floors = np.array([0.6, 0.6])
    policy = unregularized_optimum(p, q, floors)
    ref = torch.zeros(3, 6, dtype=torch.float64).log_softmax(-1)
    tensors = torch.tensor(p), torch.tensor(q), torch.tensor(floors)
    limit = (policy * p).sum() / 3
    for tau in (1e-2, 1e-3, 1e-4):
        found = constrained_optimum(ref, *tensors, tau)
        # A policy is at most tau log A below the limit, and never above it.
        assert -1e-9 <= limit - found.primary.item() <= tau * np.log(6)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n_objectives", [2, 3])
def test_front_corners_against_all_deterministic_policies(n_objectives, seed):
    generator = np.random.default_rng(seed)
    rewards = generator.random((3, 4, n_objectives))
    weights = generator.dirichlet(np.ones(n_objectives), 3000)
    corners = expected_front(rewards, weights=weights)
    policies = itertools.product(range(4), repeat=3)
    points = np.array([rewards[np.arange(3), list(actions)].mean(axis=0) for actions in policies])
    for corner in corners:
        assert np.abs(points - corner).max(axis=1).min() < 1e-12
    best = (points @ weights.T).max(axis=0)
    assert (corners @ weights.T).max(axis=0) == pytest.approx(best, abs=1e-12)
    assert non_dominated(corners).all()
    assert (np.diff(corners[:, 0]) >= 0).all()
    for corner in corners:
        assert front_gap(rewards, corner) == pytest.approx(0, abs=1e-9)
    for point in points:
        assert front_gap(rewards, point) >= -1e-9


def test_two_objectives_give_every_corner():
    angles = np.linspace(0, np.pi / 2, 50)
    rewards = np.stack([np.cos(angles), np.sin(angles)], axis=1)[None]
    inside = 0.5 * rewards
    corners = expected_front(np.concatenate([rewards, inside], axis=1))
    assert corners == pytest.approx(rewards[0][::-1])


def test_front_of_one_dominating_action():
    rewards = np.array([[[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    assert expected_front(rewards).tolist() == [[1, 1]]


def test_gap_by_hand():
    # The front is x + y = 1: from (.3, .3) both can gain .2, (.6, .6) is .1 too good.
    assert front_gap(CORNERS, np.array([0.3, 0.3])) == pytest.approx(0.2)
    assert front_gap(CORNERS, np.array([0.6, 0.6])) == pytest.approx(-0.1)


def test_dented_front_shows_in_replies_only():
    rewards = np.array([[[1.0, 0.0], [0.4, 0.4], [0.3, 0.3], [0.0, 1.0]]])
    assert reply_front(rewards).tolist() == [[True, True, False, True]]
    assert expected_front(rewards).tolist() == [[0, 1], [1, 0]]
    allowed = np.array([[True, False, True, True]])
    assert reply_front(rewards, allowed).tolist() == [[True, False, True, True]]
