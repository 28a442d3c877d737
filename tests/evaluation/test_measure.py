"""The numbers of a run, on replies small enough to work out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paretune.core.objective import Objectives
from paretune.core.results import Cost, KnownFront, RunResult, to_json
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError, ShapeError
from paretune.evaluation.box import Box, frozen_box
from paretune.evaluation.measure import (
    Yardstick,
    evaluate_method,
    evaluate_point,
    measure,
    paired_differences,
)
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.functional.statistics import resample_prompts

AXES = Objectives.of("helpful", "concise")
UNIT = Box((0.0, 0.0), (1.0, 1.0), "declared")
COST = Cost(1.0, 10, 2.0, 20, 1, 1)
EVEN, ONLY_0, ONLY_1 = TradeOff((0.5, 0.5)), TradeOff((1.0, 0.0)), TradeOff((0.0, 1.0))


def table(rewards, prompt_of=None, texts=None, well_formed=None) -> ReplyTable:
    rewards = np.asarray(rewards, dtype=np.float64)
    n = len(rewards)
    return ReplyTable(
        np.arange(n) if prompt_of is None else np.asarray(prompt_of),
        texts or [f"a fair reply number {i}" for i in range(n)],
        rewards,
        well_formed,
    )


def yardstick(n_prompts: int, box: Box = UNIT, hull=None, n_resamples: int = 200) -> Yardstick:
    return Yardstick(box, resample_prompts(n_prompts, n_resamples, np.random.default_rng(0)), hull)


def constant(name: str, points: dict[tuple[float, ...], list[float]], n: int = 4) -> MethodReplies:
    """A method whose every reply to a trade-off earns the same rewards."""
    return MethodReplies(
        name,
        [
            PointReplies(TradeOff(w), f"{name}-{w}", table(np.tile(r, (n, 1))))
            for w, r in points.items()
        ],
        COST,
    )


def test_point_by_hand() -> None:
    """Box [0, 2] x [-1, 1]; unit rewards (.5, 1), (1, 0) and, clipped, (1, .25)."""
    box = Box((0.0, -1.0), (2.0, 1.0), "declared")
    replies = PointReplies(
        TradeOff((0.8, 0.2)),
        "job",
        table(
            [[1.0, 1.0], [2.0, -1.0], [4.0, -0.5]],
            texts=["yes", "no way , " * 5, "a sound reply"],
            well_formed=np.array([True, False, True]),
        ),
    )
    found = evaluate_point(replies, yardstick(3, box)).result
    assert [m.value for m in found.means] == pytest.approx([7 / 3, -0.5 / 3])
    assert found.utility_min.value == pytest.approx((0.5 + 0 + 0.25) / 3)
    # weights over the largest: (1, .25); worst shortfalls .5, .25 and .1875
    assert found.utility_chebyshev.value == pytest.approx((0.5 + 0.75 + 0.8125) / 3)
    assert (found.collapse.short, found.collapse.loop, found.collapse.repeats) == (1 / 3, 1 / 3, 0)
    assert found.collapse.malformed == pytest.approx(1 / 3)
    assert (found.n_replies, found.tradeoff, found.policy) == (3, (0.8, 0.2), "job")
    for got in (*found.means, found.utility_min, found.utility_chebyshev):
        assert got.low < got.value < got.high


def test_a_mixture_earns_on_average_what_no_reply_offers() -> None:
    """The reason for two yardsticks: half (1, 0) and half (0, 1) against always (.4, .4)."""
    coin = PointReplies(EVEN, "coin", table([[1, 0], [0, 1]] * 4))
    plain = PointReplies(EVEN, "plain", table([[0.4, 0.4]] * 8))
    stick = yardstick(8)
    coin, plain = (
        evaluate_method(MethodReplies(p.policy, [p], COST), stick).result for p in (coin, plain)
    )
    assert (coin.hypervolume.value, plain.hypervolume.value) == pytest.approx((0.25, 0.16))
    assert (coin.utility_min.value, plain.utility_min.value) == pytest.approx((0.0, 0.4))


def test_method_by_hand() -> None:
    hull = np.array([[1.0, 0.0], [0.0, 1.0]])
    method = constant(
        "m",
        {(1.0, 0.0): [0.8, 0.2], (0.5, 0.5): [0.4, 0.6], (0.25, 0.75): [0.3, 0.6],
         (0.0, 1.0): [0.2, 0.7]},
    )  # fmt: skip
    found = evaluate_method(method, yardstick(4, hull=hull)).result
    # staircase: .8 x .2 + .4 x (.6 - .2) + .2 x (.7 - .6)
    assert found.hypervolume.value == pytest.approx(0.16 + 0.16 + 0.02)
    assert [p.dominated for p in found.points] == [False, False, True, False]
    assert found.utility_min.value == pytest.approx(0.4)
    # shares (1, 0), (1, 1), (1/3, 1), (0, 1): .8, .4, min(1 - .7/3, .6), .7
    assert found.utility_chebyshev.value == pytest.approx((0.8 + 0.4 + 0.6 + 0.7) / 4)
    # second objective: means .2 .6 .6 .7 against weights 0 .5 .75 1, one tie
    assert found.controllability[0] == 1.0
    assert found.controllability[1] == pytest.approx(0.9486832980505138)
    # every target (t, 1 - t) is short of the nearest point by at most .1 in one axis or none
    assert 0 < found.distance.value < 0.2
    assert found.hypervolume.low == pytest.approx(found.hypervolume.high)  # nothing varies


def test_distance_of_the_front_itself_is_zero() -> None:
    hull = np.array([[1.0, 0.0], [0.0, 1.0]])
    corner = constant("ideal", {(0.5, 0.5): [1.0, 1.0]})
    assert evaluate_method(corner, yardstick(4, hull=hull)).result.distance.value == 0
    origin = constant("origin", {(0.5, 0.5): [0.0, 0.0]})
    # mean of sqrt(t^2 + (1-t)^2) over 101 points of [0, 1]
    t = np.linspace(0, 1, 101)
    expected = np.sqrt(t**2 + (1 - t) ** 2).mean()
    found = evaluate_method(origin, yardstick(4, hull=hull)).result
    assert found.distance.value == pytest.approx(expected)
    assert found.distance.low == pytest.approx(found.distance.high)


def test_the_best_point_keeps_its_own_interval() -> None:
    rng = np.random.default_rng(0)
    points = [
        PointReplies(t, t.slug, table(rng.uniform(0, top, size=(40, 2))))
        for t, top in ((ONLY_0, 0.5), (EVEN, 1.0), (ONLY_1, 0.5))
    ]
    found = evaluate_method(MethodReplies("m", points, COST), yardstick(40)).result
    assert found.utility_min == found.points[1].utility_min


def test_methods_are_compared_at_their_best_points() -> None:
    stick = yardstick(4)
    one = constant("one", {(1.0, 0.0): [0.9, 0.1], (0.5, 0.5): [0.6, 0.6]})
    other = constant("other", {(1.0, 0.0): [0.5, 0.5], (0.5, 0.5): [0.7, 0.1]})
    found = paired_differences([evaluate_method(m, stick) for m in (one, other)])
    utility = next(d for d in found if d.measure == "utility_min")
    assert (utility.first, utility.probability) == ("one", 1.0)
    assert [utility.value.value, utility.value.low, utility.value.high] == pytest.approx([0.1] * 3)


def test_a_reply_beyond_the_box_does_not_make_up_for_another() -> None:
    """Rewards (3, 3) and (0, 0) count as (1, 1) and (0, 0) in both utilities."""
    replies = PointReplies(EVEN, "job", table([[3.0, 3.0], [0.0, 0.0]]))
    found = evaluate_point(replies, yardstick(2)).result
    assert (found.utility_min.value, found.utility_chebyshev.value) == (0.5, 0.5)
    assert found.means[0].value == 1.5


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    """Hypervolume of two policies with known means (.6, .3) and (.2, .7): .18 + .08 = .26."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        points = [
            PointReplies(t, t.slug, table(np.clip(rng.normal(mean, 0.1, (150, 2)), 0, 1)))
            for t, mean in ((ONLY_0, (0.6, 0.3)), (ONLY_1, (0.2, 0.7)))
        ]
        stick = Yardstick(UNIT, resample_prompts(150, 200, rng))
        found = evaluate_method(MethodReplies("m", points, COST), stick).result.hypervolume
        hits += found.low <= 0.26 <= found.high
    assert 88 <= hits <= 100


