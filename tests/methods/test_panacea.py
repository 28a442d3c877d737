from __future__ import annotations

import math

import numpy as np
import pytest

from paretune.bench.problems import random_problem
from paretune.core.adapter import TradeOffAdapter
from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError
from paretune.functional.simplex import lattice
from paretune.methods.panacea import Panacea
from paretune.methods.rewarded_soups import RewardedSoups
from paretune.methods.scalarized_dpo import ScalarizedDPO
from paretune.pipeline.sweep import check_job

BETA = 0.5


def answers(method, problem, tradeoffs):
    engine = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
    trained = engine.train(method.plan(len(problem.objectives), tradeoffs))
    return [engine.steered(trained, method.steer(t, tradeoffs)) for t in tradeoffs]


def furthest(some, others) -> float:
    return max(total_variation(a, b) for a, b in zip(some, others, strict=True))


def test_ipo_is_as_good_as_a_policy_a_tradeoff() -> None:
    problem, tradeoffs = random_problem(), lattice(2, 10)
    alone = ScalarizedDPO(loss="ipo", beta=BETA, is_length_normalized=False)
    shared = Panacea(loss="ipo", beta=BETA)
    # Measured: 6e-12.
    assert furthest(*(answers(m, problem, tradeoffs) for m in (shared, alone))) < 1e-6


def test_drawn_at_the_corners_it_is_rewarded_soups() -> None:
    problem, tradeoffs = random_problem(), lattice(2, 4)
    soups = answers(RewardedSoups(BETA), problem, tradeoffs)
    apart = [
        furthest(answers(Panacea(beta=BETA, concentration=c), problem, tradeoffs), soups)
        for c in (1.0, 1e-4)
    ]
    assert apart[0] > 0.01 and apart[1] < 1e-4


def test_chebyshev_lifts_the_objective_that_is_worst_off() -> None:
    problem, tradeoffs = random_problem(seed=1), [TradeOff((0.8, 0.2))]
    gains = []
    for scalarizer in ("linear", "stch"):
        (policy,) = answers(Panacea(scalarizer=scalarizer, beta=BETA), problem, tradeoffs)
        gains.append((policy.exp()[..., None] * problem.rewards).sum(1).mean(0))
    assert gains[1][0] > gains[0][0], "the heavy objective, which is furthest from its ideal"


def test_plans_one_policy_whatever_is_asked() -> None:
    for n_objectives in (2, 3, 4):
        (job,) = Panacea().plan(n_objectives, lattice(n_objectives, 5))
        assert job.tradeoff == TradeOff.even(n_objectives)
        assert job.adapter == TradeOffAdapter(
            n_objectives, Panacea.rank, Panacea.directions, Panacea.scale, Panacea.concentration
        )
        assert job.step_loss.weights is None and not job.step_loss.is_length_normalized


def test_serves_exactly_what_is_asked() -> None:
    for weights in ((0.123, 0.877), (1.0, 0.0), (0.0, 1.0)):
        steering = Panacea().steer(TradeOff(weights), lattice(2, 2))
        assert steering.kind == "condition" and steering.policies == ("panacea",)
        assert steering.tradeoff.weights == weights


def test_settings_of_its_own() -> None:
    assert Panacea(steps=None, learning_rate=None).plan(2, [])[0].settings == {}
    (job,) = Panacea(steps=7, learning_rate=0.5).plan(2, [])
    assert job.settings == {"steps": 7, "learning_rate": 0.5}


def test_one_objective_is_refused() -> None:
    with pytest.raises(ConfigError, match="panacea: found 1 objective, expected at least 2"):
        Panacea().plan(1, [TradeOff((1.0,))])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beta", 0.0), ("beta", math.nan), ("rank", -1), ("directions", 0), ("scale", 0.0),
        ("scale", math.inf), ("concentration", 0.0), ("steps", 0), ("learning_rate", -1.0),
        ("scalarizer", "linaer"), ("loss", "dpo"),
    ],
)  # fmt: skip
def test_bad_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"panacea\.{field}: found"):
        Panacea(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("silent", [math.nan, 0.0])
def test_an_objective_that_nobody_labelled_is_refused_before_training(silent: float) -> None:
    replies = (Response("a"), Response("b"))
    comparisons = (Comparison(0, 1, {"good": 1.0, "short": silent}),)
    data = PreferenceData.from_records([Record("p", replies, comparisons)], ("good", "short"))
    (job,) = Panacea().plan(2, [])
    with pytest.raises(InputError, match=r"panacea: .*objectives in columns \[1\]"):
        check_job("panacea", job, data, 0)
    fine = PreferenceData.from_records(
        [Record("p", replies, (Comparison(0, 1, {"good": 1.0, "short": -1.0}),))], ("good", "short")
    )
    check_job("panacea", job, fine, 0)
    assert np.isfinite(fine.labels).all()
