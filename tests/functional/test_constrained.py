"""Constrained optima against hand-worked numbers, an independent primal solver and proofs."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paretune.core.constrained import DIVERGENCES
from paretune.errors import InfeasibleError, InputError, ShapeError
from paretune.functional.constrained import constrained_optimum, log_barrier_optimum
from paretune.functional.divergences import divergence_value

SEEDS = (0, 1)


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def column(*values):
    return torch.tensor([[[v] for v in values]], dtype=torch.float64)


def floors_of(*values):
    return torch.tensor(values, dtype=torch.float64)


# p, q, reference, tau, floor; then multiplier, policy and value, each with the digits known.
T1 = ((1, 0.5, 0), (0.5, 1, 0), (1 / 3,) * 3, 0.1, 2 / 3)
T2 = ((0.8, 0.5, 0.2), (0.3, 0.6, 0.5), (0.2, 0.3, 0.5), 0.08, 0.5)
T5 = ((0.9, 0.6, 0.4, 0.1), (0.2, 0.5, 0.8, 0.6), (0.25,) * 4, 0.1, 0.1)
KNOWN = {
    "T1": (T1, 0.86137105, (0.66666585, 0.33333374, 4.08e-7), 0.7871235621),
    "T2": (T2, 1.07671522, (0.33108131, 0.66216261, 0.00675608), 0.5443332266),
    "T5": (T5, 0.0, (0.94619869, 0.04710846, 0.00637544, 0.00031741), None),
}


def solve(p, q, ref, tau, floor, **options):
    return constrained_optimum(
        row(*ref).log(), row(*p), column(*q), floors_of(floor), tau, **options
    )


@pytest.mark.parametrize("name", KNOWN)
def test_known_instances(name):
    problem, multiplier, policy, value = KNOWN[name]
    found = solve(*problem)
    assert found.multipliers.item() == pytest.approx(multiplier, abs=1e-6)
    assert found.logps.exp()[0].tolist() == pytest.approx(policy, abs=1e-6)
    if value is not None:
        assert found.value.item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", KNOWN)
def test_alternating_updates_arrive_at_the_same_multiplier(name):
    (p, q, ref, tau, floor), multiplier, policy, _ = KNOWN[name]
    p, q, ref, x = np.array(p), np.array(q), np.array(ref), 0.0
    for _ in range(20000):
        w = ref * np.exp((p + x * q - (p + x * q).max()) / tau)
        w /= w.sum()
        x = max(0.0, x - 0.5 * tau * (w @ q - floor))
    assert x == pytest.approx(multiplier, abs=1e-6)
    assert w == pytest.approx(policy, abs=1e-6)


def test_normalizer_is_not_left_out():
    # Without it the policy of multiplier 0 has mean weight E[e^{p/tau - 1}] >> 1, so that the floor
    # seems met and the multiplier stays 0.
    p, q, _, tau, floor = T1
    raw = np.exp(np.array(p) / tau - 1)
    assert (raw * np.array(q)).mean() > floor
    assert solve(*T1).multipliers.item() == pytest.approx(0.861371, abs=1e-6)


def test_two_actions_by_hand():
    # The floor fixes pi = (3/4, 1/4) of an even reference, so w = (3/2, 1/2), and
    # (p + lambda q)_1 - (p + lambda q)_2 = tau (f'(3/2) - f'(1/2)): lambda = p2 - p1 + tau (...).
    rise = {
        "reverse_kl": math.log(3),
        "forward_kl": 4 / 3,
        "jsd": math.log(1.8),
        "alpha": 2 * (2**0.5 - 1.5**-0.5),
        "jeffrey": math.log(3) + 4 / 3,
        "chi_squared": 2.0,
        "total_variation": 1.0,
    }
    for divergence in DIVERGENCES:
        found = solve((0, 0.5), (1, 0), (0.5, 0.5), 0.2, 0.75, divergence=divergence)
        assert found.logps.exp()[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-9), divergence
        expected = 0.5 + 0.2 * rise[divergence]
        assert found.multipliers.item() == pytest.approx(expected, abs=1e-8), divergence
        assert found.primary.item() == pytest.approx(0.125, abs=1e-9)
        assert found.constraints.item() == pytest.approx(0.75, abs=1e-9)


def test_five_structures_at_small_tau():
    # Uniform reference over three actions; p and q are the mean labels of observed comparisons.
    even = (1 / 3,) * 3
    d1 = solve((1, 0.5, 0), (1, 0.5, 0), even, 0.1, 0.0)
    assert d1.logps.exp()[0].tolist() == pytest.approx([0.9933, 0.0067, 0], abs=1e-3)
    d2 = solve((1, 1, 0), (1, 1, 0), even, 0.1, 0.0)
    assert d2.logps.exp()[0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-3)
    for floor in (0.6, 2 / 3, 0.9):
        # q = 1/2 pi_1 + pi_2 = b on the first two actions: pi_2 = 2b - 1.
        d3 = solve((1, 0.5, 0), (0.5, 1, 0), even, 0.003, floor)
        expected = [2 - 2 * floor, 2 * floor - 1, 0]
        assert d3.logps.exp()[0].tolist() == pytest.approx(expected, abs=1e-9)
    d4 = solve((0.5,) * 3, (0.5,) * 3, even, 0.1, 0.5)
    assert d4.logps.exp()[0].tolist() == pytest.approx(even, abs=1e-12)
    for tau in (5, 0.5, 0.1, 0.05):
        d5 = solve((0.5, 0.5, 0), (0.5, 0.5, 0), even, tau, 0.0)
        unseen = 1 / (1 + 2 * math.exp(0.5 / tau))
        assert d5.logps.exp()[0, 2].item() == pytest.approx(unseen, abs=1e-12)


def test_divergence_from_reference_falls_in_tau():
    distances = []
    for tau in (0.01, 0.03, 0.1, 0.3, 1, 3):
        found = solve(*T2[:3], tau, T2[4])
        distances.append((found.primary - found.value).item() / tau)
    assert (np.diff(distances) < 0).all()


def primal(ref, p, q, floors, tau, weights):
    """Best policy by SLSQP over probabilities, from several starts: another algorithm."""
    n_contexts, n_actions = ref.shape
    mass = weights[:, None] * np.ones(n_actions)

    def loss(x):
        x = x.reshape(ref.shape)
        log_ratio = np.log(x) - np.log(ref)
        return -(mass * x * (p - tau * log_ratio)).sum(), -(
            mass * (p - tau * (log_ratio + 1))
        ).ravel()

    sums = np.kron(np.eye(n_contexts), np.ones(n_actions))
    cuts = (mass[..., None] * q).reshape(-1, q.shape[-1]).T
    constraints = [
        {"type": "eq", "fun": lambda x: sums @ x - 1, "jac": lambda x: sums},
        {"type": "ineq", "fun": lambda x: cuts @ x - floors, "jac": lambda x: cuts},
    ]
    best = -np.inf
    for share in (0.0, 0.5, 1.0):
        start = (share * ref + (1 - share) / n_actions).ravel()
        found = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(1e-14, 1)] * len(start),
            constraints=constraints,
            options={"ftol": 1e-15, "maxiter": 500},
        )
        if (cuts @ found.x >= floors - 1e-9).all():
            best = max(best, -found.fun)
    return best


def draw(generator, n_secondary=None):
    """A random problem whose floors some policy keeps."""
    n_contexts, n_actions = generator.integers(1, 4), generator.integers(2, 9)
    n_secondary = n_secondary or generator.integers(1, 4)
    ref = generator.dirichlet(np.ones(n_actions), n_contexts).clip(1e-3)
    ref /= ref.sum(1, keepdims=True)
    p = generator.random((n_contexts, n_actions))
    q = generator.random((n_contexts, n_actions, n_secondary))
    weights = generator.dirichlet(np.full(n_contexts, 3.0))
    kept = generator.dirichlet(np.ones(n_actions), n_contexts)
    floors = np.einsum("s,sa,sac->c", weights, kept, q) - 0.01
    tau = generator.choice([0.05, 0.08, 0.2, 0.5, 1.0])
    return ref, p, q, floors, tau, weights


@pytest.mark.parametrize("seed", SEEDS)
def test_random_instances_against_the_primal(seed):
    generator = np.random.default_rng(seed)
    n_active = 0
    for _ in range(30):
        ref, p, q, floors, tau, weights = draw(generator)
        found = constrained_optimum(
            torch.tensor(ref).log(),
            torch.tensor(p),
            torch.tensor(q),
            torch.tensor(floors),
            tau,
            torch.tensor(weights),
        )
        best = primal(ref, p, q, floors, tau, weights)
        assert found.value.item() == pytest.approx(best, abs=1e-6)
        assert found.gap.abs() <= 1e-12
        slack = found.constraints - torch.tensor(floors)
        assert slack.min() >= -1e-12
        assert (found.multipliers >= 0).all()
        assert (found.multipliers * slack).abs().max() <= 1e-12
        n_active += int((found.multipliers > 0).any())
    assert 5 < n_active < 30


@pytest.mark.parametrize("tau", [0.0003, 0.003, 0.08, 1.0, 30.0])
def test_optimality_is_proven_at_every_tau(batch, tau):
    ref, p, q, floors = batch
    found = constrained_optimum(ref, p, q, floors, tau)
    slack = found.constraints - floors
    assert found.gap.abs().max() <= 1e-12 * (1 + tau)
    assert slack.min() >= -1e-12
    assert (found.multipliers * slack).abs().max() <= 1e-12 * (1 + tau)
    assert (found.multipliers > 0).double().mean() > 0.3
    # The certificate itself: the policy is the tilt of its multipliers.
    scores = p + (q @ found.multipliers[:, None, :, None]).squeeze(-1)
    expected = (ref + scores / tau).log_softmax(-1)
    assert torch.allclose(found.logps.exp(), expected.exp(), atol=1e-10)


def test_a_thousand_instances_at_small_tau():
    # One of these defeats Newton's method when it starts at this tau instead of arriving there.
    generator = torch.Generator().manual_seed(0)
    shape, float64 = (1000, 1, 64), torch.float64
    p = torch.rand(shape, generator=generator, dtype=float64)
    q = torch.rand(*shape, 3, generator=generator, dtype=float64)
    ref = torch.randn(shape, generator=generator, dtype=float64).log_softmax(-1)
    policy = (3 * torch.randn(shape, generator=generator, dtype=float64)).softmax(-1)
    floors = (policy[..., None] * q).sum((1, 2))
    found = constrained_optimum(ref, p, q, floors, 0.003)
    assert found.gap.abs().max() <= 1e-12
    assert (found.constraints - floors).min() >= -1e-12


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("tau", [0.02, 0.3])
def test_optimality_is_proven_for_every_divergence(batch, divergence, tau):
    ref, p, q, floors = (x[:10] for x in batch)
    found = constrained_optimum(ref, p, q, floors, tau, divergence=divergence)
    slack = found.constraints - floors
    assert found.gap.abs().max() <= 1e-10
    assert slack.min() >= -1e-10
    assert (found.multipliers * slack).abs().max() <= 1e-10
    penalty = tau * divergence_value(found.logps, ref, divergence).mean(-1)
    assert torch.allclose(found.primary - found.value, penalty, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("divergence", ["forward_kl", "jsd", "alpha", "jeffrey", "chi_squared"])
def test_no_policy_that_keeps_the_floors_does_better(divergence, seed):
    generator = np.random.default_rng(seed)
    ref, p, q, floors, _, weights = draw(generator, n_secondary=2)
    tensors = [torch.tensor(x) for x in (ref, p, q, floors)]
    log_ref, p, q, floors = tensors[0].log(), *tensors[1:]
    weights = torch.tensor(weights)
    found = constrained_optimum(log_ref, p, q, floors, 0.1, weights, divergence)
    best = found.logps.exp()
    tried = 0
    for scale in (1e-3, 0.03, 0.3):
        for _ in range(200):
            noise = torch.as_tensor(generator.dirichlet(np.ones(best.shape[1]), len(best)))
            policy = (1 - scale) * best + scale * noise
            reached = torch.einsum("s,sa,sac->c", weights, policy, q)
            if (reached < floors).any():
                continue
            penalty = divergence_value(policy.log(), log_ref, divergence)
            value = (weights * ((policy * p).sum(-1) - 0.1 * penalty)).sum()
            assert value <= found.value + 1e-12
            tried += 1
    assert tried > 20


def test_instances_do_not_touch_each_other(batch):
    ref, p, q, floors = batch
    together = constrained_optimum(ref, p, q, floors, 0.08)
    for i in (0, 7, 39):
        alone = constrained_optimum(ref[i], p[i], q[i], floors[i], 0.08)
        assert torch.allclose(alone.multipliers, together.multipliers[i], atol=1e-9)
        assert torch.allclose(alone.logps, together.logps[i], atol=1e-9)
    nested = constrained_optimum(
        ref.reshape(8, 5, 3, 6),
        p.reshape(8, 5, 3, 6),
        q.reshape(8, 5, 3, 6, 3),
        floors.reshape(8, 5, 3),
        0.08,
    )
    assert nested.logps.shape == (8, 5, 3, 6)
    assert nested.multipliers.shape == (8, 5, 3)
    assert nested.value.shape == nested.gap.shape == (8, 5)
    assert torch.allclose(nested.value.flatten(), together.value)


def test_permuting_constraints_or_actions_permutes_the_answer(batch):
    ref, p, q, floors = batch
    found = constrained_optimum(ref, p, q, floors, 0.1)
    order, actions = [2, 0, 1], [5, 3, 1, 0, 2, 4]
    other = constrained_optimum(
        ref[..., actions], p[..., actions], q[..., actions, :][..., order], floors[:, order], 0.1
    )
    assert torch.allclose(other.multipliers, found.multipliers[:, order], atol=1e-8)
    assert torch.allclose(other.logps, found.logps[..., actions], atol=1e-8)


def test_units_and_repeated_constraints(batch):
    ref, p, q, floors = batch
    found = constrained_optimum(ref, p, q, floors, 0.1)
    moved = constrained_optimum(ref, 10 * p - 3, 100 * q + 7, 100 * floors + 7, 1.0)
    assert torch.allclose(moved.logps, found.logps, atol=1e-7)
    assert torch.allclose(moved.multipliers * 10, found.multipliers, atol=1e-7)
    twice = torch.cat([q, q], -1), torch.cat([floors, floors], -1)
    doubled = constrained_optimum(ref, p, *twice, 0.1)
    assert torch.allclose(doubled.logps.exp(), found.logps.exp(), atol=1e-9)
    total = doubled.multipliers[:, :3] + doubled.multipliers[:, 3:]
    assert torch.allclose(total, found.multipliers, atol=1e-7)


def test_reference_need_not_be_normalized(batch):
    found = constrained_optimum(*batch, 0.1)
    other = constrained_optimum(batch[0] + 2.5, *batch[1:], 0.1)
    assert torch.allclose(other.value, found.value, atol=1e-12)
    assert other.gap.abs().max() <= 1e-12


def test_one_context_is_weighted_by_its_probability():
    # All weight on the first context: the second one only tilts for p.
    ref = torch.full((2, 2), 0.5, dtype=torch.float64).log()
    p = torch.tensor([[0.0, 0.5], [0.0, 0.5]], dtype=torch.float64)
    q = torch.tensor([[[1.0], [0.0]], [[0.0], [0.0]]], dtype=torch.float64)
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = constrained_optimum(ref, p, q, floors_of(0.75), 0.2, weights)
    assert found.multipliers.item() == pytest.approx(0.5 + 0.2 * math.log(3))
    assert found.logps[1].exp()[1].item() == pytest.approx(1 / (1 + math.exp(-2.5)))


def test_absent_actions_stay_absent_and_unread():
    ref = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    nan = float("nan")
    for divergence in DIVERGENCES:
        found = constrained_optimum(
            ref, row(0, 0.5, nan), column(1, 0, nan), floors_of(0.75), 0.2, divergence=divergence
        )
        assert found.logps.exp()[0].tolist() == pytest.approx([0.75, 0.25, 0])
        assert found.constraints.item() == pytest.approx(0.75)


def test_no_constraint_is_a_plain_tilt():
    found = constrained_optimum(
        row(0.5, 0.5).log(), row(1, 0), torch.zeros(1, 2, 0), torch.zeros(0), 1.0
    )
    assert found.logps.exp()[0].tolist() == pytest.approx([0.731058579, 0.268941421])
    assert found.multipliers.shape == (0,)


def test_inputs_are_not_changed(batch):
    copies = [x.clone() for x in batch]
    constrained_optimum(*batch, 0.1)
    log_barrier_optimum(*batch[:3], batch[3] - 0.02, 0.1, 1e-2)
    assert all(torch.equal(a, b) for a, b in zip(copies, batch, strict=True))


def test_floor_that_can_only_just_be_met_stays_finite():
    found = solve((1, 0.5, 0), (0.5, 1, 0), (1 / 3,) * 3, 0.1, 1.0)
    assert found.multipliers.isfinite().all()
    assert found.logps.exp()[0].tolist() == pytest.approx([0, 1, 0], abs=1e-12)


def test_infeasible_floors_are_explained():
    with pytest.raises(
        InfeasibleError, match=r"constraint 0 >= 0.6667 cannot be met: best seen 0.5"
    ):
        solve((0.5,) * 3, (0.5,) * 3, (1 / 3,) * 3, 0.1, 2 / 3)
    # Each can be met, both cannot: only the dual, or a linear program, can tell.
    ref, q = row(0.5, 0.5).log(), torch.eye(2, dtype=torch.float64)[None]
    with pytest.raises(InfeasibleError, match="together") as caught:
        constrained_optimum(ref, row(1, 0), q, floors_of(0.7, 0.4), 0.1)
    assert caught.value.verdict.margin == pytest.approx(-0.05)
    assert caught.value.verdict.best_together == pytest.approx((0.6, 0.3))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("tau", [0.003, 0.1, 10.0])
@pytest.mark.parametrize("excess", [1e-6, 1e-3, 0.3])
def test_joint_infeasibility_is_found_at_every_tau(tau, excess):
    ref = torch.full((3, 2, 2), 0.5, dtype=torch.float64).log()
    q = torch.eye(2, dtype=torch.float64).expand(3, 2, 2, 2)
    floors = torch.tensor([[0.5, 0.4], [0.5, 0.5 + excess], [0.1, 0.2]], dtype=torch.float64)
    for divergence in DIVERGENCES:
        with pytest.raises(InfeasibleError, match=r"instance 1: .* together"):
            constrained_optimum(ref, q[..., 0], q, floors, tau, divergence=divergence)


def test_bad_arguments():
    with pytest.raises(InputError, match="tau"):
        solve(*T1[:3], 0.0, 0.5)
    with pytest.raises(ShapeError):
        constrained_optimum(row(0.5, 0.5).log(), row(1, 0, 0), column(1, 0), floors_of(0.5), 0.1)
    with pytest.raises(ShapeError, match="weights"):
        constrained_optimum(
            row(0.5, 0.5).log(), row(1, 0), column(1, 0), floors_of(0.5), 0.1, floors_of(0.5, 0.5)
        )
    with pytest.raises(ShapeError, match="leading"):
        batch = torch.zeros(2, 1, 1), torch.zeros(3, 1, 1)
        constrained_optimum(*batch, torch.zeros(1, 1, 1), floors_of(0.0), 0.1)
    with pytest.raises(InputError, match="finite"):
        solve((1, math.nan), (1, 0), (0.5, 0.5), 0.1, 0.5)
    with pytest.raises(InputError, match="sum to 1"):
        constrained_optimum(
            row(0.5, 0.5).log(), row(1, 0), column(1, 0), floors_of(0.5), 0.1, floors_of(0.5)
        )
    with pytest.raises(InputError, match="without an action"):
        solve((1, 0), (1, 0), (0, 0), 0.1, 0.5)
    with pytest.raises(InputError):
        solve(*T1, divergence="hellinger")
    with pytest.raises(InputError, match="barrier"):
        log_barrier_optimum(row(1.0).log(), row(1), column(1), floors_of(0.5), 0.1, 0.0)
