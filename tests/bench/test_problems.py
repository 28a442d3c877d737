from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import (
    STRUCTURES,
    chosen,
    front_problem,
    motivating_data,
    motivating_problem,
    problem,
    problem_names,
    problems,
    random_problem,
    structure,
)
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InfeasibleError, ShapeError
from paretune.functional.closed_form import expected_rewards, kl_regularized_optimum
from paretune.functional.preference_table import label_table, pool_table
from paretune.methods.dpo import DPO

P, Q = 0, 1
"""Columns of the primary and the secondary objective of a structure."""


def table(found: torch.Tensor) -> list[float]:
    return found.exp()[0].tolist()


class TestData:
    @pytest.mark.parametrize("n_objectives", [1, 2, 3])
    def test_comparisons_hold_exact_expectations(self, n_objectives: int) -> None:
        data = random_problem(2, 4, n_objectives, seed=3).data(slope=2.0)
        pairs = 2 * 6
        assert data.n_comparisons == pairs * 2**n_objectives
        assert data.multiplicity is not None
        counts = data.multiplicity.reshape(pairs, -1)
        np.testing.assert_allclose(counts.sum(axis=1), 1)
        # The mean label of an objective is 2 sigmoid(2 dr) - 1 = tanh(dr).
        weighted = data.labels * data.multiplicity[:, None]
        mean = weighted.reshape(pairs, -1, n_objectives).sum(axis=1)
        margins = data.margins[:: 2**n_objectives]
        np.testing.assert_allclose(mean, np.tanh(margins), atol=1e-12)

    def test_objectives_are_labelled_independently(self) -> None:
        data = random_problem().data()
        assert data.multiplicity is not None
        both = (data.labels.prod(axis=1) * data.multiplicity).reshape(-1, 4).sum(axis=1)
        alone = (data.labels * data.multiplicity[:, None]).reshape(-1, 4, 2).sum(axis=1)
        np.testing.assert_allclose(both, alone.prod(axis=1), atol=1e-12)

    def test_behavior_weighs_the_comparisons(self) -> None:
        behavior = torch.tensor([[0.5, 0.3, 0.2]]).double()
        table = dataclasses.replace(random_problem(1, 3), behavior=behavior)
        count = table.data().multiplicity
        assert count is not None
        # A squared times both probabilities: pairs (1, 2), (1, 3), (2, 3).
        expected = 9 * np.array([0.5 * 0.3, 0.5 * 0.2, 0.3 * 0.2])
        np.testing.assert_allclose(count.reshape(3, -1).sum(axis=1), expected)

    def test_rows_are_the_cells_in_order(self) -> None:
        table = random_problem(3, 5)
        data = table.data(is_compared=False)
        assert data.n_comparisons == 0 and len(data.texts) == 15
        assert table.rewards is not None
        cells = table.rewards.numpy()[data.prompt_of, table.action_of]
        np.testing.assert_array_equal(data.rewards.values, cells)

    def test_comparisons_stay_within_a_context(self) -> None:
        data = random_problem(3, 4).data()
        np.testing.assert_array_equal(data.prompt_of[data.first], data.prompt_of[data.second])
        assert (data.first < data.second).all()

    def test_what_was_seen_is_all_there_is(self) -> None:
        data = structure("d5").data()
        assert data.first.tolist() == [0, 1] and data.second.tolist() == [1, 0]
        assert data.labels.tolist() == [[1, -1], [1, -1]] and np.isnan(data.rewards.values).all()


