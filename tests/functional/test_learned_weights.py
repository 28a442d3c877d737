"""Weights that change from step to step: fixed points, resumption, draws."""

import math

import numpy as np
import pytest
import torch

from paretune.errors import ConfigError
from paretune.functional.learned_weights import Mirror, RandomWeights, UncertaintyWeights
from paretune.functional.scalarizer import StepLosses
from paretune.functional.scalarizers import Linear, Tilted

W, L = (0.5, 0.3, 0.2), (0.2, 0.5, 0.9)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def step(losses, weights=W, is_labelled=None, ideal=0.0):
    values = double(*losses)
    return StepLosses(
        values,
        torch.as_tensor(weights, dtype=torch.float64).expand(values.shape),
        torch.ones_like(values, dtype=torch.bool) if is_labelled is None else is_labelled,
        torch.full_like(values, ideal),
        torch.ones(len(values), dtype=torch.float64),
    )


def advanced(scalarizer, given, steps, state=None):
    state = scalarizer.start(given.losses.shape[1]) if state is None else state
    for _ in range(steps):
        state = scalarizer.advance(given, state)
    return state


def test_mirror_starts_at_the_trade_off():
    found = Mirror()(step([L]), Mirror().start(3))
    assert found.objective_weights.tolist() == pytest.approx(list(W))
    assert float(found.loss) == pytest.approx(0.1 + 0.15 + 0.18)


def test_mirror_settles_at_tilted_weights():
    given, goal = step([L]), (double(*W).log() + double(*L) / 0.5).softmax(0)
    assert goal.tolist() == pytest.approx([0.26915, 0.29426, 0.43659], abs=5e-6)

    def off(steps):
        state = advanced(Mirror(), given, steps)
        return float((Mirror()(given, state).objective_weights - goal).abs().max())

    # Each step takes off 1 - .1 x .5 of the rest: .95 ** 400 = 1e-9, .95 ** 700 = 3e-16.
    assert 1e-10 < off(400) < 1e-9
    assert off(700) < 1e-12
    torch.testing.assert_close(Tilted(0.5)(given, double()).objective_weights, goal)


def test_one_step_of_the_mirror_by_hand():
    # .95 x .2 + .1 (mean - .1); means .4, .7 of the labelled rows, weights alike.
    given = step([[0.2, 1.0], [0.6, 0.4]], (0.5, 0.5), ideal=0.1)
    state = Mirror().advance(given, double(0.2, 0.2))
    assert state.tolist() == pytest.approx([0.19 + 0.03, 0.19 + 0.06])


def test_the_tilt_is_shared_by_users():
    users = double([0.8, 0.2, 0.0], [0.1, 0.4, 0.5])
    tilt = double(0.0, math.log(2), math.log(3))
    found = Mirror(reduce="example")(step([L, L], users), tilt)
    # .8, .4, 0 of 1.2 and .1, .8, 1.5 of 2.4.
    rows = double([0.8, 0.4, 0.0], [0.1, 0.8, 1.5]) / double([1.2], [2.4])
    torch.testing.assert_close(found.objective_weights, rows.mean(0))
    one_each = Mirror(reduce="example")(step([L, L], users), tilt.expand(2, 3))
    assert one_each.loss == found.loss


def test_an_objective_without_labels_keeps_its_tilt():
    labelled = torch.tensor([[True, False, True]])
    state = Mirror().advance(step([L], is_labelled=labelled), double(0.3, 0.3, 0.3))
    assert state.tolist() == pytest.approx([0.285 + 0.02, 0.3, 0.285 + 0.09])
    uncertain = UncertaintyWeights().advance(step([L], is_labelled=labelled), double(0, 0, 0))
    assert uncertain[1] == 0
    assert (uncertain[[0, 2]] != 0).all()


def test_uncertainty_by_hand():
    scalarizer, v = UncertaintyWeights(0.2), double(0.0, math.log(2))
    found = scalarizer(step([[0.2, 1.0]], (0.5, 0.5)), v)
    assert float(found.loss) == pytest.approx((0.2 + 0.5 + math.log(2)) / 2)
    assert found.objective_weights.tolist() == pytest.approx([0.5, 0.25])
    moved = scalarizer.advance(step([[0.2, 1.0]], (0.5, 0.5)), v)
    assert moved.tolist() == pytest.approx([-0.2 * 0.4, math.log(2) - 0.2 * 0.25])


