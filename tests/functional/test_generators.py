"""The seven f, their slopes and inverses, by hand and against automatic differentiation."""

import math
from functools import partial

import pytest
import torch

from paretune.core.constrained import DIVERGENCES
from paretune.errors import InputError
from paretune.functional.generators import generator, log_lambert

INVERTIBLE = [name for name in DIVERGENCES if name != "total_variation"]
CASES = [*((name, 0.5) for name in INVERTIBLE), ("alpha", 0.1), ("alpha", 0.9)]
WITHOUT_BARRIER = {"total_variation", "chi_squared"}
tensor = partial(torch.tensor, dtype=torch.float64)

# f and f' at the ratio 4, worked out from the table of formulas; alpha = 1/2.
AT_FOUR = {
    "reverse_kl": (4 * math.log(4), math.log(4) + 1),
    "forward_kl": (-math.log(4), -1 / 4),
    "jsd": (4 * math.log(4) - 5 * math.log(2.5), math.log(1.6)),
    "alpha": ((2 - 2 - 0.5) / -0.25, 2 * (1 - 1 / 2)),
    "jeffrey": (3 * math.log(4), math.log(4) + 3 / 4),
    "total_variation": (3 / 2, 1 / 2),
    "chi_squared": (9, 6),
}
# Limits of f at the ratio 0.
AT_ZERO = {
    "reverse_kl": 0,
    "forward_kl": math.inf,
    "jsd": math.log(2),
    "alpha": 2,
    "jeffrey": math.inf,
    "total_variation": 1 / 2,
    "chi_squared": 1,
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_value_and_slope_by_hand(name):
    f, ratio = generator(name), tensor(4.0).log()
    value, slope = AT_FOUR[name]
    assert f.value(ratio).item() == pytest.approx(value, rel=1e-14)
    assert f.slope(ratio).item() == pytest.approx(slope, rel=1e-14)
    assert f.value(tensor(0.0)).item() == pytest.approx(0, abs=1e-16)
    assert f.value(tensor(-math.inf)).item() == pytest.approx(AT_ZERO[name])


@pytest.mark.parametrize(("name", "alpha"), [*CASES, ("total_variation", 0.5)])
def test_slope_is_the_derivative_and_rises(name, alpha):
    f = generator(name, alpha)
    ratios = torch.linspace(-3, 3, 62, dtype=torch.float64).requires_grad_()
    (per_log_ratio,) = torch.autograd.grad(f.value(ratios).sum(), ratios)
    expected = (per_log_ratio / ratios.exp()).detach()
    assert f.slope(ratios).detach() == pytest.approx(expected, abs=1e-12)
    assert (f.slope(ratios).diff() >= 0).all()
    if name in INVERTIBLE:
        (fall,) = torch.autograd.grad(f.slack(ratios).sum(), ratios)
        assert f.slack_slope(ratios).detach() == pytest.approx(fall, abs=1e-12)


@pytest.mark.parametrize(("name", "alpha"), CASES)
def test_inverse_undoes_the_slope(name, alpha):
    f = generator(name, alpha)
    near = torch.linspace(-4, 4, 801, dtype=torch.float64)
    assert f.inverse(f.slope(near)) == pytest.approx(near, abs=1e-12)
    # Far out f' itself is rounded to its bound; its slack is not.
    far = torch.linspace(0, 500, 801, dtype=torch.float64)
    assert f.from_slack(f.slack(far)) == pytest.approx(far, abs=1e-11)


@pytest.mark.parametrize("name", [n for n in INVERTIBLE if n != "chi_squared"])
def test_tiny_ratios_survive_the_way_to_the_slope_and_back(name):
    ratios = torch.linspace(-300, 0, 801, dtype=torch.float64)
    f = generator(name)
    assert f.from_slack(f.slack(ratios)) == pytest.approx(ratios, abs=1e-11)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_barrier_is_a_slope_without_lower_bound(name):
    f = generator(name)
    lowest = f.slope(tensor(-math.inf)).item()
    assert f.has_barrier == (name not in WITHOUT_BARRIER) == (lowest == -math.inf)


def test_inverse_outside_the_slopes():
    assert generator("chi_squared").inverse(tensor([-2.0, -5.0])).tolist() == [-math.inf] * 2
    assert generator("forward_kl").inverse(tensor(0.1)).isnan()
    with pytest.raises(InputError, match="its slope only takes"):
        generator("total_variation").inverse(tensor(0.1))


def test_log_lambert_solves_its_equation():
    # W(e) = 1 and W(2 e^2) = 2.
    assert log_lambert(tensor([1.0, 2 + math.log(2)])) == pytest.approx(tensor([0.0, math.log(2)]))
    x = torch.linspace(-80, 80, 4001, dtype=torch.float64)
    assert log_lambert(x.exp() + x) == pytest.approx(x, abs=1e-13)
    huge = tensor([1e17, 1e19, 1e300, -1e17, -1e300, math.inf, -math.inf])
    expected = torch.where(huge > 0, huge.clamp(min=1).log(), huge)
    assert log_lambert(huge) == pytest.approx(expected, rel=1e-15)
    assert log_lambert(torch.tensor(1e38)).item() == pytest.approx(38 * math.log(10), rel=1e-6)


def test_bad_names_are_refused():
    with pytest.raises(InputError, match="did you mean 'jeffrey'"):
        generator("jeffreys")
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match=f"alpha {alpha}"):
            generator("alpha", alpha)
    assert generator("jsd", alpha=7.0).has_barrier