def test_paired_draws_see_a_small_steady_lead() -> None:
    """+.01 on every prompt is certain when paired, and invisible between the two intervals."""
    base = np.random.default_rng(5).uniform(0.2, 0.8, size=(60, 2))
    stick = yardstick(60)
    ahead, behind = (
        evaluate_method(MethodReplies(n, [PointReplies(EVEN, n, table(r))], COST), stick)
        for n, r in (("ahead", base + 0.01), ("behind", base))
    )
    assert ahead.result.hypervolume.low < behind.result.hypervolume.high
    found = {d.measure: d for d in paired_differences([behind, ahead])}
    assert set(found) == {"hypervolume", "utility_min", "utility_chebyshev"}
    lead = found["hypervolume"]
    assert (lead.first, lead.second, lead.probability) == ("ahead", "behind", 1.0)
    assert lead.value.low > 0
    assert found["utility_min"].value.value == pytest.approx(0.01)


def test_identical_methods_are_a_tie() -> None:
    same = [constant(n, {(0.5, 0.5): [0.4, 0.5]}) for n in ("a", "b")]
    stick = yardstick(4)
    found = paired_differences([evaluate_method(m, stick) for m in same])
    assert {d.probability for d in found} == {0.5}
    assert {d.value.value for d in found} == {0.0}


def test_other_tradeoffs_are_not_compared_by_chebyshev() -> None:
    stick = yardstick(4)
    one = evaluate_method(constant("a", {(0.5, 0.5): [0.4, 0.5]}), stick)
    other = evaluate_method(constant("b", {(1.0, 0.0): [0.4, 0.5]}), stick)
    assert {d.measure for d in paired_differences([one, other])} == {"hypervolume", "utility_min"}


