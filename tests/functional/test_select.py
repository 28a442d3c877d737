"""Row rules: by hand, by property, and the acceptance checks of ParetoHqD's selection."""

import time
from functools import partial

import numpy as np
import pytest

from paretune.core.description import describe, identity
from paretune.core.job import Pool
from paretune.errors import ConfigError, InputError, NotScoredError, ShapeError
from paretune.functional.indicators import largest_angle_gap, pareto_rank, shortfall_angles
from paretune.functional.select import (
    select_all,
    select_best,
    select_linear,
    select_random,
    select_ray,
)
from paretune.functional.simplex import lattice


def pool_of(rewards, prompts=None, texts=None):
    """A pool in which every row is another prompt and text, unless told otherwise."""
    rows = np.arange(len(rewards))
    prompts = rows if prompts is None else np.asarray(prompts)
    texts = rows if texts is None else np.asarray(texts)
    return Pool(np.asarray(rewards, dtype=float), prompts, texts)


def random_pool(n=400, n_objectives=2, seed=0, digits=2):
    rng = np.random.default_rng(seed)
    return pool_of(rng.random((n, n_objectives)).round(digits), rng.integers(0, n // 3, n))


def brute_ray(pool, weights, k):
    """The definition, row by row: smallest (distance, t, layer, row) of the fewest layers."""
    rank = pareto_rank(pool.rewards)
    last = np.sort(rank)[k - 1]
    low, high = pool.rewards.min(axis=0), pool.rewards.max(axis=0)
    down = 1 - np.asarray(weights)
    unit = down / np.linalg.norm(down)
    keys = []
    for row in np.flatnonzero(rank <= last):
        s = (high - pool.rewards[row]) / (high - low)
        t = max(0.0, float(s @ unit))
        keys.append((round(float(np.linalg.norm(s - t * unit)), 12), round(t, 12), rank[row], row))
    return [row for *_, row in sorted(keys)[:k]]


def overlap(one, other):
    return len(np.intersect1d(one, other)) / len(one)


# Rays


def test_ray_by_hand():
    # Even weights go down the diagonal from (1, 1): distances 0, .0707, .0707, .707, .707.
    rewards = [[0, 1], [0.55, 0.45], [0.5, 0.5], [0.45, 0.55], [1, 0]]
    chosen = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=5)
    assert chosen.tolist() == [2, 1, 3, 0, 4]
    # (1, 0) goes straight down from (1, 1): the distance is what is missing on objective 0.
    assert select_ray(pool_of(rewards), weights=(1, 0), k=5).tolist() == [4, 1, 2, 3, 0]


def test_a_better_row_on_the_ray_comes_first():
    # Rows 0 and 1 span the range; the others lie on the diagonal.
    rewards = [[0, 1], [1, 0], [0.2, 0.2], [0.6, 0.6], [0.4, 0.4]]
    chosen = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=3, n_layers=10)
    assert chosen.tolist() == [3, 4, 2]


def test_of_two_rows_equally_near_the_better_layer_comes_first():
    # Rows 0 and 1 mirror each other on the diagonal; row 2 dominates row 0.
    rewards = [[0.5, 0.75], [0.75, 0.5], [0.5, 0.875], [1, 0], [0, 1]]
    chosen = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=3, n_layers=2)
    assert chosen.tolist() == [1, 0, 2]


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_ray_equals_the_definition(n_objectives):
    pool = random_pool(300, n_objectives)
    for tradeoff in lattice(n_objectives, 3):
        chosen = select_ray(pool, weights=tradeoff.weights, k=40)
        assert chosen.tolist() == brute_ray(pool, tradeoff.weights, 40)


def test_the_fewest_layers_are_the_default():
    pool = random_pool(1000)
    rank = pareto_rank(pool.rewards)
    needed = np.sort(rank)[24]
    assert rank[select_ray(pool, weights=(0.5, 0.5), k=25)].max() <= needed
    wide = select_ray(pool, weights=(0.5, 0.5), k=25, min_rows=500)
    assert rank[wide].max() > needed


