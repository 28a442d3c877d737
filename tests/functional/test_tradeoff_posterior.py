from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune import TradeOffPosterior
from paretune.core.question import ANSWERS, Answer, Option, Question
from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.particles import Prior
from paretune.functional.tradeoff_posterior import shares_lost

SURE = Prior(("linear",), temperatures=(1e-6,), same=(0.0,), steps=2)
"""Weights of the first objective 1/2 - 1/sqrt(8) = 0.146, 1/2, 0.854; no noise."""
LOW, HIGH = 0.5 - 8**-0.5, 0.5 + 8**-0.5
SMALL = Prior(temperatures=(0.1, 0.5), steps=7)

REWARDS = st.tuples(*[st.integers(0, 10).map(lambda n: n / 10)] * 3)
ANSWERED = st.lists(st.tuples(REWARDS, REWARDS, st.sampled_from(ANSWERS)), max_size=5)


def ask(first: tuple[float, ...], second: tuple[float, ...]) -> Question:
    return Question(Option("a", first), Option("b", second))


def told(rows: list[tuple[tuple[float, ...], tuple[float, ...], Answer]]) -> TradeOffPosterior:
    posterior = TradeOffPosterior(3, prior=SMALL)
    for first, second, answer in rows:
        posterior = posterior.observe(ask(first, second), answer)
    return posterior


def by_weights(posterior: TradeOffPosterior) -> dict[tuple[float, ...], float]:
    """Chance of each (utility, weights)."""
    known = posterior.particles
    keys = [(kind, *row) for kind in range(len(known.utilities)) for row in known.weights.round(9)]
    return dict(zip(keys, posterior.taste_chances.tolist(), strict=True))


