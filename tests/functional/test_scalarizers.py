"""Scalarizers in closed form: hand values, bounds, gradients, and the sign of the source."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.scalarizer import StepLosses
from paretune.functional.scalarizers import (
    Chebyshev,
    Linear,
    LogHypervolume,
    SmoothChebyshev,
    Tilted,
)

NONE = torch.zeros(0)
BOTH = ("batch", "example")


def step(losses, weights, ideal=None, is_labelled=None, counts=None):
    values = torch.as_tensor(losses, dtype=torch.float64)
    rows = torch.as_tensor(weights, dtype=torch.float64).expand(values.shape)
    return StepLosses(
        values,
        rows,
        torch.ones_like(values, dtype=torch.bool) if is_labelled is None else is_labelled,
        torch.zeros_like(values) if ideal is None else torch.as_tensor(ideal).expand(values.shape),
        torch.ones(len(values), dtype=torch.float64) if counts is None else torch.tensor(counts),
    )


def value(scalarizer, *arguments, **options):
    return float(scalarizer(step(*arguments, **options), NONE).loss)


TWO = [[0.2, 1.0], [0.6, 0.4]]
W = (0.75, 0.25)


def test_linear_by_hand():
    # Rows: .15 + .25 = .4 and .45 + .1 = .55.
    assert value(Linear(), TWO, W) == pytest.approx(0.475)
    assert value(Linear("batch"), TWO, W) == pytest.approx(0.475)
    assert value(Linear(), TWO, W, counts=[3.0, 1.0]) == pytest.approx((3 * 0.4 + 0.55) / 4)


def test_linear_with_missing_labels():
    labelled = torch.tensor([[True, False], [True, True]])
    # Over pairs the first row is all its first objective; over means each objective has its own.
    assert value(Linear(), TWO, W, is_labelled=labelled) == pytest.approx((0.2 + 0.55) / 2)
    found = value(Linear("batch"), TWO, W, is_labelled=labelled)
    assert found == pytest.approx(0.75 * 0.4 + 0.25 * 0.4)
    nobody = torch.zeros(2, 2, dtype=torch.bool)
    assert value(Linear(), TWO, W, is_labelled=nobody) == 0


def test_chebyshev_by_hand():
    # Terms w L by pair: (.15, .25), (.45, .1); of the means: (.3, .175). Two objectives: times 2.
    assert value(Chebyshev(rho=0), TWO, W) == pytest.approx(2 * 0.3)
    assert value(Chebyshev(rho=0, reduce="example"), TWO, W) == pytest.approx(0.25 + 0.45)
    assert value(Chebyshev(rho=0, scale="simplex"), TWO, W) == pytest.approx(0.3)
    assert value(Chebyshev(rho=0.1), TWO, W) == pytest.approx(2 * (0.3 + 0.1 * 0.475))
    assert value(Chebyshev(rho=0), TWO, W, [0.3, 0.0]) == pytest.approx(2 * 0.175)


def test_chebyshev_of_labelled_objectives_only():
    labelled = torch.tensor([[True, False], [True, True]])
    found = value(Chebyshev(rho=0, reduce="example"), TWO, W, is_labelled=labelled)
    # The first pair has one objective, of weight 1.
    assert found == pytest.approx((0.2 + 2 * 0.45) / 2)
    # A loss far below its ideal is negative, and what is not labelled must not win with 0.
    gone = torch.tensor([[True, False]])
    found = value(Chebyshev(rho=0), [[0.1, 9.0]], W, [0.5, 0.0], is_labelled=gone)
    assert found == pytest.approx(2 * 0.75 * -0.4)


def test_ties_share_the_gradient():
    weights = Chebyshev(rho=0)(step([[0.4, 0.4]], (0.5, 0.5)), NONE).objective_weights
    assert weights.tolist() == [0.5, 0.5]


def test_smooth_chebyshev_by_hand():
    # D w (L - z) / mu of the means: 2 (.3, .175) / .5 = (1.2, .7).
    expected = 0.5 * (math.log(math.exp(1.2) + math.exp(0.7)) - math.log(2))
    assert value(SmoothChebyshev(0.5), TWO, W) == pytest.approx(expected)


def test_tilted_by_hand():
    expected = 0.5 * math.log(0.75 * math.exp(0.4 / 0.5) + 0.25 * math.exp(0.7 / 0.5))
    assert value(Tilted(0.5), TWO, W) == pytest.approx(expected)
    rows = [0.5 * math.log(0.75 * math.exp(a / 0.5) + 0.25 * math.exp(b / 0.5)) for a, b in TWO]
    assert value(Tilted(0.5, "example"), TWO, W) == pytest.approx(sum(rows) / 2)
    assert value(Tilted(0.5), TWO, (1.0, 0.0)) == pytest.approx(0.4)


def test_log_hypervolume_by_hand():
    expected = -0.75 * math.log(0.6) - 0.25 * math.log(0.3)
    assert value(LogHypervolume(1.0), TWO, W) == pytest.approx(expected)
    weights = LogHypervolume((2.0, 1.0))(step(TWO, W), NONE).objective_weights
    assert weights.tolist() == pytest.approx([0.75 / 1.6, 0.25 / 0.3])
    with pytest.raises(InputError, match="below the reference"):
        value(LogHypervolume(0.7), TWO, W)
    with pytest.raises(ShapeError, match="3 coordinates"):
        value(LogHypervolume((1.0, 1.0, 1.0)), TWO, W)


losses = st.lists(st.lists(st.floats(0, 3), min_size=4, max_size=4), min_size=1, max_size=5)
weights = st.lists(st.floats(0.05, 1), min_size=4, max_size=4)


def on_simplex(w):
    return [x / sum(w) for x in w]


@given(losses, weights, st.sampled_from([0.001, 0.1, 1.0]))
def test_smooth_chebyshev_lies_between_its_bounds(rows, w, mu):
    top = value(Chebyshev(rho=0), rows, on_simplex(w))
    gap = value(SmoothChebyshev(mu), rows, on_simplex(w)) - top
    assert -mu * math.log(4) - 1e-12 <= gap <= 1e-12


def test_smooth_chebyshev_joins_chebyshev_and_the_sum():
    sharp = value(SmoothChebyshev(0.001), TWO, W) - value(Chebyshev(rho=0), TWO, W)
    assert sharp == pytest.approx(-0.001 * math.log(2), abs=1e-12)
    assert value(SmoothChebyshev(1e3), TWO, W) == pytest.approx(value(Linear(), TWO, W), abs=6e-4)


def test_smooth_chebyshev_is_that_of_torchjd():
    oracle = pytest.importorskip("torchjd.scalarization").STCH
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows = torch.rand(1, 5, dtype=torch.float64, generator=generator)
        w = torch.rand(5, dtype=torch.float64, generator=generator)
        w, z = w / w.sum(), 0.1 * rows[0] ** 2
        theirs = float(oracle(0.1, weights=5 * w, reference=z)(rows[0])) - 0.1 * math.log(5)
        assert value(SmoothChebyshev(0.1), rows, w, z) == pytest.approx(theirs, abs=1e-12)


@given(losses, weights)
def test_an_example_weighs_no_less_than_a_batch(rows, w):
    for make in (Chebyshev, SmoothChebyshev, Tilted):
        batch, example = (value(make(reduce=r), rows, on_simplex(w)) for r in BOTH)
        assert batch <= example + 1e-12


@given(st.floats(0, 3), weights)
def test_equal_losses_are_their_own_scalarization(loss, w):
    rows = [[loss] * 4] * 2
    for reduce in BOTH:
        assert value(Tilted(0.5, reduce), rows, on_simplex(w)) == pytest.approx(loss, abs=1e-12)
        even = value(SmoothChebyshev(0.1, reduce), rows, [0.25] * 4)
        assert even == pytest.approx(loss, abs=1e-12)


@given(losses, weights)
def test_tilted_is_the_best_leashed_mixture(rows, w):
    w, means = torch.tensor(on_simplex(w)).double(), torch.tensor(rows).double().mean(0)
    p = (w.log() + means / 0.5).softmax(0)
    best = p @ means - 0.5 * (p * (p / w).log()).sum()
    assert value(Tilted(0.5), rows, w) == pytest.approx(float(best), abs=1e-6)


SCALARIZERS = [
    Linear(),
    Linear("batch"),
    *(make(reduce=r) for make in (Chebyshev, SmoothChebyshev, Tilted) for r in BOTH),
    *(LogHypervolume(3.0, r) for r in BOTH),
]


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=repr)
def test_missing_labels_never_matter(scalarizer):
    """Whatever stands in a cell that is not labelled: the same loss, and no gradient."""
    labelled = torch.tensor([[True, False, True], [True, True, False], [False, False, False]])
    gradients = []
    for filling in (0.0, math.nan, math.inf):
        rows = torch.rand(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        rows = torch.where(labelled, rows, filling).requires_grad_()
        found = scalarizer(step(rows, (0.2, 0.3, 0.5), is_labelled=labelled), NONE)
        found.loss.backward()
        assert torch.isfinite(found.loss)
        assert not rows.grad[~labelled].any()
        gradients.append(rows.grad[labelled])
        torch.testing.assert_close(found.objective_weights, rows.grad.sum(0))
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
    assert gradients[0].any()


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=repr)
def test_a_step_without_labels_is_zero(scalarizer):
    rows = torch.rand(2, 3, dtype=torch.float64).requires_grad_()
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    found = scalarizer(step(rows, (0.2, 0.3, 0.5), is_labelled=nobody), NONE).loss
    found.backward()
    assert found == 0
    assert not rows.grad.any()


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=repr)
def test_objectives_have_no_order(scalarizer):
    rows, w, turn = torch.rand(4, 3, dtype=torch.float64), torch.tensor([0.2, 0.3, 0.5]), [2, 0, 1]
    there = value(scalarizer, rows[:, turn], w[turn])
    assert there == pytest.approx(value(scalarizer, rows, w), abs=1e-12)


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=repr)
def test_a_count_is_a_number_of_copies(scalarizer):
    rows, w = torch.rand(2, 3, dtype=torch.float64), (0.2, 0.3, 0.5)
    counted = value(scalarizer, rows, w, counts=[2.0, 1.0])
    assert counted == pytest.approx(value(scalarizer, rows[[0, 0, 1]], w), abs=1e-12)


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=repr)
def test_separable_means_a_mean_over_pairs(scalarizer):
    rows, w = torch.rand(6, 3, dtype=torch.float64), (0.2, 0.3, 0.5)
    parts = [value(scalarizer, rows[i : i + 2], w) for i in (0, 2, 4)]
    is_mean = abs(sum(parts) / 3 - value(scalarizer, rows, w)) < 1e-12
    assert is_mean or not scalarizer.is_separable


def test_utilities_are_the_mirror_of_losses():
    rows, w, z = torch.rand(3, 2).double(), (0.4, 0.6), torch.tensor([-0.1, -0.2]).double()
    for reduce in BOTH:
        losses = Chebyshev(reduce=reduce)(step(rows, w, z), NONE)
        utilities = Chebyshev(orientation="max", reduce=reduce)(step(-rows, w, -z), NONE)
        assert losses.loss == utilities.loss
        assert torch.equal(losses.objective_weights, -utilities.objective_weights)


def descended(scalarizer, steps=200, rate=0.5):
    """Two free margins, labels of 1, gradient descent on the scalarized logistic losses."""
    margins = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        rows = -torch.nn.functional.logsigmoid(margins)[None]
        (gradient,) = torch.autograd.grad(scalarizer(step(rows, (0.5, 0.5)), NONE).loss, margins)
        margins = (margins - rate * gradient).detach().requires_grad_()
    return -torch.nn.functional.logsigmoid(margins).detach()


def test_the_sign_of_the_source_raises_the_losses():
    with pytest.warns(UserWarning, match="raises the smallest loss"):
        literal = Chebyshev(rho=0, orientation="max", is_literal=True)
    assert literal.takes_losses
    assert (descended(literal) > 20).all()
    right = descended(Chebyshev(rho=0))
    assert (right < 0.05).all()
    assert right[0] == pytest.approx(float(right[1]), abs=1e-3)


def test_losses_are_refused_where_utilities_are_wanted():
    scalarizer = Chebyshev(orientation="max")
    assert not scalarizer.takes_losses
    with pytest.raises(InputError, match="losses are for orientation 'min'"):
        scalarizer(step(TWO, W), NONE)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Linear, {"reduce": "pairs"}, "reduce"),
        (Chebyshev, {"rho": -0.1}, "rho"),
        (Chebyshev, {"rho": math.nan}, "rho"),
        (Chebyshev, {"scale": "mean"}, "did you mean 'mean_one'"),
        (Chebyshev, {"orientation": "down"}, "orientation"),
        (Chebyshev, {"is_literal": True}, "expected 'max'"),
        (SmoothChebyshev, {"mu": 0}, "mu"),
        (SmoothChebyshev, {"mu": "small"}, "mu"),
        (Tilted, {"tau": -1}, "tau"),
        (Tilted, {"tau": True}, "tau"),
        (LogHypervolume, {"reference": math.inf}, "reference"),
        (LogHypervolume, {"reference": ()}, "reference"),
        (LogHypervolume, {"reference": (1.0, "2")}, "reference"),
    ],
)
def test_fields_out_of_range_are_refused(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
