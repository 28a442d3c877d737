from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.core.job import PairOrder
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.pairing import (
    comparison_keys,
    comparisons_from_scores,
    keep_every_objective,
    keep_labelled,
    label_from_rewards,
    order_by_agreement,
    order_by_drawn_objective,
    order_by_objective,
    order_by_weighted_labels,
    uniform,
)

NAN = float("nan")
KEYS = comparison_keys(100_000, seed=0)


def used(order: PairOrder) -> list[tuple[int, bool]]:
    return [(int(i), bool(f)) for i, f in zip(order.index, order.flipped, strict=True)]


def keys(labels: np.ndarray) -> np.ndarray:
    return KEYS[: len(labels)]


class TestByObjective:
    labels = np.array([[1, -1], [-0.2, 1], [0, 1], [NAN, 1]])

    def test_value(self) -> None:
        assert used(order_by_objective(self.labels, KEYS[:4], index=0)) == [(0, False), (1, True)]
        expected = [(0, True), (1, False), (2, False), (3, False)]
        assert used(order_by_objective(self.labels, KEYS[:4], index=1)) == expected

    @pytest.mark.parametrize("index", [-1, 2])
    def test_unknown_column(self, index: int) -> None:
        with pytest.raises(ConfigError, match=f"found objective {index}, expected one of 0 to 1"):
            order_by_objective(self.labels, KEYS[:4], index=index)


class TestByAgreement:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ((1, 1, 1), [(0, False)]),
            ((-1, -0.5, -1), [(0, True)]),
            ((1, 1, -1), []),
            ((1, 0, 1), [(0, False)]),  # ties do not disagree
            ((0, 0, -1), [(0, True)]),
            ((0, 0, 0), []),
            ((1, NAN, 1), [(0, False)]),  # nor do missing labels
            ((1, NAN, 0), [(0, False)]),
            ((1, NAN, NAN), []),  # but alone there is nothing to agree with
            ((NAN, NAN, NAN), []),
        ],
    )
    def test_value(self, labels: tuple[float, ...], expected: list[tuple[int, bool]]) -> None:
        assert used(order_by_agreement(np.array([labels], dtype=float), KEYS[:1])) == expected


class TestByDrawnObjective:
    labels = np.tile([[1.0, -1.0]], (len(KEYS), 1))

    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
    def test_share_is_the_weight(self, weight: float) -> None:
        order = order_by_drawn_objective(self.labels, KEYS, (weight, 1 - weight))
        assert len(order.index) == len(KEYS)
        # Standard error .0015 in the middle; the corners are exact.
        tolerance = 0.006 if 0 < weight < 1 else 0
        assert abs((~order.flipped).mean() - weight) <= tolerance

    def test_missing_labels_are_renormalized(self) -> None:
        labels = np.tile([[1.0, NAN, -1.0]], (len(KEYS), 1))
        order = order_by_drawn_objective(labels, KEYS, (0.1, 0.6, 0.3))
        assert len(order.index) == len(KEYS)
        assert (~order.flipped).mean() == pytest.approx(0.25, abs=0.006)

    def test_a_drawn_tie_is_left_out(self) -> None:
        labels = np.tile([[0.0, -1.0]], (len(KEYS), 1))
        order = order_by_drawn_objective(labels, KEYS, (0.4, 0.6))
        assert order.flipped.all()
        assert len(order.index) / len(KEYS) == pytest.approx(0.6, abs=0.006)

    def test_nothing_to_draw(self) -> None:
        labels = np.array([[NAN, NAN], [NAN, 1.0]])
        assert used(order_by_drawn_objective(labels, KEYS[:2], (1.0, 0.0))) == []

    def test_extreme_keys_stay_inside(self) -> None:
        labels = np.array([[1.0, -1.0]] * 2)
        ends = np.array([0, 2**64 - 1], dtype=np.uint64)
        for weights, flipped in (((1.0, 0.0), False), ((0.0, 1.0), True)):
            assert (order_by_drawn_objective(labels, ends, weights).flipped == flipped).all()

    def test_draws_are_coupled(self) -> None:
        few = order_by_drawn_objective(self.labels, KEYS, (0.3, 0.7)).flipped
        many = order_by_drawn_objective(self.labels, KEYS, (0.4, 0.6)).flipped
        assert (many <= few).all() and many.sum() < few.sum()

    def test_is_the_loss_weighted_rule_in_expectation(self) -> None:
        rng = np.random.default_rng(0)
        row = rng.choice([-1.0, 0.0, 1.0, NAN], size=(1, 4))
        row[0, 0] = 1.0
        w = np.array([0.1, 0.2, 0.3, 0.4])
        order = order_by_drawn_objective(np.repeat(row, len(KEYS), axis=0), KEYS, tuple(w))
        net = (np.where(order.flipped, -1, 1)).sum() / len(KEYS)
        known = ~np.isnan(row[0])
        expected = (w[known] * np.sign(row[0][known])).sum() / w[known].sum()
        assert net == pytest.approx(expected, abs=0.01)