def test_uncertainty_favors_what_is_already_good():
    given = step([L])
    state = advanced(UncertaintyWeights(0.5), given, 500)
    weights = UncertaintyWeights()(given, state).objective_weights
    expected = [5 / (5 + 2 + 1 / 0.9), 2 / (5 + 2 + 1 / 0.9), (1 / 0.9) / (5 + 2 + 1 / 0.9)]
    assert (weights / weights.sum()).tolist() == pytest.approx(expected)
    assert expected == pytest.approx([0.616, 0.247, 0.137], abs=5e-4)


def draws(concentration, weights, n):
    scalarizer = RandomWeights(concentration)
    given = step([[0.0] * len(weights)], weights)
    states = (double(float(i)) for i in range(n))
    return np.stack([scalarizer(given, s).objective_weights.numpy() for s in states])


def test_random_weights_have_the_moments_of_dirichlet():
    found = draws(4.0, W, 4000)
    w = np.array(W)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found.mean(0), w, atol=0.015)
    np.testing.assert_allclose(found.var(0), w * (1 - w) / 5, rtol=0.08)


def test_random_weights_are_a_function_of_seed_and_count():
    given, scalarizer = step([L]), RandomWeights(seed=3)
    state = scalarizer.start(3)
    first = scalarizer(given, state).loss
    second = scalarizer(given, scalarizer.advance(given, state)).loss
    assert first != second
    assert scalarizer(given, double(1.0)).loss == second
    assert RandomWeights(seed=4)(given, state).loss != first


def test_users_of_one_trade_off_share_the_draw():
    users = double([0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0])
    state = double(7.0)
    both = RandomWeights()(step([L, L, L], users), state).objective_weights
    alone = RandomWeights()(step([L], users[:1]), state).objective_weights
    torch.testing.assert_close(both, (2 * alone + users[2]) / 3)


def test_tiny_concentrations_choose_or_fall_back():
    found = draws(1e-3, W, 200)
    np.testing.assert_allclose(found.sum(1), 1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("scalarizer", [Mirror(), RandomWeights(), UncertaintyWeights()], ids=repr)
def test_a_state_is_enough_to_resume(scalarizer):
    given = step([[0.2, 0.5, 0.9], [0.4, 0.1, 0.3]])
    whole = advanced(scalarizer, given, 9)
    saved = torch.tensor(advanced(scalarizer, given, 4).tolist(), dtype=torch.float64)
    assert torch.equal(advanced(scalarizer, given, 5, saved), whole)
    assert whole.dtype == torch.float64
    before = saved.clone()
    scalarizer(given, saved)
    assert torch.equal(saved, before)


@pytest.mark.parametrize("scalarizer", [Mirror(), RandomWeights(), UncertaintyWeights()], ids=repr)
def test_missing_labels_never_matter(scalarizer):
    labelled = torch.tensor([[True, False, True], [True, True, False], [False, False, False]])
    state, results = scalarizer.start(3), []
    for filling in (0.0, math.nan, math.inf):
        rows = torch.where(labelled, double(L, L, L), filling)
        given = step(rows.tolist(), is_labelled=labelled)
        results.append((scalarizer(given, state).loss, *scalarizer.advance(given, state)))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("make", [Mirror, RandomWeights])
def test_a_sum_over_pairs_that_learns_is_not_separable(make):
    # Within a step it is a mean over pairs; what it learns needs all of them.
    scalarizer = make(reduce="example")
    assert not scalarizer.is_separable
    state, rows = scalarizer.start(3), [[0.2, 0.5, 0.9], [0.4, 0.1, 0.3]]
    parts = sum(float(scalarizer(step([r]), state).loss) for r in rows) / 2
    assert float(scalarizer(step(rows), state).loss) == pytest.approx(parts)
    assert float(Linear()(step(rows), state).loss) == pytest.approx(
        sum(float(Linear()(step([r]), state).loss) for r in rows) / 2
    )


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Mirror, {"eta": 0}, "eta"),
        (Mirror, {"tau": -1}, "tau"),
        (Mirror, {"eta": 1.0, "tau": 1.0}, "below 1"),
        (UncertaintyWeights, {"learning_rate": 0}, "learning_rate"),
        (RandomWeights, {"concentration": 0}, "concentration"),
        (RandomWeights, {"seed": -1}, "seed"),
        (RandomWeights, {"seed": 0.5}, "seed"),
        (RandomWeights, {"reduce": "none"}, "reduce"),
    ],
)
def test_fields_out_of_range_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