class TestPreferences:
    @pytest.mark.parametrize("behavior", [None, [[0.1, 0.6, 0.1, 0.2]]])
    def test_labels_of_the_data_say_the_same(self, behavior: list[list[float]] | None) -> None:
        """The mean label of a response over its comparisons is its expected preference."""
        given = None if behavior is None else torch.tensor(behavior).double()
        table = dataclasses.replace(random_problem(1, 4, seed=2), behavior=given)
        data = table.data()
        found = label_table(
            data.first, data.second, data.labels, data.prompt_of, data.multiplicity
        ).values.reshape(1, 4, 2)
        np.testing.assert_allclose(found, table.expected_preferences.numpy(), atol=1e-12)

    def test_a_pool_of_all_actions_says_the_same(self) -> None:
        table = random_problem(2, 5, seed=4)
        data = table.data(is_compared=False)
        found = pool_table(data.rewards.values, data.prompt_of, slope=1.0).values
        np.testing.assert_allclose(
            found.reshape(2, 5, 2), table.expected_preferences.numpy(), atol=1e-12
        )

    def test_sides_sum_to_one(self) -> None:
        for table in (random_problem(), structure("d3b")):
            both = table.preferences + table.preferences.transpose(-1, -2)
            torch.testing.assert_close(both, torch.ones_like(both))

    def test_pairs_that_never_met_are_unknown(self) -> None:
        found = structure("d2").preferences[:, 0]
        assert found.isnan().nonzero().tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 1], [1, 1, 0]]

    @pytest.mark.parametrize(
        ("name", "p", "q"),
        [
            ("d1", (1, 0.5, 0), (1, 0.5, 0)),
            ("d2", (1, 1, 0), (1, 1, 0)),
            ("d3b", (1, 0.5, 0), (0.5, 1, 0)),
            ("d3c", (1, 0.5, 0), (0, 1, 0.5)),
            ("d4", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            # Nobody saw action 3, so nobody prefers it.
            ("d5", (0.5, 0.5, 0), (0.5, 0.5, 0)),
        ],
    )
    def test_structures_by_hand(self, name: str, p: tuple, q: tuple) -> None:
        found = structure(name).expected_preferences[0].T.tolist()
        assert found == [list(p), list(q)]

    def test_behavior_as_seen(self) -> None:
        assert structure("d5").behavior_policy.tolist() == [[0.5, 0.5, 0.0]]


class TestOptima:
    @pytest.mark.parametrize(
        ("name", "floor", "expected"),
        [
            ("d1", 0.0, (0.9933, 0.0067, 0.0)),
            ("d2", 0.0, (0.5, 0.5, 0.0)),
            ("d3b", 0.25, (0.9933, 0.0067, 0.0)),
            ("d3b", 2 / 3, (2 / 3, 1 / 3, 0.0)),
            ("d3c", 0.49975, (0.5, 0.5, 0.0)),
            ("d3c", 2 / 3, (1 / 3, 2 / 3, 0.0)),
            ("d4", 0.25, (1 / 3, 1 / 3, 1 / 3)),
        ],
    )
    def test_structures(self, name: str, floor: float, expected: tuple[float, ...]) -> None:
        found = structure(name).constrained(P, (None, floor), tau=0.1)
        np.testing.assert_allclose(table(found.logps), expected, atol=1e-3)
        assert float(found.constraints[0]) >= floor - 1e-9

    @pytest.mark.parametrize("tau", [0.05, 0.1, 0.5, 5.0])
    def test_an_action_that_was_never_seen_keeps_a_formula(self, tau: float) -> None:
        """Preference 0 against 1/2: pi_3 = 1 / (1 + 2 exp(1 / (2 tau)))."""
        found = table(structure("d5").constrained(P, (None, 0.0), tau).logps)
        assert found[2] == pytest.approx(1 / (1 + 2 * math.exp(0.5 / tau)), abs=1e-12)

    @pytest.mark.parametrize("name", ["d1", "d2", "d3b", "d3c"])
    def test_the_penalty_keeps_it_near_the_reference(self, name: str) -> None:
        made = structure(name)
        floors = (None, 0.25)
        far = [
            total_variation(made.constrained(P, floors, tau).logps, made.ref_logps)
            for tau in (0.05, 0.5, 5.0)
        ]
        assert far[0] > far[1] > far[2]

    def test_no_floor_is_the_weighted_optimum_of_preferences(self) -> None:
        made = structure("d3c")
        found = made.constrained(P, (None, None), tau=0.3).logps
        assert total_variation(found, made.optimum(TradeOff.only(P, 2), beta=0.3)) < 1e-12

    def test_infeasible_floors_are_told(self) -> None:
        verdict = structure("d4").verdict(P, (None, 2 / 3))
        assert not verdict.is_feasible and verdict.best == (0.5,)
        with pytest.raises(InfeasibleError, match=r"cannot be met: best seen 0\.5"):
            structure("d4").constrained(P, (None, 2 / 3))

    def test_robust_with_no_ball_is_the_constrained_optimum(self) -> None:
        made = random_problem(seed=14)
        floors, plain = (None, 0.7), made.constrained(P, (None, 0.7))
        assert total_variation(made.robust(P, 0.0, floors).logps, plain.logps) < 1e-6
        worst = made.robust(P, 0.01, (None, 0.5), tau=0.3)
        assert float(worst.bounds[0]) >= 0.5 - 1e-6
        assert float(worst.constraints[0]) > float(worst.bounds[0]) + 1e-3

    def test_weighted_optimum_beats_its_neighbors(self) -> None:
        made, tradeoff, beta = random_problem(), TradeOff((0.3, 0.7)), 0.5
        best = made.optimum(tradeoff, beta)

        def value(logps: torch.Tensor) -> float:
            utility = made.values @ torch.as_tensor(tradeoff.array)
            gain = utility - beta * (logps - made.ref_logps)
            return float((logps.exp() * gain).sum(-1).mean())

        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            step = 0.1 * torch.randn(best.shape, generator=generator, dtype=torch.float64)
            assert value(torch.log_softmax(best + step, dim=-1)) < value(best)

    @pytest.mark.parametrize("name", problem_names())
    def test_floors_of_the_bench_can_be_met(self, name: str) -> None:
        made = problem(name)
        for primary in range(len(made.objectives)):
            assert made.verdict(primary).is_feasible
            found = made.constrained(primary)
            assert float(found.gap) < 1e-9
        assert any(
            float(made.constrained(i).multipliers.max()) > 0.01 for i in range(len(made.objectives))
        ) or name in ("d1", "d2", "d4", "d5"), "no floor binds"


class TestMotivating:
    @pytest.mark.parametrize("which", ["a", "b"])
    def test_agreeing_labels_are_those_of_the_summed_rewards(self, which: str) -> None:
        """With independent labels, P(first preferred | both agree) = sigmoid(dr_1 + dr_2)."""
        made = motivating_problem(which)
        data = made.data()
        assert data.multiplicity is not None
        counts = data.multiplicity.reshape(-1, 4)
        labels = data.labels.reshape(-1, 4, 2)[0].tolist()
        assert labels[0] == [1, 1] and labels[3] == [-1, -1]
        chance = counts[:, 0] / (counts[:, 0] + counts[:, 3])
        expected = 1 / (1 + np.exp(-data.margins[::4].sum(axis=1)))
        np.testing.assert_allclose(chance, expected, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("which", ["a", "b"])
    def test_four_data_sets(self, which: str) -> None:
        made = motivating_problem(which)
        weights = {"d1": (1.0, 0.0), "d2": (0.0, 1.0), "dcap": (1.0, 1.0), "dmix": (0.3, 0.7)}
        for name, pull in weights.items():
            data = motivating_data(made, name, TradeOff((0.3, 0.7)))
            objective = 1 if name == "d2" else 0
            method = DPO("single", beta=1.0, objective=objective)
            engine = TabularEngine(Table(made.ref_logps), data, made.action_of)
            (trained,) = engine.train(method.plan(2, [])).values()
            expected = kl_regularized_optimum(
                made.ref_logps, made.values, torch.tensor(pull).double(), beta=1.0
            )
            assert total_variation(engine.model.logps(trained), expected) < 1e-5

    def test_agreeing_labels_land_on_the_front_not_off_it(self) -> None:
        made = motivating_problem("a")
        ones = torch.ones(2, dtype=torch.float64)
        best = kl_regularized_optimum(made.ref_logps, made.values, ones, beta=0.01)
        found = np.array(expected_rewards(best, made.values).tolist())
        hull = np.array(made.known_front.hull)
        assert (found @ [1, 1]) == pytest.approx((hull @ [1, 1]).max(), abs=0.02)


class TestBuilders:
    def test_problems_depend_on_the_seed_alone(self) -> None:
        for make in (random_problem, lambda seed: front_problem("convex", 50, seed)):
            one, again, other = make(seed=0), make(seed=0), make(seed=1)
            assert torch.equal(one.values, again.values)
            assert torch.equal(one.ref_logps, again.ref_logps)
            assert not torch.equal(one.values, other.values)

    def test_ties(self) -> None:
        values = random_problem(levels=3).values
        assert set(values.unique().tolist()) == {-1.0, 0.0, 1.0}

    @pytest.mark.parametrize(("shape", "bulge"), [("convex", 1), ("nonconvex", -1)])
    def test_shapes_bulge_their_way(self, shape, bulge: int) -> None:
        rewards = front_problem(shape, 5000).values[0].numpy()
        middle = rewards[np.abs(rewards[:, 0] - rewards[:, 1]) < 0.1].sum(axis=1).max()
        assert bulge * (middle - 1) > 0.3 and rewards.min() >= 0 and 0.95 < rewards.max() <= 1

    def test_names(self) -> None:
        assert set(STRUCTURES) < set(problem_names())
        assert [p.name for p in chosen(["random-2", "d1", "d1"])] == ["d1", "random-2"]
        assert [p.name for p in chosen(())] == list(problems()) == list(problem_names())
        with pytest.raises(
            ConfigError, match=r"unknown problem 'randm-2' \(did you mean 'random-2'"
        ):
            problem("randm-2")

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"rewards": None}, ConfigError, "found neither, expected rewards or seen"),
            ({"seen": ((0, 0, 1, (1.0, 1.0)),)}, ConfigError, "found both"),
            ({"slope": 0.0}, ConfigError, "found slope 0.0"),
            ({"tau": float("nan")}, ConfigError, "found tau nan"),
            ({"floors": (0.5,)}, ShapeError, "found 1 floors, expected 2"),
            ({"objectives": Objectives.of("a")}, ShapeError, r"found rewards \(3, 6, 2\)"),
            ({"behavior": torch.ones(1, 6)}, ShapeError, r"found behavior \(1, 6\)"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change: dict, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            dataclasses.replace(random_problem(), **change)

    def test_slope_must_be_positive(self) -> None:
        with pytest.raises(ConfigError, match="found slope 0"):
            random_problem().data(slope=0.0)

    def test_equality_is_identity(self) -> None:
        # Tensors inside have no single truth value.
        assert (random_problem() == random_problem()) is False and isinstance(
            random_problem(), Problem
        )
