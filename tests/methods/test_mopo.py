from __future__ import annotations

from typing import Any

import pytest

from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.mopo import MOPO


def test_a_head_for_every_primary_objective() -> None:
    jobs = MOPO(thresholds=(0.5, 0.6, None)).plan(3, lattice(3, 2))
    assert [job.id for job in jobs] == ["primary-0", "primary-1", "primary-2"]
    assert {job.group for job in jobs} == {"heads"}
    goals = [job.goal for job in jobs]
    # A head never floors its own objective; the others keep what was asked.
    assert [g.thresholds for g in goals if g] == [
        (None, 0.6, None), (0.5, None, None), (0.5, 0.6, None)
    ]  # fmt: skip
    assert [g.secondary for g in goals if g] == [(1,), (0,), (0, 1)]


def test_without_thresholds_every_floor_adapts() -> None:
    goal = MOPO().plan(3, lattice(3, 2))[1].goal
    assert goal is not None and goal.is_adaptive
    assert goal.secondary == (0, 2)


def test_one_primary_is_one_policy_without_a_head() -> None:
    method = MOPO(primary=1, reward_floors=(0.4, None))
    (job,) = method.plan(2, lattice(2, 2))
    assert (job.id, job.group, job.head) == ("primary-1", None, None)
    served = method.steer(TradeOff((0.9, 0.1)), [])
    assert (served.kind, served.policies) == ("pick", ("primary-1",))
    assert served.tradeoff == TradeOff((0.0, 1.0))


def test_a_tradeoff_mixes_the_heads_by_its_weights() -> None:
    steering = MOPO().steer(TradeOff((0.3, 0.7)), [])
    assert steering.policies == ("primary-0", "primary-1")
    assert (steering.kind, steering.weights) == ("merge", (0.3, 0.7))


def test_what_the_labels_need() -> None:
    needs = {labels: MOPO(labels=labels).needs for labels in ("pool", "table", "pair_soft")}
    assert needs == {"pool": ("scores",), "table": ("pairs",), "pair_soft": ("pairs", "scores")}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"thresholds": [0.5, 1.2]}, "thresholds"),
        ({"thresholds": [0.5, -0.1]}, "thresholds"),
        ({"thresholds": [0.5, 0.5], "primary": 1}, "thresholds"),
        ({"reward_floors": [0.5, float("nan")]}, "reward_floors"),
        ({"tau": 0.0}, "tau"),
        ({"radius": -0.1}, "radius"),
        ({"relaxation": 1.5}, "relaxation"),
        ({"lag": 0}, "lag"),
        ({"slope": 0.0}, "slope"),
        ({"labels": "pools"}, "labels"),
        ({"divergence": "kl"}, "divergence"),
    ],
)
def test_bad_values_name_the_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"mopo\.{field}: found"):
        build("mopo", options)


def test_thresholds_are_one_a_objective() -> None:
    with pytest.raises(ConfigError, match=r"mopo\.thresholds: found .* expected 3 numbers"):
        MOPO(thresholds=(0.5, 0.5)).plan(3, lattice(3, 2))
    with pytest.raises(ConfigError, match=r"mopo\.primary: found 2, expected at most 1"):
        MOPO(primary=2).plan(2, lattice(2, 2))