class TestByWeightedLabels:
    def test_value(self) -> None:
        labels = np.array([[1, -1], [-0.5, 1], [0.7, -0.3], [NAN, -1], [NAN, NAN], [0, 0]])
        order = order_by_weighted_labels(labels, KEYS[:6], (0.3, 0.7))
        # -.4, .55, 0 (up to rounding), -.7, nothing, 0
        assert used(order) == [(0, True), (1, False), (3, True)]

    def test_number_of_weights(self) -> None:
        for rule in (order_by_weighted_labels, order_by_drawn_objective, keep_labelled):
            with pytest.raises(ShapeError, match="found 3 weights, expected 2"):
                rule(np.zeros((1, 2)), KEYS[:1], (0.3, 0.3, 0.4))


class TestKeepLabelled:
    def test_value(self) -> None:
        labels = np.array([[1, -1], [NAN, -1], [0, NAN], [NAN, NAN], [0, 0], [-1, 0]])
        assert used(keep_labelled(labels, KEYS[:6], (0.5, 0.5))) == [
            (0, False),
            (1, False),
            (5, False),
        ]
        assert used(keep_labelled(labels, KEYS[:6], (1.0, 0.0))) == [(0, False), (5, False)]


RULES = [
    partial(order_by_objective, index=1),
    order_by_agreement,
    partial(order_by_drawn_objective, weights=(0.2, 0.3, 0.5)),
    partial(order_by_weighted_labels, weights=(0.2, 0.3, 0.5)),
    partial(keep_labelled, weights=(0.2, 0.3, 0.5)),
]
LABELS = arrays(
    np.float64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.sampled_from(
        [-1.0, -0.5, 0.0, 0.25, 1.0, NAN]
    )
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@given(labels=LABELS)
def test_every_rule(rule, labels: np.ndarray) -> None:
    """Ascending distinct rows, inputs untouched, same answer twice, rows judged one by one."""
    before = labels.copy()
    order = rule(labels, keys(labels))
    np.testing.assert_array_equal(labels, before)
    assert order.index.dtype == np.int64 and order.flipped.dtype == np.bool_
    assert len(order.index) == len(order.flipped) and (np.diff(order.index) > 0).all()
    assert used(rule(labels, keys(labels))) == used(order)
    half = len(labels) // 2
    alone = used(rule(labels[:half], keys(labels)[:half]))
    assert alone == [pair for pair in used(order) if pair[0] < half]


@pytest.mark.parametrize("rule", RULES[:-1])
@given(labels=LABELS)
def test_exchanging_the_responses_flips(rule, labels: np.ndarray) -> None:
    there, back = rule(labels, keys(labels)), rule(-labels, keys(labels))
    np.testing.assert_array_equal(there.index, back.index)
    np.testing.assert_array_equal(there.flipped, ~back.flipped)


class TestLabelFromRewards:
    def test_signs(self) -> None:
        margins = np.array([[0.5, -2.0], [0.0, NAN]])
        np.testing.assert_array_equal(label_from_rewards(margins), [[1, -1], [0, NAN]])

    def test_draws_follow_the_margin(self) -> None:
        margins = np.tile([[0.1, -0.2, 0.0, NAN]], (len(KEYS), 1))
        labels = label_from_rewards(margins, slope=10.0, keys=KEYS)
        assert np.isnan(labels[:, 3]).all() and set(np.unique(labels[:, :3])) == {-1, 1}
        share = (labels[:, :3] > 0).mean(axis=0)
        # sigmoid(1), sigmoid(-2), sigmoid(0)
        np.testing.assert_allclose(share, [0.7311, 0.1192, 0.5], atol=0.006)

    def test_objectives_draw_apart(self) -> None:
        labels = label_from_rewards(np.zeros((len(KEYS), 2)), slope=1.0, keys=KEYS)
        assert abs((labels[:, 0] * labels[:, 1]).mean()) < 0.02

    def test_huge_margins(self) -> None:
        labels = label_from_rewards(np.array([[1e9, -1e9]]), slope=10.0, keys=KEYS[:1])
        np.testing.assert_array_equal(labels, [[1, -1]])

    @pytest.mark.parametrize(("slope", "some"), [(0.0, True), (-1.0, True), (1.0, False)])
    def test_bad_input(self, slope: float, some: bool) -> None:
        with pytest.raises(ConfigError, match="labels: found slope"):
            label_from_rewards(np.zeros((1, 1)), slope, KEYS[:1] if some else None)


class TestComparisonsFromScores:
    rewards = np.array(
        [[0, 1], [0, 1], [1, NAN], [2, 0], [NAN, 5], [NAN, NAN], [3, 3]], dtype=float
    )
    prompt_of = np.array([0, 0, 0, 1, 1, 1, 0])

    def test_all(self) -> None:
        first, second = comparisons_from_scores(self.rewards, self.prompt_of)
        # 0-1 ties everywhere; 5 is not scored
        found = list(zip(first.tolist(), second.tolist(), strict=True))
        assert found == [(0, 2), (0, 6), (1, 2), (1, 6), (2, 6), (3, 4)]

    def test_some_are_some_of_all(self) -> None:
        rng = np.random.default_rng(0)
        rewards, prompt_of = rng.normal(size=(60, 2)), rng.integers(0, 6, 60)
        every = set(zip(*map(tuple, comparisons_from_scores(rewards, prompt_of)), strict=True))
        choices = []
        for seed in (0, 0, 1):
            first, second = comparisons_from_scores(rewards, prompt_of, per_prompt=5, seed=seed)
            some = set(zip(first.tolist(), second.tolist(), strict=True))
            assert some <= every and len(some) == 30
            assert (np.bincount(prompt_of[first]) == 5).all()
            assert (np.diff(first) >= 0).all() and (first < second).all()
            choices.append(some)
        assert choices[0] == choices[1] != choices[2]

    def test_choice_is_even(self) -> None:
        rewards, prompt_of = np.arange(12_000.0)[:, None], np.arange(12_000) // 4
        first, second = comparisons_from_scores(rewards, prompt_of, per_prompt=1, seed=3)
        which = (first % 4) * 4 + second % 4
        share = np.unique(which, return_counts=True)[1] / 3000
        assert len(share) == 6
        np.testing.assert_allclose(share, 1 / 6, atol=0.03)

    def test_nothing_to_compare(self) -> None:
        first, second = comparisons_from_scores(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
        assert len(first) == len(second) == 0 and first.dtype == np.int64
        with pytest.raises(ConfigError, match="per_prompt 0"):
            comparisons_from_scores(self.rewards, self.prompt_of, per_prompt=0)


def test_uniform_is_uniform_and_streams_differ() -> None:
    a, b = uniform(KEYS), uniform(KEYS, stream=1)
    for values in (a, b):
        assert values.min() >= 0 and values.max() < 1
        np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / len(KEYS), 0.1, atol=0.005)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02


def test_keys_depend_on_seed_and_row() -> None:
    assert len(np.unique(np.concatenate([KEYS, comparison_keys(100_000, 1)]))) == 200_000
    np.testing.assert_array_equal(comparison_keys(5, 0), KEYS[:5])


class TestEveryObjective:
    def test_keeps_what_is_labelled_on_any(self) -> None:
        labels = np.array([[1.0, np.nan], [np.nan, np.nan], [0.0, -1.0]])
        order = keep_every_objective(labels, KEYS[:3])
        assert order.index.tolist() == [0, 2] and not order.flipped.any()

    @pytest.mark.parametrize("silent", [np.nan, 0.0])
    def test_an_objective_without_labels_is_named(self, silent: float) -> None:
        labels = np.array([[1.0, silent, silent], [-1.0, silent, 0.0]])
        with pytest.raises(InputError, match=r"objectives in columns \[1, 2\]"):
            keep_every_objective(labels, KEYS[:2])
