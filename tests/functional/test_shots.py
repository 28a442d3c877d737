from __future__ import annotations

import numpy as np
import pytest

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.shots import Examples
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot, User
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.shots import (
    check_shots,
    deal_comparisons,
    draw_shots,
    is_usable,
    joint_prompts,
    orient,
    other_users,
    shots_for_weights,
    shots_of,
)


def world(n: int, per_prompt: int = 2) -> PreferenceData:
    """``n`` comparisons, several on a prompt; objective ``a`` against ``b``."""
    rng = np.random.default_rng(0)
    records = [
        Record(
            f"q{i // per_prompt}",
            (Response(f"x{i}"), Response(f"y{i}")),
            (Comparison(0, 1, dict(zip("ab", rng.uniform(-1, 1, 2), strict=True))),),
        )
        for i in range(n)
    ]
    return PreferenceData.from_records(records, ("a", "b"))


class TestDeal:
    def test_every_hand_is_full_and_the_deck_is_used_up(self) -> None:
        examples = deal_comparisons(n_users=7, n_comparisons=11, pairs_per_user=3, seed=0)
        hands = examples.comparison_of.reshape(7, 3)
        assert (examples.user_of.reshape(7, 3) == np.arange(7)[:, None]).all()
        assert all(len(set(hand)) == 3 for hand in hands.tolist())
        # Three hands a deck, nine cards of eleven, all different.
        assert [len(np.unique(hands[i : i + 3])) for i in (0, 3)] == [9, 9]

    def test_users_do_not_change_each_other(self) -> None:
        few, many = deal_comparisons(3, 20, 4, seed=1), deal_comparisons(9, 20, 4, seed=1)
        assert few.comparison_of.tolist() == many.comparison_of[:12].tolist()
        other = deal_comparisons(3, 20, 4, seed=2)
        assert few.comparison_of.tolist() != other.comparison_of.tolist()
        assert len(deal_comparisons(0, 20, 4, seed=1)) == 0

    @pytest.mark.parametrize("pairs", [0, 21])
    def test_hands_that_cannot_be_dealt(self, pairs: int) -> None:
        with pytest.raises(ConfigError, match="1 <= pairs_per_user <= comparisons"):
            deal_comparisons(3, 20, pairs, seed=0)


def test_somebody_else_is_never_oneself() -> None:
    user_of = np.repeat(np.arange(50), 4)
    others = other_users(user_of, 50, seed=0)
    assert (others != user_of).all() and others.min() >= 0 and others.max() < 50
    assert (others.reshape(50, 4) == others.reshape(50, 4)[:, :1]).all()
    assert len(set(others.tolist())) > 20
    with pytest.raises(ConfigError, match="found 1 users"):
        other_users(np.zeros(3, np.int64), 1, seed=0)


def test_ties_show_nothing_even_where_any_gap_will_do() -> None:
    gaps = np.array([0.05, -0.05, 0.049, 0.0, 1e-14, np.nan])
    assert is_usable(gaps, 0.05).tolist() == [True, True, False, False, False, False]
    assert is_usable(gaps).tolist() == [True, True, True, False, False, False]


class TestOrient:
    def test_without_noise(self) -> None:
        assert orient(np.array([0.2, -0.1, 0.0, np.nan])).tolist() == [False, True, False, False]

    def test_noise_follows_the_gap(self) -> None:
        for gap, slope in ((0.1, 10.0), (-0.1, 10.0), (0.5, 1.0)):
            flipped = orient(np.full(20_000, gap), slope, seed=3)
            kept = np.mean(flipped == (gap < 0))
            assert kept == pytest.approx(1 / (1 + np.exp(-slope * abs(gap))), abs=0.012)

    def test_errors_are_the_users_own(self) -> None:
        gaps = np.full(100, 0.1)
        assert orient(gaps, 5.0, 0).tolist() == orient(gaps, 5.0, 0).tolist()
        assert orient(gaps, 5.0, 0).tolist() != orient(gaps, 5.0, 1).tolist()
        assert orient(gaps[:10], 5.0, 0).tolist() == orient(gaps, 5.0, 0)[:10].tolist()


