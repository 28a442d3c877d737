"""Every method does what it is known to do: its tolerance or its gap stands in ``claims.py``."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
import torch

from paretune.bench.answers import answers, undefined
from paretune.bench.claims import CLAIMS, Claim, choose, claims_of
from paretune.bench.problems import problem, problem_names, random_problem
from paretune.bench.truth import checked, measure, measure_method, measure_problem
from paretune.core.truth import MethodTruth, ProblemTruth
from paretune.errors import ConfigError
from paretune.functional.closed_form import expected_rewards
from paretune.methods import build, method_names
from paretune.methods.rewarded_soups import RewardedSoups

FAST = ("d3b", "d5", "random-2", "random-3", "motivating-a")
SLOW_METHODS = ("dpo mixed", "pareto_hqd stage 2")
BY_NAME = {claim.name: claim for claim in CLAIMS}


@cache
def measured(name: str, method: str) -> MethodTruth | None:
    made, claim = problem(name), BY_NAME[method]
    built = build(claim.method, claim.options(made))
    return None if undefined(made, claim, built) else measure_method(made, claim, built)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", [name for name in BY_NAME if name not in SLOW_METHODS])
def test_claims_hold(name: str, method: str) -> None:
    found = measured(name, method)
    if found is not None:
        assert found.broken == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_claim_holds_on_every_problem(seed: int) -> None:
    made = [problem(name) for name in problem_names()]
    for truth in measure(made, CLAIMS, seed=seed):
        for method in truth.methods:
            assert method.broken == (), (truth.name, method.name)


def test_every_method_of_the_registry_is_measured() -> None:
    claims = claims_of(method_names())
    assert {claim.method for claim in claims} == set(method_names())
    for claim in CLAIMS:
        names = [problem(name) for name in ("d3b", "random-2")]
        assert any(
            undefined(p, claim, build(claim.method, claim.options(p))) is None for p in names
        )


def test_a_method_nobody_spoke_for_is_measured_in_silence() -> None:
    silent = dataclasses.replace(claims_of(["another"])[0], method="sft")
    found = measure_method(problem("random-2"), silent, build("sft", {}))
    assert not found.is_claimed and found.broken == () and found.to_aim is None


class TestKnownDifferences:
    """What the claims say, once more as sentences about two methods."""

    def test_merging_is_exact_on_a_table_and_off_on_a_network(self) -> None:
        table, network = (measured(n, "rewarded_soups") for n in ("random-2", "random-network"))
        assert table and network and table.to_aim is not None and network.to_aim is not None
        assert table.to_aim < 1e-5 and network.to_aim > 0.5
        corners = [p.to_optimum for p in network.points if max(p.tradeoff) == 1]
        assert max(corners) < 1e-4

    def test_heads_on_one_backbone_merge_exactly(self) -> None:
        found = measured("random-network", "mopo")
        assert found and found.to_aim is not None and found.to_aim < 1e-4

    @pytest.mark.parametrize("name", ["random-2", "random-network", "random-ties"])
    def test_margins_make_weighted_labels_exact(self, name: str) -> None:
        for method in ("modpo", "modpo policies"):
            exact, weighted = measured(name, method), measured(name, "dpo weighted")
            assert exact and weighted and exact.to_aim is not None
            assert exact.to_aim < 1e-5
            assert max(p.to_optimum for p in weighted.points) > 0.1

    def test_mopo_keeps_the_floors_that_others_miss(self) -> None:
        for name in ("d3b", "random-2", "random-3"):
            kept, free = measured(name, "mopo"), measured(name, "rewarded_soups")
            assert kept and free and kept.missed is not None and free.missed is not None
            assert kept.missed < 1e-9 and free.missed > 0.1

    def test_agreeing_labels_give_no_control(self) -> None:
        found = measured("random-2", "dpo agreeing")
        assert found and len({point.policy for point in found.points}) == 1

    def test_summed_labels_serve_three_policies(self) -> None:
        found = measured("random-2", "dpo summed")
        assert found is not None
        policies = {tuple(np.round(p.policy, 3).ravel().tolist()) for p in found.points}
        assert len(found.points) == 11 and len(policies) == 3

    def test_preference_methods_never_reach_an_action_without_a_comparison(self) -> None:
        found = measured("d5", "dpo weighted")
        assert found and all(p.policy[0][2] == pytest.approx(1 / 3, abs=1e-6) for p in found.points)


class TestNumbers:
    def test_of_a_point_by_hand(self) -> None:
        """The reference answers: every number follows from the table."""
        made = problem("random-2")
        found = measure_method(
            made, Claim("x", "best_of_n", "", lambda p: {"n": 1}), build("best_of_n", {"n": 1})
        )
        assert found.points[3].tradeoff == (0.3, 0.7)
        values = expected_rewards(made.ref_logps, made.values)
        np.testing.assert_allclose(found.points[3].values, values)
        assert found.points[3].nats == pytest.approx(0, abs=1e-9)
        assert found.points[3].missed is None
        # At the corner of the second objective the first one is floored.
        chance = float(expected_rewards(made.ref_logps, made.expected_preferences)[0])
        assert found.points[0].tradeoff == (0, 1)
        assert found.points[0].missed == pytest.approx(made.floors[0] - chance)
        optimum = made.optimum(made.tradeoffs[3])
        gap = (made.ref_logps.exp() - optimum.exp()).abs().sum(-1).max() / 2
        assert found.points[3].to_optimum == pytest.approx(float(gap))
        cells = made.values.reshape(-1, 2)
        unit = (expected_rewards(optimum, made.values) - values).abs() / (
            cells.amax(0) - cells.amin(0)
        )
        assert found.points[3].value_gap == pytest.approx(float(unit.max()))

    def test_hypervolume_is_a_share_of_the_attainable(self) -> None:
        """Two deterministic ends of a straight front of length one: a staircase of 1/2 the area."""
        made = problem("d3b")
        found = measured("d3b", "rewarded_soups")
        assert found and found.hypervolume is not None
        assert made.known_front.hypervolume == pytest.approx(0.5)
        # Ends and middle: one square of 1/2 by 1/2 in a triangle of 1/2.
        assert found.hypervolume == pytest.approx(0.5, abs=0.01)

    def test_no_share_where_the_front_is_a_point(self) -> None:
        found = measured("d5", "rewarded_soups")
        assert found and found.hypervolume is None

    def test_best_replies_have_all_the_utility(self) -> None:
        made = dataclasses.replace(problem("random-2"), beta=1e-3)
        best = measure_method(made, BY_NAME["sft"], build("sft", {}))
        assert best.utility is not None and 0 < best.utility < 1


class TestChecks:
    """The bench can fail: each claim breaks when it does not hold."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"aim": "weighted"}, "distance to its aim: found"),
            ({"aim": "constrained", "tolerance": 1e-6}, "distance to its aim: found"),
            ({"corners": 1e-4}, "corners' optima: found"),
            ({"gaps": {"random-2": 0.1}}, "documented gap to the optimum: found"),
            ({"most_nats": 0.01}, "nats from the reference: found"),
            ({"is_one_point": True}, "found several policies"),
        ],
    )
    def test_broken(self, change: dict, message: str) -> None:
        claim = Claim("best_of_n", "best_of_n", "", **change)
        found = measure_method(problem("random-2"), claim, build("best_of_n", {}))
        assert found.is_claimed and message in found.broken[0] and len(found.broken) == 1

    def test_a_wrong_penalty_is_found(self) -> None:
        made, claim = problem("random-2"), BY_NAME["rewarded_soups"]
        found = measure_method(made, claim, RewardedSoups(beta=2 * made.beta))
        assert len(found.broken) == 2

    def test_gaps_are_about_their_problem_only(self) -> None:
        points = measured("random-2", "dpo weighted").points  # type: ignore[union-attr]
        claim = Claim("x", "dpo", "", gaps={"random-3": 0.0})
        assert checked(problem("random-2"), claim, points) == (False, ())


