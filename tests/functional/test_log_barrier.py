"""The log barrier: near the constrained optimum, inside its floors."""

import numpy as np
import pytest
import torch

from paretune.errors import InfeasibleError
from paretune.functional.constrained import constrained_optimum, log_barrier_optimum

SEEDS = (0, 1)
# p, q, reference, tau, floor.
T1 = ((1, 0.5, 0), (0.5, 1, 0), (1 / 3,) * 3, 0.1, 2 / 3)
T2 = ((0.8, 0.5, 0.2), (0.3, 0.6, 0.5), (0.2, 0.3, 0.5), 0.08, 0.5)


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def column(*values):
    return torch.tensor([[[v] for v in values]], dtype=torch.float64)


def floors_of(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_barrier_gaps_on_a_known_instance():
    p, q, ref, tau, floor = T1
    arguments = row(*ref).log(), row(*p), column(*q), floors_of(floor), tau
    best = constrained_optimum(*arguments).value.item()
    for barrier, lost in ((1e-2, 9.9e-3), (1e-4, 1.0e-4)):
        found = log_barrier_optimum(*arguments, barrier)
        assert best - found.value.item() == pytest.approx(lost, rel=0.01)
        assert found.gap.item() == pytest.approx(barrier, rel=1e-9)
        product = found.multipliers.item() * (found.constraints.item() - floor)
        assert product == pytest.approx(barrier, rel=1e-9)


@pytest.mark.parametrize("tau", [0.003, 0.1, 3.0])
def test_barrier_keeps_its_promises(batch, tau):
    ref, p, q, floors = batch
    floors = floors - 0.01
    best = constrained_optimum(ref, p, q, floors, tau).value
    for barrier in (0.1, 1e-3, 1e-6):
        found = log_barrier_optimum(ref, p, q, floors, tau, barrier)
        slack = found.constraints - floors
        assert (slack > 0).all()
        assert torch.allclose(found.multipliers * slack, torch.full_like(slack, barrier), rtol=1e-6)
        lost = best - found.value
        assert lost.min() >= -1e-12
        assert (lost <= 3 * barrier + 1e-12).all()


def test_barrier_is_the_maximum_of_its_own_objective():
    p, q, ref, tau, floor = (np.array(x) for x in T2)
    found = log_barrier_optimum(
        row(*T2[2]).log(), row(*T2[0]), column(*T2[1]), floors_of(T2[4]), 0.08, 0.05
    )

    def objective(policy):
        return (
            policy @ p - tau * (policy @ np.log(policy / ref)) + 0.05 * np.log(policy @ q - floor)
        )

    best = found.logps.exp()[0].numpy()
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        for scale in (1e-4, 1e-2, 0.3):
            other = (1 - scale) * best + scale * generator.dirichlet(np.ones(3))
            if other @ q > floor:
                assert objective(other) < objective(best)


def test_barrier_needs_room():
    arguments = row(1 / 3, 1 / 3, 1 / 3).log(), row(1, 0.5, 0), column(0.5, 1, 0)
    for floor in (1.0, 1.1):
        with pytest.raises(InfeasibleError):
            log_barrier_optimum(*arguments, floors_of(floor), 0.1, 1e-3)
