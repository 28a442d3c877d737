"""Losses of each objective against hand values, identities and their parents."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.losses import PairBatch, dpo_loss, ipo_loss, mean_dpo_loss
from paretune.functional.objective_losses import (
    ideal_losses,
    margin_losses,
    objective_losses,
    used_labels,
    weights_per_pair,
)

NAN = math.nan
KINDS = ("sigmoid", "ipo", "soft")
margin = st.floats(-30, 30)
label = st.floats(-1, 1)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def one(m, s, kind, beta=1.0):
    return float(margin_losses(double(m), double(s)[None], kind, beta))


def some_batch(labels):
    generator = torch.Generator().manual_seed(0)
    n = len(labels)
    logps = -5 * torch.rand(4, n, dtype=torch.float64, generator=generator)
    tokens = torch.randint(1, 9, (2, n), generator=generator)
    return PairBatch(*logps, *tokens, labels)


def test_values_by_hand():
    # beta 2, margin .5, label .5: slope .5, target .125, probability .75.
    assert one(0.5, 0.5, "sigmoid", 2) == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert one(0.5, 0.5, "ipo", 2) == pytest.approx(0.375**2)
    good, bad = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert one(0.5, 0.5, "soft", 2) == pytest.approx(0.75 * good + 0.25 * bad)


@pytest.mark.parametrize(
    ("kind", "is_length_normalized", "parent"),
    [
        ("sigmoid", False, dpo_loss),
        ("sigmoid", True, mean_dpo_loss),
        ("ipo", True, ipo_loss),
        ("soft", False, dpo_loss),
    ],
)
def test_labels_of_one_give_the_parent(kind, is_length_normalized, parent):
    batch = some_batch(torch.ones(7, 3, dtype=torch.float64))
    found = objective_losses(batch, kind, 0.3, is_length_normalized)
    expected = parent(batch, 0.3)[:, None].expand(7, 3)
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@given(m=margin, s=label)
def test_swapping_responses_and_labels_changes_nothing(kind, m, s):
    # Exact but for soft, where 1 - p rounds.
    slack = 1e-14 if kind == "soft" else 0.0
    assert one(m, s, kind) == pytest.approx(one(-m, -s, kind), rel=slack, abs=slack)


@given(m=margin, s=label)
def test_a_signed_label_is_two_labels_of_a_scale_from_zero(m, s):
    mirrored = one(m, max(s, 0), "sigmoid") + one(-m, max(-s, 0), "sigmoid")
    assert one(m, s, "sigmoid") + math.log(2) == pytest.approx(mirrored, abs=1e-14)


@given(m=st.floats(-5, 5), s=st.lists(label, min_size=2, max_size=6))
def test_weighted_losses_collapse_to_the_loss_of_the_mean_label(m, s):
    labels = double(*s)
    w = torch.full_like(labels, 1 / len(s))
    mean = float(w @ labels)
    beta = 0.7
    variance = float(w @ (labels - mean) ** 2)
    sums = {k: float(w @ margin_losses(double(m), labels[None], k, beta)[0]) for k in KINDS}
    assert sums["ipo"] == pytest.approx(one(m, mean, "ipo", beta) + variance / (4 * beta**2))
    assert sums["soft"] == pytest.approx(one(m, mean, "soft", beta), rel=1e-12)
    # Jensen: for the slope form only a bound.
    assert sums["sigmoid"] >= one(m, mean, "sigmoid", beta) - 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_finite_far_out(kind):
    m = double(1e4, -1e4).requires_grad_()
    losses = margin_losses(m, double([1.0, -0.5, 0.0], [1.0, -0.5, 0.0]), kind, 1.0)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(m.grad).all()
    if kind == "sigmoid":
        assert losses.tolist() == [
            [0, 5000, pytest.approx(math.log(2))],
            [1e4, 0, pytest.approx(math.log(2))],
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_labels_are_zero_without_gradient(kind):
    m = double(0.3, -0.7).requires_grad_()
    losses = margin_losses(m, double([NAN, NAN], [0.5, NAN]), kind, 1.0)
    assert losses[0].tolist() == [0, 0]
    assert losses[1, 1] == 0
    losses.sum().backward()
    assert m.grad[0] == 0
    assert m.grad[1] != 0


def test_score_modes():
    labels = double([0.5, -0.5, NAN])
    assert used_labels(labels) is labels
    assert used_labels(labels, "clip").nan_to_num(9).tolist() == [[0.5, 0, 9]]
    with pytest.raises(InputError, match=r"-0.5 in pair 0, objective 1, expected \[0, 1\]"):
        used_labels(labels, "error")
    assert used_labels(labels.abs(), "error").nan_to_num(9).tolist() == [[0.5, 0.5, 9]]
    with pytest.raises(ConfigError, match="did you mean 'signed'"):
        used_labels(labels, "sign")


@pytest.mark.parametrize("wrong", [1.01, -1.5, math.inf])
def test_labels_out_of_range_are_refused(wrong):
    batch = some_batch(double([0.0, NAN], [0.0, wrong]))
    with pytest.raises(InputError, match="pair 1, objective 1"):
        objective_losses(batch)


def test_unknown_words_and_numbers_are_refused():
    batch = some_batch(double([1.0]))
    with pytest.raises(ConfigError, match="did you mean 'sigmoid'"):
        objective_losses(batch, "sigmoids")
    with pytest.raises(ConfigError, match="beta"):
        objective_losses(batch, beta=0.0)
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        ideal_losses(batch.labels, ideal="margins")
    with pytest.raises(ConfigError, match="kind"):
        ideal_losses(batch.labels, "other")
    with pytest.raises(ConfigError, match="kappa"):
        ideal_losses(batch.labels, kappa=-1)


def test_ideals_by_hand():
    labels = double([1.0, -1.0, 0.0, 0.5, NAN])
    log2 = math.log(2)
    assert ideal_losses(labels)[0].tolist() == pytest.approx(
        [0.00247569, 0.00247569, log2, math.log(1 + math.exp(-3)), 0], abs=1e-8
    )
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert ideal_losses(labels, "soft")[0].tolist() == pytest.approx([0, 0, log2, entropy, 0])
    assert not ideal_losses(labels, "ipo").any()
    assert not ideal_losses(labels, "sigmoid", "zero").any()


@pytest.mark.parametrize("kind", ["ipo", "soft"])
@given(m=margin, s=label)
def test_no_loss_is_below_its_ideal(kind, m, s):
    ideal = float(ideal_losses(double([s]), kind))
    assert one(m, s, kind) >= ideal - 1e-12


@given(s=label, kappa=st.floats(0.5, 12))
def test_the_ideal_of_sigmoid_is_the_loss_at_kappa(s, kappa):
    ideal = float(ideal_losses(double([s]), "sigmoid", kappa=kappa))
    assert ideal == pytest.approx(one(math.copysign(kappa, s), s, "sigmoid"), rel=1e-12)


def test_weights_are_renormalized_over_what_is_labelled():
    labelled = torch.tensor([[True, True], [False, True], [False, False]])
    assert weights_per_pair(double(3, 1), labelled).tolist() == [[0.75, 0.25], [0, 1], [0, 0]]
    own = double([1, 0], [1, 0], [1, 0])
    assert weights_per_pair(own, labelled).tolist() == [[1, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("wrong", [(-0.1, 1.1), (NAN, 1.0), (math.inf, 1.0), (0.0, 0.0)])
def test_weights_that_are_none_are_refused(wrong):
    labelled = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="weights"):
        weights_per_pair(double(*wrong), labelled)
    with pytest.raises(ShapeError, match="weights"):
        weights_per_pair(double(1.0, 1.0, 1.0), labelled)