class TestWhole:
    @pytest.fixture
    def truth(self) -> ProblemTruth:
        return measure_problem(problem("d4"), choose(CLAIMS, ["sft", "best_of_n", "dpo agreeing"]))

    def test_skipped_with_a_reason(self, truth: ProblemTruth) -> None:
        assert [m.name for m in truth.methods] == ["sft"]
        assert truth.skipped == {
            "dpo agreeing": "its pair rule keeps no comparison",
            "best_of_n": "needs rewards",
            "best_of_n chebyshev": "needs rewards",
        }

    def test_plain_json(self, truth: ProblemTruth) -> None:
        text = json.dumps(truth.to_json(), allow_nan=False)
        assert json.loads(text)["methods"][0]["points"][0]["policy"] == [[1 / 3] * 3]

    def test_progress_counts_up_to_the_total(self) -> None:
        seen: list[tuple[str, int, int]] = []
        claims = choose(CLAIMS, ["sft", "best_of_n"])
        measure([problem("d4"), problem("random-2")], claims, lambda *step: seen.append(step))
        assert seen[0] == ("d4/sft", 2, 6) and [s[1] for s in seen[1:]] == [3, 4, 5]

    def test_choose(self) -> None:
        assert len(choose(CLAIMS, ["dpo"])) == 5
        with pytest.raises(ConfigError, match=r"unknown method 'dpo mixd' \(did you mean 'dpo mix"):
            choose(CLAIMS, ["dpo mixd"])


def test_floors_are_needed_for_a_constrained_method() -> None:
    made = random_problem()
    assert undefined(made, BY_NAME["mopo"], build("mopo", {})) == "no floors"


def test_draws_follow_the_seed() -> None:
    made, method = problem("random-2"), build("dpo", {"labels": "mixed"})
    middle = made.tradeoffs[5:6]
    one, again, other = (answers(made, method, middle, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