def test_min_rows_never_asks_for_more_than_there_are():
    pool = random_pool(30)
    assert len(select_ray(pool, weights=(0.5, 0.5), k=10, min_rows=50)) == 10


def test_layers_can_be_fixed():
    pool = random_pool(1000, digits=9)
    rank = pareto_rank(pool.rewards)
    front = select_ray(pool, weights=(0.5, 0.5), k=3, n_layers=1)
    assert not rank[front].any()
    with pytest.raises(InputError, match="expected at least k=900"):
        select_ray(pool, weights=(0.5, 0.5), k=900, n_layers=2)


def test_all_rows_can_be_candidates():
    # Row 3 lies on the diagonal, dominated by row 2, which lies off it.
    rewards = [[0, 1], [1, 0], [0.7, 0.6], [0.5, 0.5]]
    of_layers = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=1)
    of_all = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=1, pool_rows="all")
    assert (of_layers.tolist(), of_all.tolist()) == ([2], [3])


def test_exact_repeats_count_once_and_equal_rewards_stay():
    rewards = [[1, 0], [1, 0], [1, 0], [0, 1]]
    repeated = pool_of(rewards, prompts=[0, 0, 0, 1], texts=[5, 5, 6, 5])
    assert sorted(select_ray(repeated, weights=(0.5, 0.5), k=3)) == [0, 2, 3]
    with pytest.raises(InputError, match="3 distinct rows, expected at least k=4"):
        select_ray(repeated, weights=(0.5, 0.5), k=4)


def test_the_cap_per_prompt_takes_more_layers_when_it_must():
    # The front is rows 0 and 1, of one prompt; row 2 is the second layer, nearest to the ray.
    pool = pool_of([[1, 0], [0, 1], [0, 0.5], [0, 0.4]], prompts=[7, 7, 8, 8])
    assert select_ray(pool, weights=(0.4, 0.6), k=2).tolist() == [1, 0]
    assert select_ray(pool, weights=(0.4, 0.6), k=2, max_per_prompt=1).tolist() == [2, 1]
    with pytest.raises(InputError, match="found 2 rows"):
        select_ray(pool, weights=(0.4, 0.6), k=3, max_per_prompt=1)


@pytest.mark.parametrize("cap", [1, 2])
def test_the_cap_per_prompt_holds(cap):
    pool = random_pool(600, 3)
    chosen = select_ray(pool, weights=(0.2, 0.3, 0.5), k=60, max_per_prompt=cap)
    assert np.bincount(pool.prompt_of[chosen]).max() == cap
    assert len(np.unique(chosen)) == 60


def test_the_range_can_come_from_the_candidates():
    # A bad row far below stretches the range of the data, not that of the front.
    rewards = [[1, 0], [0, 1], [0.5, 0.8], [0.7, 0.7], [-9, 0]]
    data = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=1, n_layers=1)
    front = select_ray(pool_of(rewards), weights=(0.5, 0.5), k=1, n_layers=1, range_from="pareto")
    # The diagonal is nearest where both shortfalls are alike. In units of the data, (10, 1), they
    # are (0, 1), (.1, 0), (.05, .2), (.03, .3); in units of the front, (1, 1), row 3 has (.3, .3).
    assert (data.tolist(), front.tolist()) == ([1], [3])


# Degenerate inputs (A4)


def test_a4_a_constant_objective_is_ignored():
    rewards = np.array([[0.3, 5.0], [0.9, 5.0], [0.6, 5.0]])
    for weights in ((0.5, 0.5), (1, 0), (0, 1)):
        assert select_ray(pool_of(rewards), weights=weights, k=2).tolist() == [1, 2]
        assert select_ray(pool_of(rewards), weights=weights, k=2, space="raw").tolist() == [1, 2]


def test_a4_all_rows_equal():
    pool = pool_of(np.ones((5, 2)))
    for rule in (select_ray, select_linear):
        assert rule(pool, weights=(0.5, 0.5), k=3).tolist() == [0, 1, 2]