class TestDraw:
    data = world(60)
    prompt_of = data.prompt_of[data.first]
    examples = deal_comparisons(12, 60, 20, seed=0)

    def draw(
        self, n: tuple[int, int] = (4, 4), seed: int = 0, epoch: int = 0, **more
    ) -> np.ndarray:
        visits = np.arange(len(self.examples))
        epochs = np.full(len(visits), epoch)
        return draw_shots(self.examples, visits, epochs, self.prompt_of, n, seed, **more)

    def test_shots_are_the_users_own_and_never_on_the_querys_prompt(self) -> None:
        rows = self.draw((8, 8))
        users, comparisons = self.examples.user_of, self.examples.comparison_of
        assert (rows >= 0).all()
        assert (users[rows] == users[:, None]).all()
        assert (self.prompt_of[comparisons[rows]] != self.prompt_of[comparisons][:, None]).all()
        assert all(len(set(row)) == 8 for row in rows.tolist())

    def test_draws_depend_on_seed_epoch_and_example_only(self) -> None:
        rows = self.draw()
        assert self.draw().tolist() == rows.tolist()
        assert (self.draw(seed=1) != rows).any(axis=1).mean() > 0.95
        assert (self.draw(epoch=1) != rows).any(axis=1).mean() > 0.95
        some = np.array([200, 3, 77])
        alone = draw_shots(self.examples, some, np.zeros(3, int), self.prompt_of, (4, 4), 0)
        assert alone.tolist() == rows[some].tolist()

    def test_fewer_shots_are_the_first_of_more(self) -> None:
        eight, ranged = self.draw((8, 8)), self.draw((0, 8))
        for k in (0, 2, 4):
            assert self.draw((k, k)).tolist() == eight[:, :k].tolist()
        shown = ranged >= 0
        assert (ranged == np.where(shown, eight, -1)).all()
        # A row is filled from its beginning, and every number occurs about equally often.
        assert (np.diff(shown.astype(int), axis=1) <= 0).all()
        counts = np.bincount(shown.sum(axis=1), minlength=9)
        assert len(counts) == 9 and abs(counts - 240 / 9).max() < 4 * np.sqrt(240 / 9)

    def test_every_pair_is_shown_about_equally_often_in_any_place(self) -> None:
        user = Examples(np.zeros(21, int), np.arange(21))
        visits, epochs = np.zeros(20_000, int), np.arange(20_000)
        rows = draw_shots(user, visits, epochs, np.arange(21), (3, 3), seed=0)
        for place in range(3):
            counts = np.bincount(rows[:, place], minlength=21)
            assert counts[0] == 0 and abs(counts[1:] - 1000).max() < 5 * np.sqrt(1000)

    def test_what_is_not_usable_is_not_shown(self) -> None:
        is_shown = np.arange(len(self.examples)) % 2 == 0
        rows = self.draw(is_shown=is_shown)
        assert is_shown[rows[rows >= 0]].all()

    def test_a_user_with_few_pairs_shows_what_there_is(self) -> None:
        examples = Examples(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0]))
        zero = np.zeros(4, int)
        rows = draw_shots(examples, np.arange(4), zero, np.array([7, 7, 9]), (2, 4), seed=0)
        assert (rows >= 0).sum(axis=1).tolist() == [1, 1, 2, 0]
        assert rows[0, 0] == 2 and rows[1, 0] == 2 and (rows[3] == -1).all()

    def test_somebody_elses_pairs(self) -> None:
        others = other_users(self.examples.user_of, 12, seed=0)
        rows = self.draw(shown_by=others)
        assert (self.examples.user_of[rows] == others[:, None]).all()

    def test_a_pool_of_other_data(self) -> None:
        asked = world(4, per_prompt=1)  # prompts q0 to q3, of which the pool has all
        prompt_of, pool_prompt_of = joint_prompts(asked, self.data)
        queries = Examples(np.array([0, 1, 2, 3]), np.arange(4))
        rows = draw_shots(
            queries, np.arange(4), np.zeros(4, int), prompt_of, (19, 19), 0,
            pool=self.examples, pool_prompt_of=pool_prompt_of,
        )  # fmt: skip
        for query, row in enumerate(rows.tolist()):
            mine = [r for r in row if r >= 0]
            assert len(mine) >= 18
            shown = {
                self.data.prompts[self.prompt_of[self.examples.comparison_of[r]]] for r in mine
            }
            assert asked.prompts[query] not in shown

    def test_columns_must_fit(self) -> None:
        with pytest.raises(ShapeError, match=r"is_shown \(3,\)"):
            self.draw(is_shown=np.ones(3, bool))
        with pytest.raises(ShapeError, match="one each"):
            draw_shots(self.examples, np.arange(3), np.zeros(2, int), self.prompt_of, (1, 1), 0)


