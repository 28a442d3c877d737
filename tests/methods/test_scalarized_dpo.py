"""Scalarized DPO: what is planned, and what it does on exact tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError
from paretune.functional.scalarizers import Linear, SmoothChebyshev
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.dpo import DPO
from paretune.methods.scalarized_dpo import ScalarizedDPO


def test_one_policy_a_tradeoff_with_its_own_weights() -> None:
    jobs = ScalarizedDPO().plan(2, lattice(2, 2))
    assert [job.id for job in jobs] == ["policy-0-1", "policy-0.5-0.5", "policy-1-0"]
    assert [job.step_loss.weights for job in jobs] == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert all(job.step_loss.scalarizer == Linear() for job in jobs)
    assert all(job.group is None and job.head is None for job in jobs)


def test_a_shared_backbone_takes_one_set_of_pairs() -> None:
    jobs = ScalarizedDPO(backbone="shared").plan(2, lattice(2, 2))
    assert {job.group for job in jobs} == {"scalarized"}
    assert all(job.head is not None for job in jobs)
    assert {job.rows.keywords["weights"] for job in jobs} == {(0.5, 0.5)}


def test_the_nearest_trained_one_is_served() -> None:
    steering = ScalarizedDPO().steer(TradeOff((0.6, 0.4)), lattice(2, 2))
    assert (steering.kind, steering.policies) == ("pick", ("policy-0.5-0.5",))


def test_options_reach_the_scalarizer() -> None:
    method = build("scalarized_dpo", {"scalarizer": "stch", "options": {"mu": "5e-1"}})
    assert method.plan(2, [TradeOff.even(2)])[0].step_loss.scalarizer == SmoothChebyshev(mu=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scalarizer": "chebychev"}, r"scalarized_dpo\.scalarizer: .*did you mean 'chebyshev'"),
        ({"scalarizer": "stch", "options": {"muu": 1}}, "unknown option 'muu'.*'mu'"),
        ({"scalarizer": "stch", "stage": "score"}, "expected Linear over pairs"),
        ({"scalarizer": "loghv"}, "found no reference"),
        ({"scalarizer": "mgda", "backbone": "shared"}, "compares the gradients of one policy"),
        ({"scalarizer": "mgda", "options": {"max_rounds": 1.5}}, "expected a whole number"),
        (
            {"scalarizer": "chebyshev", "options": {"orientation": "max", "is_literal": "no"}},
            "found is_literal 'no', expected true or false",
        ),
        ({"scalarizer": "hv_gradient"}, "expected shared or frozen with scalarizer 'hv_gradient'"),
    ],
)
def test_mistakes_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("scalarized_dpo", options)


def engine(problem: Problem) -> TabularEngine:
    return TabularEngine(
        Table(problem.ref_logps), problem.data(), problem.action_of, problem.rewards
    )


def policy(table: TabularEngine, method: ScalarizedDPO | DPO, tradeoff: TradeOff) -> torch.Tensor:
    trained = table.train(method.plan(len(tradeoff), [tradeoff]))
    return table.steered(trained, method.steer(tradeoff, [tradeoff]))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_weighted_sum_is_weighted_dpo_on_a_table(seed: int) -> None:
    table, tradeoff = engine(random_problem(seed=seed)), TradeOff((0.3, 0.7))
    linear = policy(table, ScalarizedDPO(beta=0.5, is_length_normalized=False), tradeoff)
    weighted = policy(table, DPO("weighted", beta=0.5), tradeoff)
    assert total_variation(linear, weighted) < 1e-5


def test_learned_weights_settle_where_the_tilted_mean_is_least() -> None:
    table, tradeoff = engine(random_problem(n_contexts=2, n_actions=3)), TradeOff((0.8, 0.2))
    mirror = ScalarizedDPO("mirror", {"eta": 0.1, "tau": 0.5}, beta=0.5)
    tilted = ScalarizedDPO("tilted", {"tau": 0.5}, beta=0.5)
    found, expected = policy(table, mirror, tradeoff), policy(table, tilted, tradeoff)
    even = policy(table, ScalarizedDPO(beta=0.5), tradeoff)
    assert total_variation(found, expected) < 1e-4
    assert total_variation(found, even) > 1e-3, "the weights did not move"


def test_soft_labels_are_calibrated() -> None:
    # One context, two actions, label s: the log-ratio margin ends at logit((1 + s) / 2) / beta.
    problem = random_problem(n_contexts=1, n_actions=2)
    data = problem.data()
    row = np.flatnonzero(data.first != data.second)[:1]
    one = dataclasses.replace(
        data, first=data.first[row], second=data.second[row], labels=np.array([[0.6, -0.2]]),
        multiplicity=None,
    )  # fmt: skip
    table = dataclasses.replace(engine(problem), data=one)
    logps = policy(table, ScalarizedDPO(loss="soft", beta=0.5), TradeOff((0.5, 0.5)))
    ratio = (logps - problem.ref_logps)[0]
    action_of = problem.action_of
    margin = float(ratio[action_of[data.first[row[0]]]] - ratio[action_of[data.second[row[0]]]])
    # The weighted label is .2, so that the chance is .6.
    assert margin == pytest.approx(np.log(0.6 / 0.4) / 0.5, abs=1e-4)


def test_weights_from_gradients_have_nothing_to_minimize() -> None:
    table = engine(random_problem(n_contexts=2, n_actions=3))
    with pytest.raises(InputError, match="found MGDA, expected a scalarizer of losses"):
        policy(table, ScalarizedDPO("mgda", beta=0.5), TradeOff.even(2))


def test_weights_of_the_data_make_one_policy_for_all() -> None:
    method = ScalarizedDPO(weights="data")
    (job,) = method.plan(2, lattice(2, 4))
    assert job.step_loss.weights is None
    assert method.steer(TradeOff((0.9, 0.1)), lattice(2, 4)).policies == (job.id,)
    with pytest.raises(ConfigError, match="expected own with weights 'data'"):
        ScalarizedDPO(weights="data", backbone="shared")


def test_users_who_agree_train_what_their_tradeoff_would() -> None:
    table, tradeoff = engine(random_problem()), TradeOff((0.3, 0.7))
    weights = np.tile(tradeoff.array, (table.data.n_comparisons, 1))
    users = dataclasses.replace(table, data=dataclasses.replace(table.data, weights=weights))
    own = policy(users, ScalarizedDPO("stch", beta=0.5, weights="data"), tradeoff)
    given = policy(table, ScalarizedDPO("stch", beta=0.5), tradeoff)
    assert total_variation(own, given) < 1e-5


def test_nothing_spreads_at_a_single_tradeoff() -> None:
    with pytest.raises(ConfigError, match="found 'hv_gradient' with one trade-off"):
        ScalarizedDPO("hv_gradient", backbone="shared").plan(2, [TradeOff.even(2)])
