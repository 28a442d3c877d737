"""The contract of a method, as checks that run on every file of the folder and on fakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import pytest

from paretune.core.description import describe
from paretune.core.job import BASE, TrainingJob, order_jobs
from paretune.core.method import Method
from paretune.core.tradeoff import TradeOff
from paretune.functional.simplex import lattice

_DENOMINATOR = {1: 1, 2: 10, 3: 4, 4: 3}


def check_plan(method: Method, n_objectives: int) -> list[TrainingJob]:
    """A plan that can be ordered, described and repeated; its jobs."""
    tradeoffs = lattice(n_objectives, _DENOMINATOR[n_objectives])
    given = list(tradeoffs)
    plan = method.plan(n_objectives, given)
    assert given == tradeoffs, "plan changed its arguments"
    text = json.dumps(describe(plan))
    assert json.dumps(describe(method.plan(n_objectives, tuple(tradeoffs)))) == text
    repeated = method.plan(n_objectives, [*tradeoffs, *tradeoffs])
    assert json.dumps(describe(repeated)) == text, "a repeated trade-off is planned twice"
    waves = order_jobs(plan)
    assert sum(map(len, waves)) == len(plan)
    for job in plan:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", job.id), job.id
        assert job.kind in ("sft", "pairwise", "constrained", "online", "rewarded")
        losses = [loss for loss in (job.loss, job.step_loss) if loss is not None]
        assert len(losses) == (job.kind in ("pairwise", "rewarded")), "one loss, or one a step"
        assert (job.goal is not None) == (job.kind == "constrained")
        assert (job.online is not None) == (job.kind == "online")
        assert callable(job.rows) == (job.kind not in ("constrained", "online"))
        assert job.head is None or job.group is not None, "a head belongs to a group"
        assert len(job.tradeoff) == n_objectives
    order = {job.id: i for i, wave in enumerate(waves) for job in wave}
    for job in plan:
        for need in job.needs:
            assert need == BASE or order[need] < order[job.id]
    return plan


def check_steering(method: Method, n_objectives: int) -> None:
    """An answer for every trade-off, trained or not, by planned jobs or the base alone."""
    trained = lattice(n_objectives, _DENOMINATOR[n_objectives])
    ids = {BASE, *(job.id for job in method.plan(n_objectives, trained))}
    unseen = [TradeOff((0.03, 0.97, 0.0, 0.0)[:n_objectives]) if n_objectives > 1 else trained[0]]
    for tradeoff in [*trained, *unseen, TradeOff.even(n_objectives)]:
        steering = method.steer(tradeoff, trained)
        assert set(steering.policies) <= ids, f"{steering.policies} is not planned"
        assert sum(steering.weights) == pytest.approx(1)
        assert len(steering.tradeoff) == n_objectives
        assert json.dumps(describe(steering)) == json.dumps(
            describe(method.steer(tradeoff, tuple(trained)))
        )


@pytest.fixture
def check_contract() -> Callable[[Method, Sequence[int]], None]:
    def check(method: Method, sizes: Sequence[int] = (2, 3, 4)) -> None:
        for n_objectives in sizes:
            check_plan(method, n_objectives)
            check_steering(method, n_objectives)

    return check