class TestObserve:
    def test_noiseless_on_three_points(self) -> None:
        # (1, 0) beats (0, 0.5) where w1 > 0.5 (1 - w1), i.e. w1 > 1/3: the last two points.
        once = TradeOffPosterior(2, prior=SURE).observe(ask((1, 0), (0, 0.5)), "first")
        np.testing.assert_allclose(once.taste_chances, [0, 0.5, 0.5], atol=1e-12)
        # (0, 1) beats (0.5, 0) where 1 - w1 > 0.5 w1, i.e. w1 < 2/3: the first two.
        twice = once.observe(ask((0, 1), (0.5, 0)), "first")
        np.testing.assert_allclose(twice.taste_chances, [0, 1, 0], atol=1e-12)
        assert twice.estimate().tradeoff.weights == pytest.approx((0.5, 0.5))

    def test_with_noise_by_hand(self) -> None:
        prior = Prior(("linear",), temperatures=(0.5,), same=(1.0,), steps=2)
        posterior = TradeOffPosterior(2, prior=prior).observe(ask((1, 0), (0, 1)), "first")
        # Gaps w1 - w2 at temperature 1/2: worths e^gap, e^-gap, and 1 of same.
        gaps = np.array([LOW - HIGH, 0, HIGH - LOW])
        likelihood = np.exp(gaps) / (np.exp(gaps) + np.exp(-gaps) + 1)
        np.testing.assert_allclose(posterior.taste_chances, likelihood / likelihood.sum())

    def test_is_immutable(self) -> None:
        before = TradeOffPosterior(2)
        before.observe(ask((1, 0), (0, 1)), "first")
        assert before == TradeOffPosterior(2)
        with pytest.raises(ValueError, match="read-only"):
            before.chances[0] = 1

    @given(rows=ANSWERED, seed=st.integers(0, 5))
    def test_order_does_not_matter(self, rows: list[object], seed: int) -> None:
        shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
        np.testing.assert_allclose(told(rows).chances, told(shuffled).chances, atol=1e-12)  # type: ignore[arg-type]

    @given(rows=ANSWERED)
    def test_mirrored_questions(self, rows: list[tuple[object, object, Answer]]) -> None:
        other: dict[Answer, Answer] = {"first": "second", "second": "first", "same": "same"}
        mirrored = [(second, first, other[answer]) for first, second, answer in rows]
        np.testing.assert_allclose(told(rows).chances, told(mirrored).chances, atol=1e-12)  # type: ignore[arg-type]

    @given(rows=ANSWERED, order=st.sampled_from(list(permutations(range(3)))))
    def test_permuting_objectives(
        self,
        rows: list[tuple[tuple[float, ...], tuple[float, ...], Answer]],
        order: tuple[int, ...],
    ) -> None:
        def turn(row: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(row[i] for i in order)

        found = by_weights(told([(turn(a), turn(b), answer) for a, b, answer in rows]))
        for (kind, *weights), chance in by_weights(told(rows)).items():
            assert found[(kind, *turn(tuple(weights)))] == pytest.approx(chance, abs=1e-12)

    def test_two_equal_replies_tell_nothing_of_the_taste(self) -> None:
        for answer in ANSWERS:
            chances = TradeOffPosterior(2).observe(ask((0.4, 0.6), (0.4, 0.6)), answer)
            np.testing.assert_allclose(chances.taste_chances, 1 / 200)

    def test_an_objective_that_never_varies_cancels_for_linear_users(self) -> None:
        prior = Prior(("linear",))
        one = TradeOffPosterior(3, prior=prior).observe(ask((1, 0, 0.2), (0, 1, 0.2)), "first")
        other = TradeOffPosterior(3, prior=prior).observe(ask((1, 0, 0.9), (0, 1, 0.9)), "first")
        np.testing.assert_allclose(one.chances, other.chances, atol=1e-12)
        mean = one.estimate().tradeoff.weights
        assert mean[0] > mean[2] > mean[1]

    def test_same_is_possible_only_if_someone_says_it(self) -> None:
        posterior = TradeOffPosterior(2, prior=SURE).observe(ask((1, 0), (0, 1)), "same")
        with pytest.raises(InputError, match="same = 0"):
            posterior.estimate()

    def test_one_objective_has_no_trade_off(self) -> None:
        with pytest.raises(InputError, match="found 1 objectives"):
            TradeOffPosterior(1)

    def test_objectives_differ(self) -> None:
        with pytest.raises(ShapeError, match="found 2 rewards, expected 3"):
            TradeOffPosterior(3).observe(ask((1, 0), (0, 1)), "first")


class TestOddPeople:
    def test_contradictions_end_as_noise(self) -> None:
        clear = posterior = TradeOffPosterior(2)
        for _ in range(4):
            clear = clear.observe(ask((1, 0), (0, 1)), "first").observe(
                ask((0, 0.5), (1, 0)), "second"
            )
            posterior = posterior.observe(ask((1, 0), (0, 1)), "first").observe(
                ask((1, 0), (0, 1)), "second"
            )
        found = posterior.estimate()
        assert found.tradeoff.weights == pytest.approx((0.5, 0.5))
        assert found.temperature > 2 * clear.estimate().temperature
        # Eight answers, and less is known than four clear ones tell.
        assert found.high[0] - found.low[0] > 0.4

    @pytest.mark.parametrize("n_objectives", [2, 3, 4, 5])
    def test_always_same_stays_in_the_middle(self, n_objectives: int) -> None:
        corners = np.eye(n_objectives)
        posterior = TradeOffPosterior(n_objectives)
        for one in range(n_objectives):
            for other in range(one):
                question = ask(tuple(corners[one]), tuple(corners[other]))
                posterior = posterior.observe(question, "same")
        found = posterior.estimate()
        assert found.tradeoff.weights == pytest.approx([1 / n_objectives] * n_objectives)
        assert all(
            low < 1 / n_objectives < high for low, high in zip(found.low, found.high, strict=True)
        )


class TestEstimate:
    def test_before_any_answer(self) -> None:
        found = TradeOffPosterior(2).estimate(level=0.9)
        assert found.tradeoff.weights == pytest.approx((0.5, 0.5))
        # Uniform: 5 % on each side, to the width of a cell.
        assert found.low == pytest.approx((0.05, 0.05), abs=0.01)
        assert found.high == pytest.approx((0.95, 0.95), abs=0.01)
        assert found.utility == pytest.approx({"linear": 0.5, "chebyshev": 0.5})
        assert found.n_effective == pytest.approx(200)
        assert found.entropy == pytest.approx(np.log(200))
        assert found.temperature == pytest.approx((0.05 + 0.1 + 0.2 + 0.5) / 4)

    def test_kind_of_utility_is_learned(self) -> None:
        # No linear user prefers the balanced reply to both of these.
        posterior = TradeOffPosterior(2)
        for _ in range(4):
            for extreme in ((1.0, 0.0), (0.0, 1.0)):
                posterior = posterior.observe(ask((0.4, 0.4), extreme), "first")
        assert posterior.estimate().utility["chebyshev"] > 0.95

    def test_interval_covers(self) -> None:
        """Users drawn from the prior lie in their 80 % intervals in about 80 of 100 cases."""
        rng = np.random.default_rng(1)
        known, covered = TradeOffPosterior(2).particles, []
        for _ in range(300):
            taste, noise = rng.integers(known.n_tastes), rng.integers(known.n_noises)
            posterior = TradeOffPosterior(2)
            for _ in range(4):
                a, b = rng.random((2, 2))
                logs = known.answer_log_chances([a], [b])
                chance = np.exp(logs[taste * known.n_noises + noise, 0])
                answer = ANSWERS[rng.choice(3, p=chance)]
                posterior = posterior.observe(ask(tuple(a), tuple(b)), answer)
            found = posterior.estimate(level=0.8)
            w = known.weights[taste % len(known.weights), 0]
            covered.append(found.low[0] <= w <= found.high[0])
        # Three standard errors of 300 draws, and a cell more at each end.
        assert 0.73 < np.mean(covered) < 0.88

    @pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
    def test_level_out_of_range(self, level: float) -> None:
        with pytest.raises(InputError, match="level"):
            TradeOffPosterior(2).estimate(level)


class TestBest:
    def test_by_hand(self) -> None:
        # Utilities of the three rows to the three tastes, w2 = 1 - w1:
        # (1, 0): w1; (0, 0.6): 0.6 w2; (0.5, 0.42): 0.42 + 0.08 w1.
        first, second = np.array([LOW, 0.5, HIGH]), 0.6 * np.array([HIGH, 0.5, LOW])
        third = 0.42 + 0.08 * np.array([LOW, 0.5, HIGH])
        # The best of each: the second row (0.512), the first (0.5), the first (0.854).
        best = np.array([0.6 * HIGH, 0.5, HIGH])
        losses = [float(((best - u) / best).mean()) for u in (first, second, third)]
        # In thousandths: (714 + 0 + 0) / 3, (0 + 400 + 897) / 3, (157 + 80 + 428) / 3. The
        # compromise, which is the favorite of none of the three.
        assert losses == pytest.approx([0.238, 0.432, 0.222], abs=5e-4)
        found = TradeOffPosterior(2, prior=SURE).best([[1, 0], [0, 0.6], [0.5, 0.42]])
        assert found.index == 2
        assert found.loss == pytest.approx(losses[2])
        assert found.utility == pytest.approx(0.46)

    def test_both_kinds_of_utility(self) -> None:
        # Balanced people: sums prefer an end, the worst objective the middle.
        front = [[1.0, 0.1], [0.4, 0.4], [0.1, 1.0]]
        answers = [
            (ask((0.5, 0.5), (0.52, 0.46)), "first"),
            (ask((0.5, 0.5), (0.46, 0.52)), "first"),
        ]
        kinds: dict[str, int] = {}
        for kind in ("linear", "chebyshev"):
            prior = Prior((kind,), temperatures=(0.005,))  # type: ignore[arg-type]
            posterior = TradeOffPosterior(2, prior=prior)
            for question, answer in answers:
                posterior = posterior.observe(question, answer)  # type: ignore[arg-type]
            kinds[kind] = posterior.best(front).index
        assert kinds == {"linear": 0, "chebyshev": 1}

    def test_a_dominated_row_changes_nothing(self) -> None:
        posterior = TradeOffPosterior(2).observe(ask((1, 0), (0, 1)), "first")
        front = [[1.0, 0.0], [0.6, 0.6], [0.0, 1.0]]
        assert posterior.best(front) == posterior.best([*front, [0.5, 0.5]])

    def test_ties_go_to_the_first(self) -> None:
        assert TradeOffPosterior(2).best([[0.5, 0.2], [0.5, 0.2]]).index == 0
        assert TradeOffPosterior(2).best([[1.0, 0.0], [0.0, 1.0]]).index == 0

    def test_not_measured(self) -> None:
        with pytest.raises(NotScoredError):
            TradeOffPosterior(2).best([[0.5, float("nan")]])
        with pytest.raises(NotScoredError):
            TradeOffPosterior(2).best(np.zeros((0, 2)))
        with pytest.raises(ShapeError, match=r"\(1, 3\)"):
            TradeOffPosterior(2).best([[0.5, 0.1, 0.2]])

    def test_shares_lost_outside_the_unit_box(self) -> None:
        np.testing.assert_allclose(shares_lost([-0.1, -0.3]), [0, 0.2])
        np.testing.assert_allclose(shares_lost([0.1, -5.0]), [0, 1])


class TestJson:
    @given(rows=ANSWERED)
    def test_round_trip(
        self, rows: list[tuple[tuple[float, ...], tuple[float, ...], Answer]]
    ) -> None:
        posterior = told(rows)
        again = TradeOffPosterior.from_json(posterior.to_json())
        assert again == posterior
        np.testing.assert_array_equal(again.chances, posterior.chances)

    @pytest.mark.parametrize(
        "change",
        [
            {"version": 2},
            {"answers": [{"first": ["a", [0, 1]], "second": ["b", [1, 0]], "prompt": ""}]},
            {"answers": [{"first": "a", "second": "b", "prompt": "", "answer": "first"}]},
            {"answers": 3},
            {"prior": {}},
            {"n_objectives": "two"},
            {"n_objectives": 1},
        ],
    )
    def test_something_else(self, change: dict[str, object]) -> None:
        content = json.loads(TradeOffPosterior(2).to_json())
        with pytest.raises(InputError, match="expected what to_json wrote"):
            TradeOffPosterior.from_json(json.dumps(content | change))

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
    def test_no_posterior_at_all(self, text: str) -> None:
        with pytest.raises(InputError, match="expected what to_json wrote"):
            TradeOffPosterior.from_json(text)
