"""Methods over seeds, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from paretune.core.comparison_results import MEASURES, SettingTried
from paretune.core.interval import Interval
from paretune.core.results import (
    Collapse,
    Cost,
    KnownFront,
    MethodResult,
    PointResult,
    RunResult,
)
from paretune.errors import InputError
from paretune.evaluation.comparison import (
    best_setting,
    duels,
    over_seeds,
    seed_values,
    setting_tried,
)


def exactly(value):
    return Interval(value, value, value)


def point(weights, n_replies=10, **shares):
    collapse = Collapse(
        shares.get("short", 0.0), shares.get("loop", 0.0), shares.get("repeats", 0.0),
        shares.get("malformed"),
    )  # fmt: skip
    means = tuple(map(exactly, (0.5, 0.5)))
    return PointResult(weights, "p", means, exactly(0.1), exactly(0.2), collapse, n_replies, False)


def method(name="m", volume=0.4, worst=0.3, points=None, cost=None):
    points = points or (point((1.0, 0.0)), point((0.0, 1.0)))
    cost = cost or Cost(30.0, 1000, 9.0, 900, 2, 2, answer_seconds=4.0, answer_tokens=400)
    return MethodResult(
        name, points, exactly(volume), exactly(worst), exactly(0.6), (0.5, None), None, cost
    )


KNOWN = KnownFront(
    ((1.0, 1.0),), ((1.0, 1.0),), 0.8, {1: 0.4, 2: 0.5}, 0.6, 0.75,
    (((1.0, 0.0), 0.8), ((0.0, 1.0), 0.7), ((0.5, 0.5), 0.75)),
)  # fmt: skip


def run(*methods, known=KNOWN):
    reference = method(
        "reference", points=(point((0.5, 0.5)),), cost=Cost(0, 0, 1.0, 50, 0, 1, 1.0, 50)
    )
    return RunResult(
        "r", ("a", "b"), (0.0, 0.0), (1.0, 1.0), "declared", reference, methods or (method(),),
        known, n_prompts=10,
    )  # fmt: skip


def test_values_of_a_seed_by_hand():
    points = (
        point((1.0, 0.0), 10, short=0.1, malformed=0.2),
        point((0.0, 1.0), 30, loop=0.1, repeats=0.2, malformed=0.6),
    )
    mine = method(points=points)
    values = seed_values(run(mine), mine)
    assert values.keys() == {*MEASURES, "steers.a", "steers.b"}
    assert values["hypervolume_share"] == pytest.approx(0.4 / 0.8)
    assert values["ceiling_share"] == pytest.approx(0.4 / 0.5)  # of the best two policies
    assert values["ceiling"] == pytest.approx(0.5 / 0.8)
    assert values["utility_min_share"] == pytest.approx(0.3 / 0.6)
    assert values["utility_chebyshev_share"] == pytest.approx(0.6 / 0.75)
    # A point with three times the replies weighs three times as much.
    assert values["short"] == pytest.approx(0.025)
    assert values["loop"] == pytest.approx(0.075)
    assert values["collapsed"] == pytest.approx((0.1 * 10 + 0.3 * 30) / 40)
    assert values["malformed"] == pytest.approx((0.2 * 10 + 0.6 * 30) / 40)
    # 30 s of training and 9 - 4 s of replies to learn from, for two trade-offs.
    assert values["train_seconds"] == 35 and values["train_seconds_each"] == 17.5
    assert values["policies"] == 2 and values["train_tokens"] == 1000
    # 4 s for 40 replies, where the reference needs 1 s for 10.
    assert values["reply_cost"] == pytest.approx(1.0)
    assert values["reply_tokens"] == pytest.approx(10.0)
    assert (values["steers.a"], values["steers.b"]) == (0.5, None)


def test_without_a_known_front_there_are_no_shares():
    values = seed_values(run(known=None), method())
    shares = [name for name in values if name.endswith("_share") or name == "ceiling"]
    assert [values[name] for name in shares] == [None] * 5
    assert values["hypervolume"] == 0.4
    assert seed_values(run(), method())["malformed"] is None


def test_a_method_with_fewer_trade_offs_is_a_share_of_the_best_at_these():
    whole = method("whole", points=(point((1.0, 0.0)), point((0.0, 1.0))))
    half = method("half", points=(point((1.0, 0.0)),))
    both = run(whole, half)
    assert seed_values(both, whole)["utility_chebyshev_share"] == pytest.approx(0.6 / 0.75)
    assert seed_values(both, half)["utility_chebyshev_share"] == pytest.approx(0.6 / 0.8)
    odd = method("odd", points=(point((0.3, 0.7)),))
    assert seed_values(run(odd), odd)["utility_chebyshev_share"] is None
    # But its mean is not set beside the mean of a method that answered all of them.
    boxed = replace(both, known=None)
    assert seed_values(boxed, whole)["utility_chebyshev"] is not None
    assert seed_values(boxed, half)["utility_chebyshev"] is None
    assert seed_values(both, half)["ceiling_share"] == pytest.approx(0.4 / 0.4)


@pytest.mark.parametrize(
    ("criterion", "score"), [("both", 0.5), ("hypervolume", 0.625), ("utility_min", 0.375)]
)
def test_the_score_of_a_setting(criterion, score):
    mine = method(volume=0.5, worst=0.225)  # 0.625 of 0.8 and 0.375 of 0.6
    tried = setting_tried(run(mine), "m", {"beta": 1.0}, criterion)
    assert tried.score == pytest.approx(score)
    assert (tried.hypervolume, tried.utility_min) == pytest.approx((0.625, 0.375))
    assert tried.options == {"beta": 1.0}
    assert tried.seconds == 39.0  # training and all replies
    assert tried.failed is None


def test_in_a_box_without_a_known_front_the_numbers_are_the_score():
    tried = setting_tried(run(method(volume=0.5, worst=0.3), known=None), "m", {}, "both")
    assert tried.score == pytest.approx(0.4)


def test_the_best_setting_is_the_first_of_equals_and_never_a_failed_one():
    def of(*scores):
        return [SettingTried({}, score, failed=None if score else "x") for score in scores]

    assert best_setting(of(0.2, 0.7, 0.5)) == 1
    assert best_setting(of(0.2, 0.7, 0.7)) == 1
    assert best_setting(of(None, 0.1)) == 1
    assert best_setting(of(None, None)) is None
    assert best_setting([]) is None
    failed = replace(method(), hypervolume=None, utility_min=None, failed="diverged")
    assert setting_tried(run(failed), "m", {}, "both").score is None


def test_over_seeds_by_hand():
    runs = [run(method(volume=v)) for v in (0.2, 0.4, 0.6)]
    found = over_seeds(runs, "m", "dpo", {"beta": 0.5})
    assert found.values["hypervolume"] == (0.2, 0.4, 0.6)
    # Standard error .2 / sqrt(3), t of two degrees of freedom 4.302653.
    interval = found.intervals["hypervolume"]
    assert interval.value == pytest.approx(0.4)
    assert interval.high - 0.4 == pytest.approx(4.302653 * 0.2 / np.sqrt(3), abs=1e-6)
    assert found.points == 2 and found.chosen == {"beta": 0.5} and found.method == "dpo"
    assert "steers.b" not in found.intervals  # no seed has it
    assert found.failed is None


def test_seeds_that_survive_do_not_flatter_a_method():
    failed = replace(method(), hypervolume=None, failed="m/policy: diverged")
    found = over_seeds([run(method()), run(failed)], "m", "dpo", {})
    assert found.intervals == {}
    assert found.values["hypervolume"] == (0.4, None)
    assert found.failed == "failed on 1 of 2 seeds, first: m/policy: diverged"


def test_duels_by_hand():
    # "a" is ahead of "b" on both seeds by more than prompts move it, level with "c".
    steady = np.array([[0.5, 0.5], [0.6, 0.6]])
    made = {
        "a": {"hypervolume": steady, "utility_min": np.array([[0.0, 1.0], [0.0, 1.0]])},
        "b": {"hypervolume": steady - 0.1, "utility_min": np.array([[1.0, 0.0], [1.0, 0.0]])},
        "c": {"hypervolume": steady, "utility_min": np.array([[0.0, 1.0], [0.0, 1.0]])},
    }
    found = duels(made, 3000, np.random.default_rng(0))
    odds = {(d.measure, d.first, d.second): d.probability for d in found}
    assert len(found) == 2 * 6
    assert odds["hypervolume", "a", "b"] == 1.0 and odds["hypervolume", "b", "a"] == 0.0
    assert odds["hypervolume", "a", "c"] == 0.5
    # One of two resamples of the prompts favors each.
    assert odds["utility_min", "a", "b"] == pytest.approx(0.5, abs=0.03)
    assert all(odds[m, x, y] + odds[m, y, x] == pytest.approx(1.0) for m, x, y in odds)


def test_one_method_has_no_duel_and_shapes_must_agree():
    one = {"hypervolume": np.zeros((2, 3)), "utility_min": np.zeros((2, 3))}
    assert duels({"a": one}, 10, np.random.default_rng(0)) == ()
    other = {"hypervolume": np.zeros((1, 3)), "utility_min": np.zeros((1, 3))}
    with pytest.raises(InputError, match="duels"):
        duels({"a": one, "b": other}, 10, np.random.default_rng(0))
