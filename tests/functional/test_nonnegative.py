"""Minimizer over non-negative variables on functions whose minimum is known."""

from dataclasses import dataclass

import pytest
import torch

from paretune.functional.nonnegative import nonnegative_minimum

NONE = -float("inf")


@dataclass
class Quadratics:
    """(x - center)' matrix (x - center) / 2."""

    matrix: torch.Tensor
    center: torch.Tensor

    def at(self, x):
        pull = (self.matrix @ (x - self.center)[..., None]).squeeze(-1)
        return (pull * (x - self.center)).sum(-1) / 2, pull, self.matrix

    def take(self, rows):
        return Quadratics(self.matrix[rows], self.center[rows])


@dataclass
class Exponentials:
    """e^{-x} + slope x: minimum at -log slope; without a minimum where slope < 0."""

    slope: torch.Tensor

    def at(self, x):
        fall = (-x).exp()
        value = (fall + self.slope * x).sum(-1)
        return value, self.slope - fall, torch.diag_embed(fall)

    def take(self, rows):
        return Exponentials(self.slope[rows])


def minimize(functions, start, bound=NONE, **options):
    return nonnegative_minimum(functions, start, torch.full((len(start),), bound), **options)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_quadratic_by_hand():
    # Free minimum (1, -1). On x2 = 0 the slope in x1 is 2 (x1 - 1) + (0 + 1) = 0 at x1 = 1/2.
    functions = Quadratics(tensor([[[2.0, 1.0], [1.0, 2.0]]]), tensor([[1.0, -1.0]]))
    x, residual, value = minimize(functions, tensor([[5.0, 5.0]]))
    assert x[0].tolist() == pytest.approx([0.5, 0.0], abs=1e-12)
    assert residual.item() <= 1e-14
    # (-1/2, 1) in the form: (2/4 - 1 + 2) / 2 = 3/4.
    assert value.item() == pytest.approx(0.75)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_quadratics_meet_their_conditions(seed):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(50, 4, 4, generator=generator, dtype=torch.float64)
    center = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    functions = Quadratics(factor @ factor.mT / 4, center)
    x, residual, _ = minimize(functions, torch.zeros(50, 4, dtype=torch.float64))
    _, gradient, _ = functions.at(x)
    assert (x >= 0).all()
    assert (gradient >= -1e-10).all()
    assert (x * gradient).abs().max() <= 1e-10
    assert residual.max() <= 1e-9
    assert 0.2 < (x > 0).double().mean() < 0.8


def test_flat_start_and_a_function_without_minimum():
    slopes = tensor([[1e-12], [0.5], [2.0], [-0.1]])
    start = torch.zeros(4, 1, dtype=torch.float64)
    x, residual, value = minimize(Exponentials(slopes), start, bound=-1e3)
    assert x[:3, 0].tolist() == pytest.approx([27.631021115, 0.693147181, 0.0], abs=1e-6)
    assert residual[:3].max() <= 1e-12
    assert value[3] < -1e3
    assert start.eq(0).all()


def test_reach_keeps_variables_inside():
    seen = []

    @dataclass
    class Logs:
        """x - log x: infinite at 0, minimum 1 at 1."""

        def at(self, x):
            seen.append(x.min().item())
            return (x - x.log()).sum(-1), 1 - 1 / x, torch.diag_embed(x**-2)

        def take(self, rows):
            return self

    x, _, value = minimize(Logs(), tensor([[30.0]]), reach=0.9)
    assert x.item() == pytest.approx(1)
    assert value.item() == pytest.approx(1)
    assert min(seen) > 0


def test_repeated_variables_share():
    # (x1 + x2 - 1)^2 / 2: singular, any split is a minimum.
    ones = torch.ones(1, 2, 2, dtype=torch.float64)
    x, residual, _ = minimize(Quadratics(ones, tensor([[0.5, 0.5]])), tensor([[0.0, 3.0]]))
    assert x.sum().item() == pytest.approx(1)
    assert residual.item() <= 1e-12