def test_a_failed_method_keeps_its_points_and_is_not_ranked() -> None:
    partial = constant("broken", {(0.5, 0.5): [0.4, 0.5]})
    failed = MethodReplies("broken", partial.points, COST, failed="RunError: loss is nan")
    found = evaluate_method(failed, yardstick(4))
    assert (found.result.hypervolume, found.result.utility_min, found.resampled) == (None, None, {})
    assert len(found.result.points) == 1
    empty = evaluate_method(MethodReplies("broken", [], COST, failed="at once"), yardstick(4))
    assert empty.result.points == ()


def full_run(**changes) -> RunResult:
    methods = [
        constant("a", {(1.0, 0.0): [0.8, 0.2], (0.0, 1.0): [0.2, 0.7]}),
        constant("b", {(1.0, 0.0): [0.6, 0.2], (0.0, 1.0): [0.2, 0.6]}),
        MethodReplies("c", [], COST, failed="RunError: out of memory"),
    ]
    arguments = {
        "reference": constant("reference", {(0.5, 0.5): [0.5, 0.1]}),
        "known": KnownFront(((1.0, 1.0),), ((1.0, 1.0),), 1.0, {2: 0.9}, 1.0, 1.0),
        "n_resamples": 20,
        "n_samples": 2,
        "notes": ["judged by the world itself"],
        "facts": {"seed": "0"},
    } | changes
    methods = arguments.pop("methods", methods)
    box = frozen_box(AXES, bounds=([0, 0], [1, 1]))
    prompts = [f"prompt {i}" for i in range(4)]
    rng = np.random.default_rng(0)
    return measure("run", AXES, box, prompts, methods, rng=rng, **arguments)


def test_a_run_by_hand_and_its_json_round_trip() -> None:
    result = full_run()
    assert [m.name for m in result.methods] == ["a", "b", "c"]
    assert {(d.first, d.second) for d in result.differences} == {("a", "b")}
    assert result.n_prompts == 4
    # the reference answers alike for both corners: mean of .5 and .1
    assert result.reference.utility_chebyshev.value == pytest.approx(0.3)
    assert result.reference.hypervolume.value == pytest.approx(0.05)
    assert len(result.samples) == 4  # two prompts, two methods with points
    first = result.samples[0]
    assert (first.method, first.tradeoffs) == ("a", ((1.0, 0.0), (0.0, 1.0)))
    assert first.rewards == ((0.8, 0.2), (0.2, 0.7))
    assert RunResult.from_json(json.loads(json.dumps(to_json(result)))) == result


def test_the_same_seed_gives_the_same_run() -> None:
    assert full_run() == full_run()


def test_the_box_is_not_moved_by_a_method() -> None:
    """Adding a method changes nothing about the others."""
    a = constant("a", {(1.0, 0.0): [0.8, 0.2]})
    wild = constant("wild", {(1.0, 0.0): [5.0, -3.0]})
    alone, beside = full_run(methods=[a]), full_run(methods=[a, wild])
    assert alone.methods[0] == beside.methods[0]
    assert beside.methods[1].hypervolume.value == 0


def test_empty_sets_and_repeated_names_are_errors() -> None:
    a = constant("a", {(1.0, 0.0): [0.8, 0.2]})
    with pytest.raises(InputError, match="names once"):
        full_run(methods=[a, a])
    with pytest.raises(InputError, match="at least one"):
        full_run(methods=[])
    with pytest.raises(InputError, match="found no point"):
        full_run(methods=[MethodReplies("empty", [], COST)])
    with pytest.raises(InputError, match="prompt 2 has no reply"):
        full_run(methods=[constant("short", {(0.5, 0.5): [0.1, 0.1]}, n=2)])


def test_the_number_of_objectives_must_fit() -> None:
    three = PointReplies(TradeOff.even(3), "x", table(np.full((4, 3), 0.5)))
    with pytest.raises(ShapeError, match="found 3 rewards"):
        evaluate_point(three, yardstick(4))


def test_permuting_objectives_permutes_the_answer() -> None:
    rng = np.random.default_rng(6)
    points = [
        PointReplies(t, t.slug, table(rng.uniform(size=(12, 2)))) for t in (ONLY_0, EVEN, ONLY_1)
    ]
    turned = [
        PointReplies(TradeOff(p.tradeoff.weights[::-1]), p.policy, table(p.table.rewards[:, ::-1]))
        for p in points
    ]
    one, other = (
        evaluate_method(MethodReplies("m", p, COST), yardstick(12)).result for p in (points, turned)
    )
    assert one.hypervolume.value == pytest.approx(other.hypervolume.value)
    assert one.utility_chebyshev.value == pytest.approx(other.utility_chebyshev.value)
    assert one.controllability == other.controllability[::-1]
    assert one.largest_gap == pytest.approx(other.largest_gap)