def test_one_objective_takes_the_best():
    assert select_ray(pool_of([[0.1], [0.9], [0.5]]), weights=(1,), k=2).tolist() == [1, 2]


# Invariances (A2, A3)


def test_a2_two_objectives_have_one_ray_in_both_spaces():
    pool = random_pool(2000, digits=9)
    for tradeoff in lattice(2, 10):
        literal = select_ray(pool, weights=tradeoff.weights, k=50)
        for other in ({"direction": "chebyshev"}, {"space": "raw"}):
            assert (select_ray(pool, weights=tradeoff.weights, k=50, **other) == literal).all()


@pytest.mark.parametrize(("n_objectives", "denominator"), [(2, 10), (3, 4)])
def test_a3_units_do_not_matter(n_objectives, denominator):
    pool = random_pool(2000, n_objectives)
    scale, shift = np.array([1, 5, 0.2])[:n_objectives], np.array([3, -7, 0.1])[:n_objectives]
    scaled = Pool(pool.rewards * scale + shift, pool.prompt_of, pool.text_of)
    for tradeoff in lattice(n_objectives, denominator):
        chosen = select_ray(pool, weights=tradeoff.weights, k=50)
        assert (select_ray(scaled, weights=tradeoff.weights, k=50) == chosen).all()


def test_a3_units_matter_in_raw_space_of_three():
    rng = np.random.default_rng(0)
    one, other = pool_of(rng.random((5000, 3))), None
    other = Pool(one.rewards * [1, 5, 0.2], one.prompt_of, one.text_of)
    rule = partial(select_ray, k=50, min_rows=250, space="raw")
    shares = [
        overlap(rule(one, weights=t.weights), rule(other, weights=t.weights)) for t in lattice(3, 4)
    ]
    assert np.mean(shares) < 0.9


def test_raw_space_equals_the_literal_vectors():
    rng = np.random.default_rng(3)
    pool = pool_of(rng.normal(size=(500, 3)) * [1, 5, 0.2])
    low, high = pool.rewards.min(axis=0), pool.rewards.max(axis=0)
    w = np.array([0.2, 0.5, 0.3])
    line = low + w * (high - low) - high
    line /= np.linalg.norm(line)
    gap = pool.rewards - high
    distance = np.linalg.norm(gap - (gap @ line)[:, None] * line, axis=1)
    expected = np.argsort(distance)[:20]
    chosen = select_ray(pool, weights=tuple(w), k=20, space="raw", pool_rows="all")
    assert (chosen == expected).all()


@pytest.mark.parametrize("rule", [select_ray, select_linear])
def test_permuting_objectives_with_their_weights_changes_nothing(rule):
    pool = random_pool(500, 3)
    turned = Pool(pool.rewards[:, [2, 0, 1]], pool.prompt_of, pool.text_of)
    one = rule(pool, weights=(0.5, 0.3, 0.2), k=30)
    assert (rule(turned, weights=(0.2, 0.5, 0.3), k=30) == one).all()


def test_a_dominated_row_inside_the_range_changes_nothing():
    pool = random_pool(500)
    inside = pool.rewards.mean(axis=0, keepdims=True) * 0.5
    more = pool_of(np.concatenate([pool.rewards, inside]))
    assert (
        select_ray(more, weights=(0.3, 0.7), k=20) == select_ray(pool, weights=(0.3, 0.7), k=20)
    ).all()


def test_pools_are_not_changed():
    pool = random_pool(300)
    before = [a.copy() for a in (pool.rewards, pool.prompt_of, pool.text_of)]
    select_ray(pool, weights=(0.5, 0.5), k=10, max_per_prompt=1, range_quantile=0.01)
    select_linear(pool, weights=(0.5, 0.5), k=10)
    select_random(pool, k=10)
    select_best(pool, objective=0)
    for array, copy in zip((pool.rewards, pool.prompt_of, pool.text_of), before, strict=True):
        assert (array == copy).all()


