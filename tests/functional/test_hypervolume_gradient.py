"""Weights that spread policies over a front."""

import math

import pytest
import torch

from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.hypervolume_gradient import HypervolumeGradient, hypervolume_gradient


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_by_hand():
    # Below (1, 1): the middle one could gain .5 to the left and .3 downward.
    found = hypervolume_gradient(double([0.1, 0.8], [0.4, 0.3], [0.7, 0.1]), (1.0, 1.0))
    length = math.hypot(0.5, 0.3)
    assert found[1].tolist() == pytest.approx([0.5 / length, 0.3 / length])
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert (found > 0).all()


def test_a_dominated_policy_is_on_a_front_of_its_own():
    front = double([0.1, 0.8], [0.4, 0.3])
    behind = double([0.5, 0.9], [0.9, 0.5])
    found = hypervolume_gradient(torch.cat([front, behind]), (1.0, 1.0))
    for rows, part in ((slice(0, 2), front), (slice(2, 4), behind)):
        torch.testing.assert_close(found[rows], hypervolume_gradient(part, (1.0, 1.0)))


def test_copies_share_their_weights():
    found = hypervolume_gradient(double([0.4, 0.3], [0.4, 0.3], [0.1, 0.8]), (1.0, 1.0))
    apart = hypervolume_gradient(double([0.4, 0.3], [0.1, 0.8]), (1.0, 1.0))
    torch.testing.assert_close(found, apart[[0, 0, 1]])
    alike = hypervolume_gradient(double([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), (1.0, 1.0, 1.0))
    assert alike.flatten().tolist() == pytest.approx([3**-0.5] * 6)


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_descent_spreads_policies_over_a_simplex(n_objectives):
    """Policies start together and end apart, all of them on the front."""
    generator = torch.Generator().manual_seed(0)
    logits = 0.1 * torch.randn(4, n_objectives, dtype=torch.float64, generator=generator)
    logits.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(300):
        losses = 1 - logits.softmax(1)
        weights = hypervolume_gradient(losses, (1.1,) * n_objectives)
        optimizer.zero_grad()
        (weights * losses).sum().backward()
        optimizer.step()
    spread = torch.pdist(logits.detach().softmax(1))
    assert float(spread.min()) > 0.1


def test_what_is_refused():
    with pytest.raises(InputError, match="policy 1 on objective 0"):
        hypervolume_gradient(double([0.5, 0.5], [1.0, 0.2]), (1.0, 1.0))
    with pytest.raises(ShapeError, match="expected"):
        hypervolume_gradient(double([0.5, 0.5]), (1.0, 1.0, 1.0))
    with pytest.raises(NotScoredError, match="mean losses"):
        hypervolume_gradient(double([0.5, math.nan]), (1.0, 1.0))


@pytest.mark.parametrize(("n_objectives", "n_policies", "spread"), [(4, 9, 1e-4), (6, 9, 1e-3)])
def test_policies_that_are_close_get_numbers(n_objectives, n_policies, spread):
    generator = torch.Generator().manual_seed(0)
    planned = torch.full((n_policies, n_objectives), 1 / n_objectives, dtype=torch.float64)
    for _ in range(40):
        noise = torch.randn(n_policies, n_objectives, generator=generator, dtype=torch.float64)
        weights = HypervolumeGradient().spread(0.69 + spread * noise, planned)
        assert torch.isfinite(weights).all() and (weights >= 0).all()
        assert torch.allclose(weights.norm(dim=1), torch.ones(n_policies, dtype=torch.float64))
