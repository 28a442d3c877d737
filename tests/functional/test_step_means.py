"""Means over pairs and over objectives, by hand."""

import math

import pytest
import torch

from paretune.functional.scalarizer import StepLosses, scalarized
from paretune.functional.step_means import (
    fold_losses,
    fold_terms,
    mean_losses,
    mean_weights,
    objective_mean,
    pair_mean,
    pair_weights,
)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


STEP = StepLosses(
    losses=double([1.0, 2.0], [3.0, 9.0], [9.0, 9.0]),
    weights=double([0.5, 0.5], [0.2, 0.8], [0.5, 0.5]),
    is_labelled=torch.tensor([[True, True], [True, False], [False, False]]),
    ideal=torch.zeros(3, 2),
    counts=double(1.0, 3.0, 1.0),
)
NOBODY = StepLosses(
    STEP.losses, STEP.weights, torch.zeros(3, 2, dtype=torch.bool), STEP.ideal, STEP.counts
)


def test_a_pair_without_labels_is_no_part_of_a_mean():
    assert pair_weights(STEP).tolist() == [[0.5, 0.5], [1, 0], [0, 0]]
    assert pair_mean(double(1.0, 5.0, math.nan), STEP) == (1 + 3 * 5) / 4
    assert pair_mean(double(1.0, 5.0, 9.0), NOBODY) == 0


def test_means_of_objectives():
    assert objective_mean(STEP.losses, STEP).tolist() == [(1 + 9) / 4, 2]
    assert mean_weights(STEP).tolist() == pytest.approx([0.275 / 0.775, 0.5 / 0.775])
    # Weights times counts: .5 and .6 for the first, .5 alone for the second.
    assert mean_losses(STEP.losses, STEP).tolist() == pytest.approx([(0.5 + 1.8) / 1.1, 2])
    for found in (
        objective_mean(STEP.losses, NOBODY),
        mean_weights(NOBODY),
        mean_losses(STEP.losses, NOBODY),
    ):
        assert found.tolist() == [0, 0]


def test_folds_see_terms_presence_and_number():
    seen = {}

    def fold(terms, present, number):
        seen.update(terms=terms.tolist(), present=present.tolist(), number=number.tolist())
        return terms.sum(-1)

    batch = fold_terms(STEP.losses, STEP, "batch", fold)
    assert seen["terms"] == pytest.approx([(0.5 + 3 * 0.6) / 4, 1])
    assert (seen["present"], seen["number"]) == ([True, True], 2)
    assert float(batch) == pytest.approx(0.575 + 1)
    example = fold_terms(STEP.losses, STEP, "example", fold)
    assert seen["terms"] == [[0.5, 1], [3, 0], [0, 0]]
    assert (seen["present"], seen["number"]) == (STEP.is_labelled.tolist(), [2, 1, 0])
    assert float(example) == (1.5 + 3 * 3) / 4

    def product(losses, weights):
        return (losses * weights).sum(-1)

    assert float(fold_losses(STEP.losses, STEP, "example", product)) == (1.5 + 3 * 3) / 4
    found = fold_losses(STEP.losses, STEP, "batch", product)
    assert float(found) == pytest.approx((2.3 / 1.1 * 0.275 + 2 * 0.5) / 0.775)


def test_a_scalarized_function_has_its_value_and_gradient():
    losses = double([1.0, 2.0], [3.0, math.nan], [math.nan, math.nan]).requires_grad_()
    step = StepLosses(losses, STEP.weights, STEP.is_labelled, STEP.ideal, STEP.counts)
    calls = []

    def cubes(values):
        calls.append(values.tolist())
        return (values**3).sum()

    found = scalarized(cubes, step)
    assert calls == [[[1, 2], [3, 0], [0, 0]]]
    found.loss.backward()
    assert found.loss.item() == 1 + 8 + 27
    assert losses.grad.tolist() == [[3, 12], [27, 0], [0, 0]]
    assert found.objective_weights.tolist() == [30, 12]
    assert not found.objective_weights.requires_grad
    with torch.no_grad():
        assert scalarized(cubes, step).objective_weights.tolist() == [30, 12]