# Coverage and outliers (A5, A8, A11)


def dented_pool(seed, power, n=20_000):
    """Rows below the front ``r1 ** (1 / power) + r2 ** (1 / power) = 1``: a dent for power 2."""
    rng = np.random.default_rng(seed)
    along, depth = rng.random(n), rng.random(n) ** 0.5
    return pool_of(depth[:, None] * np.stack([along**power, (1 - along) ** power], axis=1))


def coverage(pool, rule):
    """Largest gap and number of 20 bins of shortfall angles of the rows for 11 trade-offs."""
    rows = np.unique(np.concatenate([rule(pool, weights=t.weights) for t in lattice(2, 10)]))
    low, high = pool.rewards.min(axis=0), pool.rewards.max(axis=0)
    angles = shortfall_angles(pool.rewards[rows], low, high)
    bins = np.unique(np.minimum((angles * 20).astype(int), 19))
    return largest_angle_gap(pool.rewards[rows], low, high), len(bins)


@pytest.mark.parametrize("seed", range(5))
def test_a5_rays_cover_a_dent_and_weighted_sums_do_not(seed):
    pool = dented_pool(seed, power=2)
    gap, bins = coverage(pool, partial(select_ray, k=100))
    assert gap <= 0.03
    assert bins == 20
    gap, bins = coverage(pool, partial(select_linear, k=100))
    assert gap >= 0.8
    assert bins <= 4


def test_a5_both_cover_a_convex_front():
    pool = dented_pool(0, power=0.5)
    for rule in (select_ray, select_linear):
        gap, bins = coverage(pool, partial(rule, k=100))
        assert gap <= 0.03
        assert bins == 20


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_a8_quantiles_defend_the_range_against_one_outlier(seed):
    rng = np.random.default_rng(seed)
    rewards = rng.multivariate_normal([0, 0], [[1, -0.45], [-0.45, 1]], size=50_000)
    clean, dirty = pool_of(rewards), pool_of(np.concatenate([rewards, [[10.0, -10.0]]]))

    def smallest_overlap(quantile):
        rule = partial(select_ray, k=100, min_rows=500, range_quantile=quantile)
        return min(
            overlap(rule(clean, weights=t.weights), rule(dirty, weights=t.weights))
            for t in lattice(2, 10)
        )

    assert smallest_overlap(0.0) == 0
    assert smallest_overlap(1e-4) >= 0.95


