from __future__ import annotations

import numpy as np
import pytest

from paretune.core.personalization import PersonalizationResult, to_json
from paretune.core.tradeoff import TradeOff
from paretune.core.user import User
from paretune.errors import NotScoredError, ShapeError
from paretune.evaluation.personalization import (
    PairScores,
    UserReplies,
    controllability,
    four_cells,
    measure_personalization,
    utilities,
    win_result,
    worst_weighted,
)

NAN = float("nan")


def user(*weights: float, utility: str = "linear") -> User:
    return User(f"u{weights}", TradeOff(weights), utility)  # type: ignore[arg-type]


USERS = (user(0.75, 0.25), user(0.5, 0.5, utility="chebyshev"), user(0.0, 1.0))


def test_a_margin_of_nothing_is_half_right() -> None:
    scores = PairScores(np.arange(4), np.array([0.3, -2.0, 0.0, NAN]))
    np.testing.assert_array_equal(scores.is_right, [1, 0, 0.5, NAN])
    with pytest.raises(ShapeError, match=r"users \(2,\)"):
        PairScores(np.arange(2), np.zeros(3))


def test_four_cells() -> None:
    user_of = np.repeat(np.arange(4), 4)
    is_new_user = user_of >= 2
    is_new_prompt = np.tile([False, False, True, True], 4)
    margins = np.where(is_new_user, np.where(is_new_prompt, -1.0, 1.0), 1.0)
    margins[[8, 12]] = NAN, -1.0
    cells = four_cells(PairScores(user_of, margins), is_new_user, is_new_prompt)
    found = [
        (c.is_new_user, c.is_new_prompt, round(c.accuracy.value, 3), c.n_users, c.n_pairs)
        for c in cells
    ]
    assert found == [
        (True, True, 0.0, 2, 4), (True, False, 0.667, 2, 3),
        (False, True, 1.0, 2, 4), (False, False, 1.0, 2, 4),
    ]  # fmt: skip
    # A cell with one user has no interval.
    only = four_cells(PairScores(user_of, margins), user_of == 3, is_new_prompt)
    assert [(c.is_new_user, c.is_new_prompt) for c in only] == [(False, True), (False, False)]


def test_utilities_are_the_users_own() -> None:
    replies = UserReplies(np.array([1, 0, 2]), np.array([[0.2, 0.6], [0.2, 0.6], [NAN, 0.6]]))
    np.testing.assert_allclose(utilities(replies, USERS), [0.2, 0.3, 0.6])
    unknown = UserReplies(np.array([2]), np.array([[0.2, NAN]]))
    with pytest.raises(NotScoredError, match="reply 0 has no score that counts for user"):
        utilities(unknown, USERS)


class TestWins:
    ours = UserReplies(
        np.array([0, 0, 2, 2]), np.array([[0.5, 0.1], [0.5, 0.5], [0.0, 0.9], [0.0, 0.2]])
    )
    theirs = UserReplies(
        np.array([0, 0, 2, 2]), np.array([[0.4, 0.3], [0.6, 0.2], [1.0, 0.1], [0.0, 0.2 + 1e-8]])
    )

    def test_ties_count_half(self) -> None:
        # Utilities .4 against .375; .5 against .5: a tie; .9 against .1; a tie.
        found = win_result("reference", self.ours, self.theirs, USERS)
        assert found.rate.value == pytest.approx(0.75)
        assert [i.value for i in found.by_objective] == [0.375, 0.625]
        assert (found.interval_by, found.n_users, found.n_replies) == ("users", 2, 4)

    def test_one_reply_a_user_is_judged_by_wilson(self) -> None:
        n = 100
        users = [user(1.0, 0.0)] * n
        better = np.zeros((n, 2))
        better[:70, 0] = 1.0
        worse = np.zeros((n, 2))
        worse[70:, 0] = 1.0
        found = win_result(
            "zero-shot", UserReplies(np.arange(n), better), UserReplies(np.arange(n), worse), users
        )
        assert found.interval_by == "wilson"
        assert (round(found.rate.low, 3), round(found.rate.high, 3)) == (0.604, 0.781)
        assert found.by_objective[1].value == 0.5

    def test_rows_must_be_of_the_same_users(self) -> None:
        other = UserReplies(self.theirs.user_of[::-1], self.theirs.rewards)
        with pytest.raises(ShapeError, match="found rows of other users"):
            win_result("reference", self.ours, other, USERS)


def test_controllability_goes_over_users() -> None:
    users = [user(w, 1 - w) for w in (0.1, 0.4, 0.9)]
    # Means of the first reward: .2, .3, .8, as the weights; of the second they never change.
    rewards = np.array([[0.0, 1.0], [0.4, 1.0], [0.3, 1.0], [0.8, 1.0]])
    replies = UserReplies(np.array([0, 0, 1, 2]), rewards)
    assert controllability(replies, users) == (1.0, None)
    backwards = UserReplies(np.array([2, 2, 1, 0]), rewards)
    assert controllability(backwards, users) == (-1.0, None)
    holes = UserReplies(replies.user_of, np.where(np.arange(4)[:, None] == 2, NAN, rewards))
    assert controllability(holes, users) == (None, None)


def test_the_objective_that_is_missed_most() -> None:
    replies = UserReplies(np.array([0, 0, 1, 2]), np.array([[1, 0], [0, 0], [1, 0.75], [0, 1]]))
    found, shares = worst_weighted(replies, USERS)
    # User 0: shares 1 and 1/3 of the shortfalls .5 and 1; user 1: 0 and .25; user 2: nothing of
    # the first, which weighs nothing, and 0 of the second.
    assert found.value == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    assert shares == pytest.approx((1 / 3, 2 / 3))


def test_everything_together() -> None:
    rng = np.random.default_rng(0)
    users = [user(w, 1 - w) for w in rng.uniform(size=40)]
    user_of = np.repeat(np.arange(40), 8)
    own = PairScores(user_of, rng.normal(1.0, 1, 320))
    other = PairScores(user_of, own.margins - 1.0)
    replies = UserReplies(user_of, rng.uniform(size=(320, 2)))
    theirs = UserReplies(user_of, rng.uniform(size=(320, 2)) / 2)
    found = measure_personalization(
        "fspo", ("a", "b"), users, own, other=other, by_shots={8: own, 0: other},
        cells=four_cells(own, user_of > 20, user_of % 2 == 0), replies=replies,
        opponents={"reference": theirs},
    )  # fmt: skip
    assert found.n_users == 40 and list(found.by_shots) == [0, 8]
    assert found.other is not None and found.gap is not None
    assert found.gap.value == pytest.approx(found.own.value - found.other.value)
    assert found.gap.low > 0
    assert found.by_shots[8] == found.own and found.by_shots[0] == found.other
    assert [c.n_users for c in found.cells] == [9, 10, 11, 10]
    assert found.wins[0].rate.low > 0.5
    assert PersonalizationResult.from_json(to_json(found)) == found
    few = measure_personalization("fspo", ("a", "b"), users, own)
    assert few.gap is None and few.wins == () and few.worst_weighted is None
    with pytest.raises(ShapeError, match="expected the same pairs"):
        shuffled = PairScores(user_of[::-1], own.margins)
        measure_personalization("fspo", ("a", "b"), users, own, other=shuffled)
