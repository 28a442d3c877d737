"""Weights from gradients: what they promise, and torchjd's own answers from the gradients."""

import sys

import pytest
import torch

from paretune.errors import ConfigError, ShapeError
from paretune.functional.gradient_combination import MGDA, UPGrad
from paretune.functional.scalarizer import StepLosses

pytest.importorskip("torchjd")


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def jacobian(n_objectives, seed=0):
    return torch.randn(
        n_objectives, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def test_mgda_by_hand():
    # Orthogonal gradients of lengths 1 and 2: the shortest mixture has weights 4/5 and 1/5.
    weights = MGDA(epsilon=1e-9).combine(torch.diag(double(1.0, 4.0)), double(0.5, 0.5))
    assert weights.tolist() == pytest.approx([0.8, 0.2], abs=1e-6)
    # Opposite gradients cancel.
    cancel = MGDA(epsilon=1e-9).combine(double([1.0, -1.0], [-1.0, 1.0]), double(0.9, 0.1))
    assert cancel.tolist() == pytest.approx([0.5, 0.5], abs=1e-6)


def test_mgda_of_one_pair_is_its_weakest_objective():
    slopes = double(0.9, 0.5, 0.1)
    weights = MGDA().combine(slopes[:, None] * slopes, double(0.4, 0.3, 0.3))
    assert weights.tolist() == pytest.approx([0, 0, 1], abs=1e-6)


def test_upgrad_without_conflict_is_the_trade_off():
    weights = UPGrad().combine(torch.eye(3, dtype=torch.float64), double(0.5, 0.3, 0.2))
    assert weights.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scalarizer", [MGDA(1e-6, 5000), UPGrad()], ids=repr)
def test_the_step_harms_no_objective(scalarizer, seed):
    rows = jacobian(4, seed)
    weights = scalarizer.combine(rows @ rows.T, double(0.4, 0.3, 0.2, 0.1))
    assert (rows @ (weights @ rows) > -2e-3).all()
    assert (weights >= -1e-9).all()


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_torchjd_from_the_gradients(seed):
    from torchjd import aggregation

    rows, w = jacobian(3, seed), double(0.5, 0.3, 0.2)
    gramian = rows @ rows.T
    step = UPGrad().combine(gramian, w) @ rows
    torch.testing.assert_close(step, aggregation.UPGrad(pref_vector=w)(rows))
    torch.testing.assert_close(MGDA().combine(gramian, w) @ rows, aggregation.MGDA()(rows))


@pytest.mark.parametrize("scalarizer", [MGDA(), UPGrad()], ids=repr)
def test_an_objective_of_no_weight_is_left_out(scalarizer):
    rows = jacobian(3)
    gramian = rows @ rows.T
    found = scalarizer.combine(gramian, double(0.5, 0.0, 0.5))
    keep = torch.tensor([0, 2])
    alone = scalarizer.combine(gramian[keep][:, keep], double(0.5, 0.5))
    assert found.tolist() == [alone[0], 0, alone[1]]


def test_the_loss_is_the_mean_losses_with_the_weights_of_the_state():
    losses = double([0.2, 1.0], [0.6, 0.4])
    step = StepLosses(
        losses,
        double([0.5, 0.5], [0.5, 0.5]),
        torch.ones(2, 2, dtype=torch.bool),
        torch.zeros(2, 2),
        double(1.0, 1.0),
    )
    for scalarizer in (MGDA(), UPGrad()):
        assert scalarizer.needs_gradients
        assert not scalarizer.is_separable
        assert float(scalarizer(step, scalarizer.start(2)).loss) == pytest.approx(0.55)
        found = scalarizer(step, double(0.9, 0.1))
        assert float(found.loss) == pytest.approx(0.9 * 0.4 + 0.1 * 0.7)
        assert found.objective_weights.tolist() == pytest.approx([0.9, 0.1])


def test_what_is_refused():
    with pytest.raises(ShapeError, match="for 3 weights"):
        UPGrad().combine(torch.eye(2), double(0.5, 0.3, 0.2))
    with pytest.raises(ConfigError, match="epsilon"):
        MGDA(epsilon=0)
    with pytest.raises(ConfigError, match="max_rounds"):
        MGDA(max_rounds=0)


def test_without_torchjd_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    for scalarizer in (MGDA(), UPGrad()):
        with pytest.raises(ConfigError, match=r"pip install 'paretune\[gradients\]'"):
            scalarizer.combine(torch.eye(2).double(), double(0.5, 0.5))
