"""Targets on the front: by hand, against brute force, and what both yardsticks promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.job import Pool
from paretune.errors import ConfigError, InputError
from paretune.functional.front_targets import (
    even_order,
    select_targets,
    spread_rows,
    target_weights,
)

CORNERS = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]])


def pool(rewards, prompt_of=None, text_of=None) -> Pool:
    n = len(rewards)
    zeros = np.zeros(n, dtype=np.int64)
    return Pool(
        np.asarray(rewards, dtype=np.float64),
        zeros if prompt_of is None else np.asarray(prompt_of),
        np.arange(n) if text_of is None else np.asarray(text_of),
    )


def test_a_mixture_of_ends_beats_the_compromise_on_average():
    # Mean of the coin: (.5, .5), worst .25 at even weights; the compromise has .3.
    assert target_weights(CORNERS, (0.5, 0.5), 1).round(6).tolist() == [0.5, 0.5, 0.0]


def test_the_compromise_is_the_best_single_reply():
    q = target_weights(CORNERS, (0.5, 0.5), 1, "per_reply")
    assert q.tolist() == [0.0, 0.0, 1.0]


def test_the_trade_off_sets_the_odds_of_the_coin():
    # .75 q_2 = .25 q_1 with q_1 + q_2 = 1: the first objective falls short with q_2.
    q = target_weights(CORNERS, (0.75, 0.25), 1)
    assert q.round(6).tolist() == [0.75, 0.25, 0.0]


def test_a_corner_takes_the_best_of_its_objective_and_wastes_nothing_of_the_other():
    shortfall = np.array([[0.0, 1.0], [0.0, 0.2], [0.1, 0.0]])
    for yardstick in ("expected", "per_reply"):
        assert target_weights(shortfall, (1.0, 0.0), 1, yardstick).round(6).tolist() == [0, 1, 0]


def test_at_least_k_responses_share_the_mass():
    shortfall = np.array([[0.0, 0.0], [0.1, 0.1], [0.5, 0.5], [0.6, 0.7]])
    for yardstick in ("expected", "per_reply"):
        q = target_weights(shortfall, (0.5, 0.5), 2, yardstick)
        assert q.round(6).tolist() == [0.5, 0.5, 0.0, 0.0]
        q = target_weights(shortfall, (0.5, 0.5), 4, yardstick)
        assert q.round(6).tolist() == [0.25] * 4


def test_responses_with_equal_rewards_share_evenly():
    shortfall = np.array([[0.0, 0.0], [0.3, 0.3], [0.0, 0.0], [0.0, 0.0]])
    for yardstick in ("expected", "per_reply"):
        q = target_weights(shortfall, (0.3, 0.7), 1, yardstick)
        np.testing.assert_allclose(q, [1 / 3, 0, 1 / 3, 1 / 3], atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_distribution_of_a_fine_grid_is_better(data):
    n, m = data.draw(st.integers(2, 4)), data.draw(st.integers(2, 3))
    cell = st.integers(0, 10).map(lambda i: i / 10)
    s = np.array(data.draw(st.lists(st.lists(cell, min_size=m, max_size=m), min_size=n,
                                    max_size=n)))  # fmt: skip
    raw = np.array(data.draw(st.lists(st.integers(1, 5), min_size=m, max_size=m)), dtype=float)
    w = raw / raw.sum()
    k = data.draw(st.integers(1, n))
    steps = 12
    grid = [np.array(c) / steps for c in itertools.product(range(steps + 1), repeat=n)
            if sum(c) == steps and max(c) <= steps / k + 1e-9]  # fmt: skip

    def worth(q, yardstick):
        worst = (w * (q @ s)).max() if yardstick == "expected" else q @ (w * s).max(axis=1)
        return worst + 1e-3 * (q @ s).mean()

    for yardstick in ("expected", "per_reply"):
        q = target_weights(s, tuple(w), k, yardstick)
        assert q.min() >= 0 and abs(q.sum() - 1) < 1e-9 and q.max() <= 1 / k + 1e-7
        assert all(worth(q, yardstick) <= worth(other, yardstick) + 1e-6 for other in grid)


def test_spread_rows_follows_the_distribution():
    assert spread_rows([0.5, 0.0, 0.5], 4).tolist() == [0, 0, 2, 2]
    assert spread_rows([1.0, 2.0], 1).tolist() == [1]
    q = np.random.default_rng(0).dirichlet(np.ones(7))
    counts = np.bincount(spread_rows(q, 100), minlength=7)
    assert np.abs(np.cumsum(counts) - 100 * np.cumsum(q)).max() <= 1


def test_every_trade_off_gets_its_rows_and_is_told():
    rewards = [[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]
    found = select_targets(
        pool(rewards), tradeoffs=((0.5, 0.5), (1.0, 0.0)), k=1, n=4, yardstick="expected"
    )
    assert found.is_ordered
    assert found.given.tolist() == [[0.5, 0.5], [1.0, 0.0]] * 4
    assert sorted(found.index[::2]) == [0, 0, 1, 1] and found.index[1::2].tolist() == [0] * 4


@pytest.mark.parametrize("n_tradeoffs", [1, 3, 11])
def test_every_stretch_of_the_order_holds_what_the_whole_holds(n_tradeoffs):
    n = 400
    order = even_order(n, n_tradeoffs)
    assert np.array_equal(np.sort(order), np.arange(n * n_tradeoffs))
    for share in (0.1, 0.5, 0.83):
        is_low = order % n < share * n
        for start in range(0, n - 40, 7):
            stretch = slice(start * n_tradeoffs, (start + 40) * n_tradeoffs)
            for number in range(n_tradeoffs):
                own = is_low[stretch][order[stretch] // n == number]
                # Random rows would miss by up to 9 of 40.
                assert len(own) == 40 and abs(own.sum() - 40 * share) < 3


def test_few_rows_of_many_trade_offs_cover_the_simplex():
    grid = np.array([(a, b, 10 - a - b) for a in range(11) for b in range(11 - a)]) / 10
    order = even_order(30, len(grid))
    assert np.array_equal(np.sort(order), np.arange(30 * 66))
    told = grid[order // 30]
    for start in range(0, len(told) - 16, 5):
        # In the order of the grid eleven rows in a row would have no first objective.
        assert abs(told[start : start + 16].mean(axis=0) - 1 / 3).max() < 0.13


def test_each_group_of_prompts_keeps_its_mass():
    # Two easy prompts that give all of both, two where each reply costs one objective.
    s = [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.6]]
    easy = target_weights(s, (0.5, 0.5), 2)
    assert easy == pytest.approx([0.5, 0.5, 0, 0, 0])
    group_of, shares = [0, 0, 1, 1, 1], [0.5, 0.5]
    mean = target_weights(s, (0.5, 0.5), 2, "expected", group_of, shares)
    assert mean == pytest.approx([0.25, 0.25, 0.25, 0.25, 0.0])
    replies = target_weights(s, (0.5, 0.5), 2, "per_reply", group_of, shares)
    assert replies == pytest.approx([0.25, 0.25, 0.0, 0.0, 0.5])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_groups_of_any_size_get_their_mass_and_no_better_distribution_is_found(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, 30)), int(rng.integers(2, 5))
    n_groups = int(rng.integers(1, min(n, 5) + 1))
    group_of = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)])
    shares = rng.dirichlet(np.full(n_groups, 0.5)) * 0.99 + 0.01 / n_groups
    s = rng.random((n, m)) if rng.random() < 0.5 else rng.integers(0, 3, (n, m)) / 2
    w, k = rng.dirichlet(np.full(m, 0.5)), int(rng.integers(1, n + 1))
    sizes = np.bincount(group_of)
    most = np.maximum(1 / k, shares / sizes)[group_of]
    even = (shares / sizes)[group_of]
    for yardstick in ("expected", "per_reply"):
        q = target_weights(s, w / w.sum(), k, yardstick, group_of, shares)
        assert np.allclose(np.bincount(group_of, q), shares, atol=1e-6)
        assert q.min() >= 0 and (q - most).max() < 1e-6

        def worth(q, yardstick=yardstick):
            worst = (w * (q @ s)).max() if yardstick == "expected" else q @ (w * s).max(axis=1)
            return worst + 1e-3 * (q @ s).mean()

        # Towards any other that is allowed it gets worse: both problems are convex.
        for _ in range(20):
            other = even + (rng.random(n) - 0.5) * even
            other *= (shares / np.bincount(group_of, other))[group_of]
            if (other <= most).all():
                assert worth(q) <= worth(other) + 1e-6
        assert worth(q) <= worth(even) + 1e-6


@pytest.mark.parametrize("yardstick", ["expected", "per_reply"])
def test_shortfalls_of_any_unit_have_a_target(yardstick):
    s = np.random.default_rng(3).random((12, 3))
    one = target_weights(s, (0.2, 0.3, 0.5), 4, yardstick)
    far = target_weights(s * 1e5, (0.2, 0.3, 0.5), 4, yardstick)
    np.testing.assert_allclose(far, one, atol=1e-6)


def test_prompts_of_which_nothing_is_left_have_no_share():
    # Prompt 40 has no response, prompt 0 the same one four times.
    prompts = tuple(f"{verb} thing {i}" for verb in ("safe", "risky") for i in range(20))
    rewards = [[1.0, 1.0]] * 20 + [[0.0, 0.0]] * 20 + [[1.0, 1.0]] * 3
    prompt_of = np.array([*range(40), 0, 0, 0])
    given = Pool(np.array(rewards), prompt_of, prompt_of, prompts=(*prompts, "risky thing 99"))
    found = select_targets(given, tradeoffs=((0.5, 0.5),), k=1, n=40, yardstick="expected",
                           groups=2)  # fmt: skip
    assert np.array_equal(np.sort(found.index), np.arange(40))


@pytest.mark.parametrize("yardstick", ["expected", "per_reply"])
def test_a_group_with_too_few_responses_takes_them_all(yardstick):
    s = [[0.0, 1.0], [0.0, 0.0], [0.2, 0.2], [0.4, 0.4]]
    found = target_weights(s, (0.5, 0.5), 3, yardstick, [1, 0, 0, 0], [0.4, 0.6])
    assert found == pytest.approx([0.6, 1 / 3, 0.4 - 1 / 3, 0.0], abs=1e-6)


def test_prompts_of_which_less_can_be_had_keep_their_share():
    prompts = tuple(f"{verb} thing {i}" for verb in ("safe", "risky") for i in range(20))
    # Safe prompts: both objectives. Risky ones: either.
    rewards = [[1.0, 1.0], [0.2, 0.4]] * 20 + [[1.0, 0.0], [0.0, 1.0]] * 20
    given = Pool(np.array(rewards), np.arange(80) // 2, np.arange(80), prompts=prompts)
    wanted = {"tradeoffs": ((0.5, 0.5), (1.0, 0.0)), "k": 10, "n": 20, "yardstick": "expected"}
    ignorant = select_targets(given, **wanted)
    assert (ignorant.index < 40).all()
    found = select_targets(given, **wanted, groups=2)
    is_even = found.given[:, 0] == 0.5
    assert (found.index[is_even] >= 40).sum() == 10 == (found.index[~is_even] >= 40).sum()
    helpful = given.rewards[found.index[~is_even], 0]
    assert helpful.mean() == 1.0


def test_repeats_of_an_answer_count_once():
    rewards = [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    found = select_targets(pool(rewards, text_of=[5, 5, 6]), tradeoffs=((0.5, 0.5),), k=2, n=2,
                           yardstick="per_reply")  # fmt: skip
    assert found.index.tolist() == [0, 2]


def test_a_constant_objective_is_ignored():
    found = select_targets(pool([[3.0, 0.0], [3.0, 1.0]]), tradeoffs=((0.5, 0.5),), k=1, n=2,
                           yardstick="expected")  # fmt: skip
    assert found.index.tolist() == [1, 1]


def test_bad_input():
    with pytest.raises(InputError, match="found 3 responses, expected at least k = 4"):
        target_weights(CORNERS, (0.5, 0.5), 4)
    with pytest.raises(ConfigError, match="yardstick 'mean'"):
        target_weights(CORNERS, (0.5, 0.5), 1, "mean")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="response 1 is not scored"):
        select_targets(pool([[1.0, 0.0], [np.nan, 1.0]]), tradeoffs=((0.5, 0.5),), k=1, n=2,
                       yardstick="expected")  # fmt: skip
