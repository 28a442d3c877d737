"""The robust lower bound against constants, direct minimization, and its own limits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paretune.errors import InputError, ShapeError
from paretune.functional.robust_bound import (
    adversary,
    bound_at,
    kl_ball_bound,
    kl_to_base,
    temperature_gradient,
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


COIN = tensor(0.5, 0.5)
DIE = torch.full((6,), 1 / 6, dtype=torch.float64)
SIX = tensor(0.1, 0.3, 0.4, 0.6, 0.9, 1.2)


@pytest.mark.parametrize(
    ("radius", "bound", "temperature"),
    [(0.01, 0.429407, 3.517792), (0.15, 0.233228, 0.840213), (0.5, 0.048189, 0.335206)],
)
def test_coin_constants(radius, bound, temperature):
    found, chi = kl_ball_bound(tensor(0, 1), COIN, radius)
    assert found.item() == pytest.approx(bound, abs=1e-6)
    assert chi.item() == pytest.approx(temperature, abs=1e-6)
    # By hand: the adversary gives 1 the probability x, and KL = log 2 + x log x + (1-x) log(1-x).
    x = found.item()
    divergence = math.log(2) + x * math.log(x) + (1 - x) * math.log(1 - x)
    assert divergence == pytest.approx(radius, abs=1e-12)


def test_limits_by_hand():
    values = tensor(0.2, 1.0)
    assert [x.item() for x in kl_ball_bound(values, COIN, 0.0)] == [0.6, math.inf]
    for radius in (math.log(2), 0.7, 50.0):
        assert [x.item() for x in kl_ball_bound(values, COIN, radius)] == [0.2, 0.0]
    near = kl_ball_bound(values, COIN, math.log(2) - 1e-6)
    assert 0.2 < near[0].item() < 0.2001
    assert kl_ball_bound(tensor(0.3, 0.3), COIN, 0.1)[0].item() == pytest.approx(0.3)


def test_impossible_values_do_not_count():
    base = tensor(0.5, 0.5, 0.0)
    found, chi = kl_ball_bound(tensor(0, 1, -9), base, 0.15)
    assert found.item() == pytest.approx(0.233228, abs=1e-6)
    assert adversary(tensor(0, 1, -9), base, chi)[2].item() == 0
    assert kl_ball_bound(tensor(0, 1, -9), base, 0.0)[0].item() == 0.5
    assert kl_ball_bound(tensor(0, 1, -9), base, 1.0)[0].item() == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_against_direct_minimization(seed):
    generator = np.random.default_rng(seed)
    for _ in range(5):
        n = generator.integers(3, 7)
        values, base = generator.random(n), generator.dirichlet(np.ones(n)).clip(0.02)
        base /= base.sum()
        radius = generator.choice([0.01, 0.05, 0.15, 0.4])
        constraints = [
            {"type": "eq", "fun": lambda x: x.sum() - 1},
            {
                "type": "ineq",
                "fun": lambda x, b=base, r=radius: r - (x * np.log(x / b)).sum(),
                "jac": lambda x, b=base: -np.log(x / b) - 1,
            },
        ]
        # One start can end far from the minimum.
        starts = [base, *generator.dirichlet(np.ones(n), 6)]
        found = [
            minimize(
                lambda x, f=values: x @ f,
                start.clip(1e-3),
                jac=lambda x, f=values: f,
                method="SLSQP",
                bounds=[(1e-10, 1)] * n,
                constraints=constraints,
                options={"ftol": 1e-15, "maxiter": 500},
            )
            for start in starts
        ]
        best = min(x.fun for x in found if constraints[1]["fun"](x.x) > -1e-10)
        bound, _ = kl_ball_bound(torch.tensor(values), torch.tensor(base), float(radius))
        assert bound.item() == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_and_best_temperature(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(50, 6, generator=generator, dtype=torch.float64)
    base = torch.rand(50, 6, generator=generator, dtype=torch.float64)
    base = base / base.sum(-1, keepdim=True)
    step = 1e-5
    for factor in (0.3, 1.0, 4.0):
        chi = torch.full((50,), factor, dtype=torch.float64)
        high, low = (bound_at(values, base, chi + s, 0.15) for s in (step, -step))
        slope = temperature_gradient(values, base, chi, 0.15)
        assert torch.allclose(slope, (low - high) / (2 * step), atol=1e-8)
        assert torch.allclose(slope, 0.15 - kl_to_base(values, base, chi), atol=1e-12)
    best, chi = kl_ball_bound(values, base, 0.15)
    is_inside = chi > 0
    assert is_inside.sum() > 40
    assert temperature_gradient(values, base, chi, 0.15)[is_inside].abs().max() < 1e-12
    for factor in (0.5, 0.9, 1.1, 3.0):
        assert (bound_at(values, base, chi.clamp_min(0.01) * factor, 0.15) <= best + 1e-12).all()


def test_temperature_by_projected_descent():
    for start in (0.05, 0.2, 1.0, 5.0):
        chi = tensor(start)[0]
        for _ in range(20000):
            chi = (chi - 0.1 * temperature_gradient(SIX, DIE, chi, 0.15)).clamp_min(1e-3)
            if temperature_gradient(SIX, DIE, chi, 0.15).abs() < 1e-8:
                break
        assert chi.item() == pytest.approx(0.594315, abs=1e-6)
    assert kl_ball_bound(SIX, DIE, 0.15)[1].item() == pytest.approx(0.594315, abs=1e-6)


def test_adversary_attains_the_bound():
    for radius in (0.01, 0.15, 1.0):
        bound, chi = kl_ball_bound(SIX, DIE, radius)
        weights = adversary(SIX, DIE, chi)
        assert (DIE * weights).sum().item() == pytest.approx(1)
        assert (DIE * weights * SIX).sum().item() == pytest.approx(bound.item(), abs=1e-12)
        assert kl_to_base(SIX, DIE, chi).item() == pytest.approx(radius)
        assert (weights.diff() < 0).all()
    assert adversary(SIX, DIE, tensor(0.0)[0]).tolist() == pytest.approx([6, 0, 0, 0, 0, 0])
    assert adversary(SIX, DIE, tensor(math.inf)[0]).tolist() == [1] * 6


def test_values_of_any_size_and_unit():
    for shift, scale in ((0, 1e-6), (1e3, 1.0), (-5, 1e6)):
        bound, chi = kl_ball_bound(shift + scale * SIX, DIE, 0.15)
        assert (bound.item() - shift) / scale == pytest.approx(0.390719209, abs=1e-6)
        assert chi.item() / scale == pytest.approx(0.594315, abs=1e-6)
    # A ball that almost holds the smallest value alone.
    base = tensor(1e-3, 1 - 1e-3)
    bound, chi = kl_ball_bound(tensor(0, 1), base, -math.log(1e-3) - 1e-3)
    assert kl_to_base(tensor(0, 1), base, chi).item() == pytest.approx(-math.log(1e-3) - 1e-3)
    assert 0 < bound.item() < 1e-3


def test_tiny_balls_keep_their_digits():
    # Mean - sqrt(2 radius variance) + skewness radius / 3 ...: the last term is below 1e-12 here.
    radius, mean = 1e-12, SIX.mean().item()
    expected = mean - math.sqrt(2 * radius * SIX.var(unbiased=False).item())
    assert kl_ball_bound(SIX, DIE, radius)[0].item() == pytest.approx(expected, abs=1e-12)


def test_rare_lowest_values_keep_their_digits():
    # m = (1e-12, 1 - 1e-12), chi .01: -chi log(1e-12 + e^-100) is -chi log 1e-12 to 32 digits.
    base = tensor(1e-12, 1 - 1e-12)
    bound = bound_at(tensor(0, 1), base, tensor(0.01)[0], 0.0)
    assert bound.item() == pytest.approx(0.12 * math.log(10), abs=1e-14)


def test_symmetrized_hard_labels():
    # Any data set and its swaps: half of the labels are 1. Mean exactly 1/2, bound .233228.
    labels = np.random.default_rng(3).integers(0, 2, 40)
    both = torch.tensor(np.concatenate([labels, 1 - labels]), dtype=torch.float64)
    base = torch.full((80,), 1 / 80, dtype=torch.float64)
    assert (base * both).sum().item() == pytest.approx(0.5, abs=1e-15)
    assert kl_ball_bound(both, base, 0.15)[0].item() == pytest.approx(0.233228, abs=1e-6)


def test_bad_arguments():
    with pytest.raises(ShapeError):
        kl_ball_bound(SIX, COIN, 0.1)
    with pytest.raises(InputError, match="radius"):
        kl_ball_bound(SIX, DIE, -0.1)
    with pytest.raises(InputError, match="no distribution"):
        kl_ball_bound(SIX, 2 * DIE, 0.1)