def test_a_shot_of_somebody_else_is_refused() -> None:
    user = User("ann", TradeOff((1.0,)))
    shots = [Shot("ann", "q", "x", "y"), Shot("bob", "q", "x", "y")]
    check_shots(user, shots[:1])
    with pytest.raises(InputError, match="found shot 2 of user 'bob', expected 'ann'"):
        check_shots(user, shots)


def test_examples_become_shots() -> None:
    data, users = world(2), [User("ann", TradeOff((1.0, 0.0)))]
    pool = Examples(np.zeros(2, int), np.array([1, 0]))
    shots = shots_of(data, users, pool, np.array([True, False]), [0, -1, 1])
    assert shots == (Shot("ann", "q0", "y1", "x1"), Shot("ann", "q0", "x0", "y0"))


class TestForWeights:
    bank = world(40)

    def test_labels_follow_the_weights(self) -> None:
        labels = dict(zip(self.bank.texts[::2], self.bank.labels, strict=True))
        for weights in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.7)):
            shots = shots_for_weights(self.bank, TradeOff(weights), 8)
            assert len(shots) == 8 and len(set(shots)) == 8
            for shot in shots:
                first = shot.chosen if shot.chosen in labels else shot.rejected
                gap = labels[first] @ np.array(weights)
                assert abs(gap) >= 0.05 and (gap > 0) == (shot.chosen == first)

    def test_same_seed_same_shots(self) -> None:
        even = TradeOff((0.5, 0.5))
        assert shots_for_weights(self.bank, even, 4) == shots_for_weights(self.bank, even, 4)
        assert shots_for_weights(self.bank, even, 2) == shots_for_weights(self.bank, even, 4)[:2]
        seen = {shots_for_weights(self.bank, even, 4, seed=seed) for seed in range(5)}
        assert len(seen) == 5

    def test_no_pair_on_the_prompt_of_the_query(self) -> None:
        only = TradeOff((1.0, 0.0))
        every = shots_for_weights(self.bank, only, 40)
        others = shots_for_weights(self.bank, only, 40, query="q3")
        assert others == tuple(shot for shot in every if shot.prompt != "q3")
        assert 0 < len(others) < len(every)

    def test_a_bank_that_tells_nothing(self) -> None:
        with pytest.raises(InputError, match="found none of 40 comparisons with a utility gap"):
            shots_for_weights(self.bank, TradeOff((1.0, 0.0)), 4, min_gap=1.0)
        with pytest.raises(ShapeError):
            shots_for_weights(self.bank, TradeOff((1.0,)), 4)
        with pytest.raises(ConfigError, match="n -1"):
            shots_for_weights(self.bank, TradeOff((1.0, 0.0)), -1)
        assert shots_for_weights(self.bank, TradeOff((1.0, 0.0)), 0) == ()
