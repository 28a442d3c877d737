"""Policies whose parameters are linear in the trade-off: which losses they solve exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paretune.bench.problems import random_problem
from paretune.core.adapter import TradeOffAdapter
from paretune.core.job import TrainingJob
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.conditioned_table import at_tradeoff, fit_conditioned
from paretune.engines.minimize import minimize
from paretune.engines.table_pairs import TablePairs
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import InputError
from paretune.functional.dirichlet import dirichlet_nodes
from paretune.functional.pairing import comparison_keys, keep_every
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizers import Linear, SmoothChebyshev
from paretune.functional.simplex import lattice

BETA = 0.5


def job(kind: str = "sigmoid", concentration: float = 1.0, **more) -> TrainingJob:
    loss = ScalarizedLoss(Linear(), None, kind, BETA, is_length_normalized=False)
    adapter = TradeOffAdapter(2, concentration=concentration)
    given = {"step_loss": loss, "adapter": adapter, **more}
    return TrainingJob("one", "pairwise", TradeOff.even(2), keep_every, **given)


def pairs_of(problem, model=None) -> TablePairs:
    data = problem.data()
    order = keep_every(data.labels, comparison_keys(data.n_comparisons, 0))
    return TablePairs.of(model or Table(problem.ref_logps), data, problem.action_of, order)


def policies(problem, parameters: torch.Tensor) -> dict[TradeOff, torch.Tensor]:
    table = Table(problem.ref_logps)
    length = table.start().numel()
    return {t: table.logps(at_tradeoff(parameters, t.weights, length)) for t in lattice(2, 10)}


def test_two_actions_by_hand() -> None:
    """One pair, IPO: the margin at a trade-off is its mean label over 2 beta."""
    problem = random_problem(1, 2)
    data = problem.data()
    table = TabularEngine(Table(problem.ref_logps), data, problem.action_of)
    found = table.train([job("ipo")])["one"].view(2, 2)
    mean = (data.labels * data.multiplicity[:, None]).sum(0) / data.multiplicity.sum()
    torch.testing.assert_close(found[:, 0] - found[:, 1], torch.as_tensor(mean) / (2 * BETA))


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_ipo_is_solved_for_every_tradeoff_at_once(n_objectives: int) -> None:
    """Its optimum is linear in the labels, so one policy is as good as one a trade-off."""
    problem = random_problem(n_objectives=n_objectives)
    pairs = pairs_of(problem)
    adapter = TradeOffAdapter(n_objectives)
    found = fit_conditioned(job("ipo", adapter=adapter), pairs, pairs.model.start(), 1e-8)
    for tradeoff in lattice(n_objectives, 4):
        loss = ScalarizedLoss(Linear(), tradeoff.weights, "ipo", BETA, is_length_normalized=False)

        def alone(parameters: torch.Tensor, loss: ScalarizedLoss = loss) -> torch.Tensor:
            return loss(pairs.batch(parameters), torch.zeros(0), pairs.counts).loss

        own = minimize(alone, pairs.model.start(), 1e-8, "alone")
        shared = at_tradeoff(found, tradeoff.weights, len(own))
        assert total_variation(pairs.model.logps(shared), pairs.model.logps(own)) < 1e-7


def test_soft_labels_of_the_weighted_reward_give_the_exact_tilt() -> None:
    """The optimum of the weighted reward is linear in the trade-off: the family contains it."""
    problem = random_problem()
    pairs = pairs_of(problem)
    rewards = problem.rewards
    gaps = rewards[pairs.chosen] - rewards[pairs.rejected]
    nodes, shares = map(torch.as_tensor, dirichlet_nodes(2))

    def mean_loss(parameters: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(())
        for node, share in zip(nodes, shares, strict=True):
            margin = pairs.batch(node @ parameters.view(2, -1)).log_ratio_margin
            chance = torch.sigmoid(problem.slope * gaps @ node)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                BETA * margin, chance, reduction="none"
            )
            total = total + share * (pairs.counts * loss).sum()
        return total

    found = minimize(mean_loss, pairs.model.start().repeat(2), 1e-9, "tilt")
    for tradeoff, policy in policies(problem, found).items():
        assert total_variation(policy, problem.optimum(tradeoff, BETA / problem.slope)) < 1e-5


def test_weighted_dpo_is_bounded_and_exact_in_the_limit_of_corners() -> None:
    """Its optimum is no line in the trade-off; what is learned at the corners alone is."""
    problem = random_problem()
    worst = []
    for concentration in (1.0, 0.1, 0.01):
        pairs = pairs_of(problem)
        found = fit_conditioned(job(concentration=concentration), pairs, pairs.model.start(), 1e-7)
        apart = [
            total_variation(policy, problem.optimum(t, BETA / problem.slope))
            for t, policy in policies(problem, found).items()
        ]
        worst.append(max(apart))
    assert worst == sorted(worst, reverse=True)
    assert worst[-1] < 0.1 * worst[0] and worst[-1] < 3e-3
    assert worst[0] < 0.1, "a policy a trade-off is .138 away"


def test_log_ratios_are_linear_in_the_tradeoff() -> None:
    problem = random_problem()
    pairs = pairs_of(problem)
    found = fit_conditioned(job(), pairs, pairs.model.start(), 1e-7)
    logps = policies(problem, found)
    ratio = {t: p - problem.ref_logps for t, p in logps.items()}
    margins = {t: r[:, :1] - r[:, 1:] for t, r in ratio.items()}
    first, last = margins[TradeOff((1.0, 0.0))], margins[TradeOff((0.0, 1.0))]
    for tradeoff, margin in margins.items():
        w = tradeoff.weights
        torch.testing.assert_close(margin, w[0] * first + w[1] * last)


def test_trains_and_steers_a_network_too() -> None:
    problem = random_problem()
    model = TanhNetwork(problem.ref_logps, width=2)
    engine = TabularEngine(model, problem.data(), problem.action_of, tolerance=5e-3)
    given = replace(job().step_loss, scalarizer=SmoothChebyshev())
    trained = engine.train([job(step_loss=given)])
    assert trained["one"].numel() == 2 * model.start().numel()
    ends = [Steering("condition", ("one",), (1.0,), TradeOff.only(i, 2)) for i in range(2)]
    first, second = (engine.steered(trained, end) for end in ends)
    gain = ((first.exp() - second.exp())[..., None] * problem.rewards).sum((0, 1))
    assert gain[0] > 0 > gain[1], "each corner gains on its objective"


def test_goes_on_from_itself() -> None:
    problem = random_problem()
    pairs = pairs_of(problem)
    found = fit_conditioned(job(), pairs, pairs.model.start(), 1e-7)
    again = fit_conditioned(job(), pairs, found, 1e-7)
    assert again.shape == found.shape
    torch.testing.assert_close(again, found, atol=1e-4, rtol=0)


def test_a_plain_policy_has_no_tradeoff() -> None:
    parameters = torch.tensor([1.0, 2.0])
    assert at_tradeoff(parameters, (0.3, 0.7), 2) is parameters


def test_a_loss_with_its_own_weights_is_refused() -> None:
    problem = random_problem()
    pairs = pairs_of(problem)
    own = ScalarizedLoss(Linear(), (0.5, 0.5), is_length_normalized=False)
    for bad in (job(step_loss=own), job(adapter=None)):
        with pytest.raises(InputError, match=r"job .one.: found .*expected an adapter"):
            fit_conditioned(bad, pairs, pairs.model.start(), 1e-7)
