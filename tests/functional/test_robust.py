"""Robust constrained optima against a known instance, a primal solver, and their own proof."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paretune.errors import InfeasibleError, InputError, ShapeError
from paretune.functional import robust_dual
from paretune.functional.constrained import constrained_optimum
from paretune.functional.robust import (
    adversary,
    kl_ball_bound,
    plug_in_optimum,
    robust_optimum,
)

SEEDS = (0, 1)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def known():
    """Reference, primary, secondary, floor, tau and radius of the known instance."""
    ref = tensor([[0.2, 0.3, 0.5]]).log()
    q = tensor([[[0.3], [0.6], [0.5]]])
    return ref, tensor([[0.8, 0.5, 0.2]]), q, tensor([0.38]), 0.3, 0.05


def test_known_instance(known):
    found = robust_optimum(*known)
    policy = [0.44441620, 0.31148365, 0.24410015]
    assert found.logps.exp()[0].tolist() == pytest.approx(policy, abs=1e-6)
    assert found.multipliers.item() == pytest.approx(0.31661, abs=1e-5)
    assert found.temperatures.item() == pytest.approx(0.61146, abs=1e-5)
    assert found.bounds.item() == pytest.approx(0.38, abs=1e-10)
    assert abs(found.gap.item()) < 1e-10
    values = known[2][..., 0]
    start, _ = kl_ball_bound(values, known[0].exp(), 0.05)
    assert start.item() == pytest.approx(0.455695, abs=1e-6)


def test_plug_in_is_not_the_optimum(known):
    exact, plugged = robust_optimum(*known), plug_in_optimum(*known, rate=5.0)
    assert plugged.bounds.item() == pytest.approx(0.38, abs=1e-9)
    assert exact.value - plugged.value > 0.0016
    assert (exact.logps.exp() - plugged.logps.exp()).abs().max() > 0.04
    # Its own certificate says so.
    assert plugged.gap > 0.01


def test_policy_satisfies_its_stationarity(known):
    ref, p, q, _, tau, radius = known
    found = robust_optimum(*known)
    values = (found.logps - ref).exp() * q[..., 0]
    _, chi = kl_ball_bound(values, ref.exp(), radius)
    weights = adversary(values, ref.exp(), chi)
    expected = (ref + (p + found.multipliers * weights * q[..., 0]) / tau).log_softmax(-1)
    assert torch.allclose(found.logps, expected, atol=1e-9)


def test_radius_zero_is_the_nominal_optimum(known):
    ref, p, q, _, tau, _ = known
    floor = tensor([0.5])
    nominal = constrained_optimum(ref, p, q, floor, tau)
    found = robust_optimum(ref, p, q, floor, tau, 0.0)
    assert torch.equal(found.logps, nominal.logps)
    assert torch.equal(found.multipliers, nominal.multipliers)
    assert found.bounds.item() == pytest.approx(0.5)
    assert found.temperatures.item() == math.inf
    assert abs(found.gap.item()) < 1e-12
    near = robust_optimum(ref, p, q, floor, tau, 1e-9)
    assert near.multipliers.item() == pytest.approx(nominal.multipliers.item(), abs=1e-3)


def draw(seed):
    """A random problem, its floors some share of what the reference reaches in the worst case."""
    generator = np.random.default_rng(seed)
    n_contexts, n_actions, n = generator.integers((1, 2, 1), (4, 7, 4))
    ref = generator.dirichlet(np.full(n_actions, 2.0), n_contexts).clip(0.02)
    ref /= ref.sum(1, keepdims=True)
    p, q = generator.random((n_contexts, n_actions)), generator.random((n_contexts, n_actions, n))
    weights = generator.dirichlet(np.full(n_contexts, 3.0))
    radius, tau = generator.choice([0.001, 0.05, 0.15]), generator.choice([0.08, 0.3, 1.0])
    bound, _ = kl_ball_bound(
        tensor(q.reshape(-1, n).T), tensor((weights[:, None] * ref).ravel()), float(radius)
    )
    floors = bound.numpy() * generator.uniform(0.95, 1.0, n)
    return ref, p, q, floors, float(tau), float(radius), weights


def solve(ref, p, q, floors, tau, radius, weights):
    return robust_optimum(
        tensor(ref).log(), tensor(p), tensor(q), tensor(floors), tau, radius, tensor(weights)
    )


def primal(ref, p, q, floors, tau, radius, weights):
    """SLSQP over importance ratios, with the bound's own gradient r q."""
    base = (weights[:, None] * ref).ravel()
    p, q = p.ravel(), q.reshape(-1, q.shape[-1])
    sums = np.kron(np.eye(len(ref)), np.ones(ref.shape[1])) * ref.ravel()

    def slack(w):
        return kl_ball_bound(tensor(w * q.T), tensor(base), radius)[0].numpy() - floors

    def slack_gradient(w):
        values = tensor(w * q.T)
        _, chi = kl_ball_bound(values, tensor(base), radius)
        return base * adversary(values, tensor(base), chi).numpy() * q.T

    found = minimize(
        lambda w: -(base * (w * p - tau * w * np.log(w))).sum(),
        np.ones(len(base)),
        jac=lambda w: -base * (p - tau * (np.log(w) + 1)),
        method="SLSQP",
        bounds=[(1e-10, None)] * len(base),
        constraints=[
            {"type": "eq", "fun": lambda w: sums @ w - 1, "jac": lambda w: sums},
            {"type": "ineq", "fun": slack, "jac": slack_gradient},
        ],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert slack(found.x).min() > -1e-7
    return -found.fun


@pytest.mark.parametrize("seed", range(16))
def test_random_instances_against_the_primal_and_their_proof(seed):
    problem = draw(seed)
    found, floors = solve(*problem), tensor(problem[3])
    assert found.gap.abs() <= 1e-10
    assert (found.bounds - floors).min() >= -1e-11
    assert (found.multipliers * (found.bounds - floors)).abs().max() <= 1e-10
    assert (found.bounds < found.constraints).all()
    assert found.value.item() == pytest.approx(primal(*problem), abs=1e-5)


def test_random_instances_are_worth_testing():
    found = [solve(*draw(seed)).multipliers for seed in range(16)]
    assert sum(bool((x > 0).any()) for x in found) >= 6
    assert sum(bool((x > 0).sum() > 1) for x in found) >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_ball_costs_more(seed):
    ref, p, q, _, tau, _, weights = draw(seed)
    bound, _ = kl_ball_bound(
        tensor(q.reshape(-1, q.shape[-1]).T), tensor((weights[:, None] * ref).ravel()), 0.15
    )
    values = [
        solve(ref, p, q, bound.numpy(), tau, radius, weights).value.item()
        for radius in (0.0, 0.01, 0.05, 0.15)
    ]
    assert (np.diff(values) <= 1e-10).all()
    assert values[0] > values[-1] or np.allclose(values, values[0])


@pytest.mark.parametrize("tau", [0.003, 0.01, 0.08])
def test_small_tau_and_a_large_ball(tau):
    ref, p, q, _, _, _, weights = draw(5)
    base = tensor((weights[:, None] * ref).ravel())
    bound, _ = kl_ball_bound(tensor(q.reshape(-1, q.shape[-1]).T), base, 0.15)
    floors = 0.9995 * bound.numpy()
    found = solve(ref, p, q, floors, tau, 0.15, weights)
    assert found.gap.abs() <= 1e-7
    assert (found.bounds - tensor(floors)).min() >= -1e-8


def test_two_actions_by_their_floor():
    # Every policy is one number, x, of the second action. Its bound rises with x up to where both
    # ratios are equal, so the floor of a given policy is kept best by that policy or the reference.
    ref, kept = tensor([[0.83, 0.17]]), tensor([[0.4, 0.6]])
    q = torch.full((1, 2, 1), 0.25, dtype=torch.float64)
    floor, _ = kl_ball_bound((kept / ref * 0.25)[0], ref[0], 0.15)
    found = robust_optimum(ref.log(), tensor([[0.25, 0.75]]), q, floor[None], 0.01, 0.15)
    # With tau this small only the floor keeps the policy from the second action.
    assert found.logps.exp()[0].tolist() == pytest.approx([0.4, 0.6], abs=1e-9)
    assert abs(found.gap.item()) <= 1e-10


def test_a_ball_that_may_hold_a_single_action():
    # Radius .5 covers the action of probability .7 (-log .7 = .36), so its value must be the floor
    # at least, pi_1 >= .7 * .3 / .5 = .42, and with it that of every other: pi_2 >= .2 * .3 = .06.
    ref = tensor([[0.7, 0.2, 0.1]])
    q = tensor([[[0.5], [1.0], [1.0]]])
    found = robust_optimum(ref.log(), tensor([[0.0, 0.5, 1.0]]), q, tensor([0.3]), 0.05, 0.5)
    assert found.logps.exp()[0].tolist() == pytest.approx([0.42, 0.06, 0.52], abs=1e-4)
    assert abs(found.gap.item()) <= 1e-4
    assert found.bounds.item() == pytest.approx(0.3, abs=1e-8)


def test_infeasibility_is_found_without_long_searches(known, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(1)
        return kl_ball_bound(*arguments)

    monkeypatch.setattr(robust_dual, "kl_ball_bound", counted)
    with pytest.raises(InfeasibleError):
        robust_optimum(*known[:3], tensor([0.55]), known[4], 0.15)
    assert len(calls) < 500


def test_absent_actions(known):
    ref, p, q, *rest = known
    more = torch.cat([ref, tensor([[-math.inf]])], 1)
    nan = tensor([[math.nan]])
    found = robust_optimum(more, torch.cat([p, nan], 1), torch.cat([q, nan[..., None]], 1), *rest)
    exact = robust_optimum(*known)
    assert torch.allclose(found.logps[:, :3], exact.logps, atol=1e-10)
    assert found.logps[0, 3].item() == -math.inf


def test_infeasible_floors(known):
    ref, p, q, _, tau, radius = known
    with pytest.raises(InfeasibleError, match=r"best seen 0.6"):
        robust_optimum(ref, p, q, tensor([0.7]), tau, radius)
    with pytest.raises(InfeasibleError, match=r"0.55 can be met on average.*worst case"):
        robust_optimum(ref, p, q, tensor([0.55]), tau, 0.15)


def test_bad_arguments(known):
    ref, p, q, floor, tau, radius = known
    with pytest.raises(InputError, match="radius"):
        robust_optimum(ref, p, q, floor, tau, -0.1)
    with pytest.raises(InputError, match="tau"):
        robust_optimum(ref, p, q, floor, 0.0, radius)
    with pytest.raises(ShapeError):
        robust_optimum(ref[None], p[None], q[None], floor, tau, radius)
    with pytest.raises(ShapeError):
        robust_optimum(ref, p[:, :2], q, floor, tau, radius)
