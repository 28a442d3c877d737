"""Hypervolume over pairs: the worked example, its gradient, and what it cannot do."""

import numpy as np
import pytest
import torch

from paretune.errors import ConfigError
from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.objective_losses import weights_per_pair
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizer import StepLosses
from paretune.functional.scalarizers import Linear

NONE = torch.zeros(0)
FIVE = [[0.9, 0.3], [0.5, 0.7], [0.3, 0.95], [0.4, 0.4], [0.2, 0.2]]


def step(losses, weights=(0.5, 0.5), is_labelled=None, counts=None):
    values = torch.as_tensor(losses, dtype=torch.float64)
    return StepLosses(
        values,
        torch.tensor(weights, dtype=torch.float64).expand(values.shape),
        torch.ones_like(values, dtype=torch.bool) if is_labelled is None else is_labelled,
        torch.zeros_like(values),
        torch.ones(len(values), dtype=torch.float64) if counts is None else torch.tensor(counts),
    )


def gradient(scalarizer, losses, **options):
    leaf = torch.tensor(losses, dtype=torch.float64).requires_grad_()
    scalarizer(step(leaf, **options), NONE).loss.backward()
    return leaf.grad


def test_the_worked_example():
    # P = L / 2, reference (-.9, -.9); exclusive volumes .21, .02, .13125, 0, 0.
    scores = [0.621, 0.602, 0.638125, 0.4, 0.2]
    found = ParetoHypervolume()(step(FIVE), NONE)
    assert float(found.loss) == pytest.approx(sum(scores) / 5, abs=1e-15)
    rows = gradient(ParetoHypervolume(), FIVE)
    assert rows[0].tolist() == pytest.approx([0.1105, 0.102], abs=1e-15)
    assert rows[3].tolist() == pytest.approx([0.1, 0.1], abs=1e-15)
    torch.testing.assert_close(found.objective_weights, rows.sum(0))
    counted = ParetoHypervolume()(step(FIVE, counts=[1.0, 1.0, 1.0, 1.0, 2.0]), NONE)
    assert float(counted.loss) == pytest.approx((sum(scores) + 0.2) / 6, abs=1e-15)


def test_a_constant_contribution_trains_the_weighted_sum():
    detached = ParetoHypervolume(gradient="detach")
    assert torch.equal(gradient(detached, FIVE), gradient(Linear(), FIVE))
    value = detached(step(FIVE), NONE).loss
    assert value == ParetoHypervolume()(step(FIVE), NONE).loss


def test_one_pair_is_a_longer_step_of_the_sum():
    one = [[0.9, 0.3]]
    torch.testing.assert_close(gradient(ParetoHypervolume(), one), 1.1 * gradient(Linear(), one))


def test_pairs_that_are_alike_are_the_weighted_sum():
    alike = [[0.7, 0.7]] * 4
    found = ParetoHypervolume(temperature=9.0)(step(alike), NONE)
    assert float(found.loss) == pytest.approx(0.7)
    assert torch.equal(gradient(ParetoHypervolume(9.0), alike), gradient(Linear(), alike))


def test_the_other_orientation_favors_easy_pairs():
    # Front of smallest P: (.1, .1) alone, with reference (.45, .475) + 1.
    easy = ParetoHypervolume(orientation="min")
    volume = 1.35 * 1.375
    sums = sum(map(sum, FIVE)) / 2
    assert float(easy(step(FIVE), NONE).loss) == pytest.approx((sums - 0.1 * volume) / 5)
    rows = gradient(easy, FIVE)
    assert rows[4].tolist() == pytest.approx([0.1 * (1 + 0.1 * 1.375), 0.1 * (1 + 0.1 * 1.35)])
    assert torch.equal(rows[:4], gradient(Linear(), FIVE)[:4])


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "soft"])
@pytest.mark.parametrize("orientation", ["max", "min"])
def test_the_gradient_is_that_of_a_pair_among_fixed_others(kind, orientation):
    generator = torch.Generator().manual_seed(2)
    margins = 4 * torch.rand(6, dtype=torch.float64, generator=generator) - 2
    labels = 2 * torch.rand(6, 3, dtype=torch.float64, generator=generator) - 1
    sign, heat, w = (1.0 if orientation == "max" else -1.0), 0.5, torch.tensor([0.2, 0.3, 0.5])
    loss = ScalarizedLoss(
        ParetoHypervolume(heat, orientation=orientation), (0.2, 0.3, 0.5), kind, beta=1.3
    )
    found = loss.cotangents(margins, labels, None, NONE)

    def points(m):
        return (w * loss.step_at(m, labels).losses).numpy()

    fixed = points(margins)
    reference = (sign * fixed).min(0) - 1

    def score(b, shift):
        moved = fixed.copy()
        moved[b] = points(margins + shift)[b]
        added = contributions_and_facets(sign * moved, reference)[0][b]
        return moved[b].sum() + sign * heat * added

    h = 1e-5
    expected = [(score(b, h) - score(b, -h)) / (2 * h) / 6 for b in range(6)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-7)
    plain = ScalarizedLoss(Linear(), (0.2, 0.3, 0.5), kind, beta=1.3)
    assert not torch.allclose(found, plain.cotangents(margins, labels, None, NONE), atol=1e-4)


def test_missing_labels():
    labelled = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    results = []
    for filling in (0.0, 7.0, float("nan")):
        rows = torch.tensor([[0.9, 0.3], [0.5, filling], [filling, filling], [0.2, 0.8]])
        leaf = rows.double().requires_grad_()
        loss = ParetoHypervolume()(step(leaf, is_labelled=labelled), NONE).loss
        loss.backward()
        assert not leaf.grad[~labelled].any()
        results.append((float(loss.detach()), leaf.grad[labelled]))
    # P: (.45, .15), (.5, lowest = .15), (.1, .4); the reference is (-.9, -.85); the first is
    # dominated by the second, whose one label has all the weight.
    w = weights_per_pair(torch.tensor([0.5, 0.5]), labelled)
    assert w[1].tolist() == [1, 0]
    second, last = 1.4 * 1.0 - 1.0 * 1.0, 1.0 * 1.25 - 1.0 * 1.0
    expected = (0.6 + 0.5 + 0.5 + 0.1 * (second + last)) / 3
    assert results[0][0] == pytest.approx(expected, abs=1e-7)
    for value, rows in results[1:]:
        assert value == results[0][0]
        assert torch.equal(rows, results[0][1])
    nobody = torch.zeros(5, 2, dtype=torch.bool)
    assert ParetoHypervolume()(step(FIVE, is_labelled=nobody), NONE).loss == 0


def test_a_cap_on_the_front():
    # Largest sums of P: the third and the first pair; the second gets no bonus.
    rows = gradient(ParetoHypervolume(max_front=2), FIVE)
    plain = gradient(Linear(), FIVE)
    assert (rows > plain).any(1).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature"),
        ({"offset": 0}, "offset"),
        ({"gradient": "full"}, "gradient"),
        ({"orientation": "up"}, "orientation"),
        ({"max_front": 0}, "max_front"),
        ({"max_front": 2.5}, "max_front"),
    ],
)
def test_fields_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ParetoHypervolume(**options)