def test_a11_selection_at_the_size_of_hh_is_quick():
    rng = np.random.default_rng(0)
    rewards = rng.multivariate_normal([0, 0], [[1, -0.45], [-0.45, 1]], size=290_000).round(1)
    pool = pool_of(rewards, prompts=np.arange(290_000) // 2, texts=rng.permutation(290_000))
    start = time.process_time()
    chosen = [select_ray(pool, weights=t.weights, k=100, n_layers=10) for t in lattice(2, 10)]
    assert time.process_time() - start < 6, "about 0.6 s where it was measured"
    assert 400 < (pareto_rank(rewards) < 10).sum() < 900
    assert len(np.unique(np.concatenate(chosen))) > 400


# The other rules


def test_linear_by_hand():
    # Range (10, 1): unit rewards (1, 0), (0, 1), (.4, .5).
    pool = pool_of([[10, 0], [0, 1], [4, 0.5]])
    assert select_linear(pool, weights=(0.5, 0.5), k=3).tolist() == [0, 1, 2]
    assert select_linear(pool, weights=(0.2, 0.8), k=3).tolist() == [1, 2, 0]


def test_linear_can_be_held_to_the_front():
    pool = random_pool(1000, digits=9)
    chosen = select_linear(pool, weights=(0.5, 0.5), k=3, pool_rows="pareto", n_layers=1)
    assert not pareto_rank(pool.rewards)[chosen].any()


def test_best_of_every_prompt_and_best_of_all():
    rewards = [[0.1, np.nan], [0.9, np.nan], [0.5, 0.0], [0.9, 0.0]]
    pool = pool_of(rewards, prompts=[0, 0, 1, 0])
    assert select_best(pool, objective=0).tolist() == [1, 2]
    assert select_best(pool, objective=0, k=3, max_per_prompt=None).tolist() == [1, 3, 2]
    with pytest.raises(NotScoredError, match="row 0"):
        select_best(pool, objective=1)
    with pytest.raises(InputError, match="objective 2, expected 0 to 1"):
        select_best(pool, objective=2)


def test_random_depends_on_its_seed_alone():
    pool = pool_of(np.full((2000, 2), np.nan))
    one = select_random(pool, k=500, seed=1)
    np.random.seed(0)
    assert (one == select_random(pool, k=500, seed=1)).all()
    assert (select_random(pool, k=200, seed=1) == one[:200]).all()
    assert 0.1 < overlap(one, select_random(pool, k=500, seed=2)) < 0.4
    # Even over the rows: mean of 500 uniform draws from 0..1999, five standard errors.
    assert one.mean() == pytest.approx(999.5, abs=5 * 577 / 500**0.5)


def test_all_keeps_repeats_and_order():
    pool = pool_of(np.zeros((3, 2)), prompts=[0, 0, 0], texts=[1, 1, 1])
    assert select_all(pool).tolist() == [0, 1, 2]
    assert select_random(pool, k=1).tolist() == [0]


# Borders


@pytest.mark.parametrize("rule", [select_ray, select_linear])
def test_an_unscored_row_is_named(rule):
    rewards = np.ones((5, 2))
    rewards[3, 1] = np.nan
    with pytest.raises(NotScoredError, match="row 3 has reward nan on objective 1"):
        rule(pool_of(rewards), weights=(0.5, 0.5), k=1)


@pytest.mark.parametrize("rule", [select_ray, select_linear])
def test_bad_weights_and_sizes_are_errors(rule):
    pool = random_pool(10)
    with pytest.raises(ConfigError, match="sum 1"):
        rule(pool, weights=(0.5, 0.6), k=1)
    with pytest.raises(ConfigError, match="weights >= 0"):
        rule(pool, weights=(1.5, -0.5), k=1)
    with pytest.raises(ShapeError, match="3 weights, expected 2 objectives"):
        rule(pool, weights=(0.2, 0.3, 0.5), k=1)
    with pytest.raises(InputError, match="10 distinct rows, expected at least k=11"):
        rule(pool, weights=(0.5, 0.5), k=11)
    with pytest.raises(ConfigError, match="k=0"):
        rule(pool, weights=(0.5, 0.5), k=0)
    with pytest.raises(ConfigError, match="max_per_prompt=0"):
        rule(pool, weights=(0.5, 0.5), k=1, max_per_prompt=0)
    with pytest.raises(ConfigError, match="range_from 'somewhere'"):
        rule(pool, weights=(0.5, 0.5), k=1, range_from="somewhere")
    with pytest.raises(ConfigError, match="pool_rows 'some'"):
        rule(pool, weights=(0.5, 0.5), k=1, pool_rows="some")


def test_unknown_space_is_an_error():
    with pytest.raises(ConfigError, match="space 'log'"):
        select_ray(random_pool(10), weights=(0.5, 0.5), k=1, space="log")


def test_an_empty_or_crooked_pool_is_an_error():
    with pytest.raises(InputError, match="0 distinct rows"):
        select_ray(pool_of(np.empty((0, 2))), weights=(0.5, 0.5), k=1)
    with pytest.raises(ShapeError, match="prompt_of"):
        select_all(Pool(np.zeros((2, 2)), np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64)))


def test_rules_describe_themselves():
    one = partial(select_ray, weights=(0.5, 0.5), k=100, direction="chebyshev", smoothing=0.1)
    assert describe(one)["call"] == "paretune.functional.select.select_ray"
    assert identity(one) != identity(partial(select_ray, weights=(0.5, 0.5), k=100))
    assert describe(select_all) == "paretune.functional.select.select_all"
