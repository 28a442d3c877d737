"""Derivatives of the dual functions against finite differences, and what instances share."""

from itertools import pairwise

import pytest
import torch

from paretune.core.constrained import DIVERGENCES
from paretune.functional.constrained_dual import ConstrainedTables, DivergenceDual, KLDual

SMOOTH = [name for name in DIVERGENCES if name != "total_variation"]
STEP = 1e-5


@pytest.fixture(params=[0, 1])
def tables(request):
    generator = torch.Generator().manual_seed(request.param)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    ref = rand(4, 3, 6).log()
    return ConstrainedTables.of(ref, rand(4, 3, 6), rand(4, 3, 6, 2), rand(4, 2), 0.3, weights)


@pytest.mark.parametrize("divergence", SMOOTH)
def test_derivatives(tables, divergence):
    dual = DivergenceDual(tables.dual(0.3), divergence, 0.5)
    x = torch.tensor([0.3, 1.1], dtype=torch.float64).expand(4, 2)
    _, gradient, hessian = dual.at(x)
    for k, move in enumerate(STEP * torch.eye(2, dtype=torch.float64)):
        high, low = dual.at(x + move), dual.at(x - move)
        slope = (high[0] - low[0]) / (2 * STEP)
        assert torch.allclose(gradient[:, k], slope, atol=1e-8)
        bend = (high[1] - low[1]) / (2 * STEP)
        assert torch.allclose(hessian[:, k], bend, atol=1e-6)


def test_reverse_kl_is_the_same_twice(tables):
    x = torch.tensor([0.3, 1.1], dtype=torch.float64).expand(4, 2)
    special, general = tables.dual(0.3), DivergenceDual(tables.dual(0.3), "reverse_kl", 0.5)
    for a, b in zip(special.at(x), general.at(x), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_lower_bound_is_below_every_policy(tables):
    dual: KLDual = tables.dual(0.3)
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        policy = (8 * torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)).softmax(-1)
        terms = policy * (dual.primary - policy.log() + dual.ref)
        assert ((tables.weights * terms.sum(-1)).sum(-1) > dual.lower_bound()).all()


def test_some_of_the_instances(tables):
    x = torch.rand(4, 2, dtype=torch.float64)
    rows = torch.tensor([2, 0])
    for dual in (tables.dual(0.3), DivergenceDual(tables.dual(0.3), "jsd", 0.5)):
        for part, whole in zip(dual.take(rows).at(x[rows]), dual.at(x), strict=True):
            assert torch.allclose(part, whole[rows], atol=1e-14)


def test_stages_end_at_the_tau_asked_for(tables):
    spread = float(tables.spread)
    stages = tables.stages(0.01)
    assert stages[-1] == 0.01
    assert stages[0] >= spread
    assert all(a / b == pytest.approx(4) for a, b in pairwise(stages))
    assert tables.stages(5.0) == [5.0]
