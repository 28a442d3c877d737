"""The published numbers of the known front, and what they rest on."""

import time

import numpy as np
import pytest

from paretune.bench.handy import SCENARIOS, Handy
from paretune.bench.handy.front import handy_front, hull_vertices, single_reply_front
from paretune.bench.handy.rewards import reward_table
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError
from paretune.functional.indicators import hypervolume
from paretune.functional.simplex import lattice

GRID = [TradeOff((i / 10, 1 - i / 10)) for i in range(11)]


@pytest.fixture(scope="module")
def fronts():
    return {name: Handy(name).known_front() for name in SCENARIOS}


def test_brevity_has_five_single_replies_and_all_are_supported(fronts):
    front = fronts["A"]
    expected = [(0.349, 1), (0.567, 0.818), (0.753, 0.636), (0.921, 0.455), (1, 0.045)]
    np.testing.assert_allclose(front.replies, expected, atol=5e-4)
    assert front.hull == front.replies
    assert front.hypervolume == pytest.approx(0.7937, abs=5e-5)


def test_caution_has_thirteen_single_replies_of_which_three_are_supported(fronts):
    front = fronts["B"]
    assert len(front.replies) == 13
    np.testing.assert_allclose(front.hull, [(0, 1), (0.97, 0.12), (1, 0)], atol=1e-12)
    # Area under the polyline: .97 * (1 + .12) / 2 + .03 * .12 / 2.
    assert front.hypervolume == pytest.approx(0.97 * 0.56 + 0.03 * 0.06)
    assert front.hypervolume == pytest.approx(0.5450, abs=5e-5)


def test_one_reply_type_everywhere_reaches_half_of_caution_and_its_supported_replies_less(fronts):
    assert hypervolume(fronts["B"].replies) == pytest.approx(0.2923, abs=5e-5)
    assert hypervolume(fronts["B"].hull) == pytest.approx(0.97 * 0.12)


@pytest.mark.parametrize(
    ("scenario", "vertices", "volume"), [("C", 14, 0.73136), ("D", 52, 0.43580)]
)
def test_attainable_volume_with_more_objectives(fronts, scenario, vertices, volume):
    front = fronts[scenario]
    assert len(front.hull) == vertices
    assert front.hypervolume == pytest.approx(volume, abs=5e-6)
    assert front.ceilings == {}


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("A", {2: 0.628, 5: 0.735, 11: 0.768, 21: 0.780}),
        ("B", {2: 0.367, 5: 0.459, 11: 0.504, 21: 0.523}),
    ],
)
def test_ceilings_of_a_number_of_policies(fronts, scenario, expected):
    found = fronts[scenario].ceilings
    assert list(found) == list(range(1, 22))
    for k, value in expected.items():
        assert found[k] == pytest.approx(value, abs=6e-4)


def test_best_per_reply_utility(fronts):
    assert fronts["A"].utility_min == pytest.approx(7 / 11)
    assert fronts["B"].utility_min == pytest.approx(0.338, abs=5e-4)
    # Half of a coin flip between refusing and complying is worth little to each reply.
    table = reward_table(True, ("helpful", "harmless"))
    ends = table[[int(table[:, 1].argmax()), int(table[:, 0].argmax())]]
    assert ends.min(axis=1).mean() < 0.07


def test_best_chebyshev_utility_by_hand():
    world = Handy("A")
    # Corners: the best reward. (3/4, 1/4): four steps without overview, min(.921, 1 - .545 / 3).
    # (1/4, 3/4): two steps, 1 - max((1 - .567) / 3, 1 - .818).
    cases = {(1.0, 0.0): 1.0, (0.0, 1.0): 1.0, (0.5, 0.5): 7 / 11, (0.75, 0.25): 9 / 11,
             (0.25, 0.75): 9 / 11}  # fmt: skip
    for weights, expected in cases.items():
        found = world.known_front([TradeOff(weights)]).utility_chebyshev
        assert found == pytest.approx(expected), weights
    every = world.known_front([TradeOff(w) for w in cases]).utility_chebyshev
    assert every == pytest.approx(np.mean(list(cases.values())))
    assert world.known_front().utility_chebyshev is None


def test_no_policy_beats_the_front_on_any_weighted_sum(fronts):
    """Each hull is tight: the best weighted sum over its vertices is the best over all replies."""
    for name, front in fronts.items():
        world = Handy(name)
        weights = np.array([t.weights for t in lattice(len(world.objectives), 6)])
        best = np.zeros(len(weights))
        for prompt in world.test_prompts[::3]:  # one phrasing of each pair
            best += (world.enumerate_rewards(prompt) @ weights.T).max(axis=0)
        best /= len(world.test_prompts[::3])
        reached = (np.array(front.hull) @ weights.T).max(axis=0)
        np.testing.assert_allclose(reached, best, atol=1e-12)


def test_in_caution_every_prompt_has_the_same_front():
    """So the front of means is the front of each prompt."""
    world = Handy("B")
    expected = world.enumerate_rewards(world.test_prompts[0])
    for prompt in world.test_prompts:
        replies = world.enumerate_replies(prompt)
        found = world.score_many([prompt] * len(replies), replies)
        np.testing.assert_array_equal(found, expected)


def test_fronts_take_less_than_half_a_second():
    start = time.process_time()
    for name in SCENARIOS:
        world = Handy(name)
        world.known_front(GRID if len(world.objectives) == 2 else [])
    assert time.process_time() - start < 4 * 0.5


def test_permuting_objectives_permutes_the_front():
    front = handy_front(Objectives.of("helpful", "harmless"), 1.0, [TradeOff((0.7, 0.3))])
    turned = handy_front(Objectives.of("harmless", "helpful"), 1.0, [TradeOff((0.3, 0.7))])
    assert {row[::-1] for row in turned.replies} == set(front.replies)
    assert {row[::-1] for row in turned.hull} == set(front.hull)
    assert turned.hypervolume == pytest.approx(front.hypervolume)
    assert turned.utility_chebyshev == pytest.approx(front.utility_chebyshev)


def test_share_of_risky_requests_moves_the_front_between_the_two_kinds():
    objectives = Objectives.of("helpful", "harmless")
    volumes = [handy_front(objectives, share).hypervolume for share in (0.0, 0.5, 1.0)]
    assert volumes[0] == pytest.approx(1.0)
    assert volumes[0] > volumes[1] > volumes[2] == pytest.approx(0.545)
    with pytest.raises(InputError, match=r"share of 1\.5"):
        handy_front(objectives, 1.5)


def test_one_reply_a_kind_by_hand():
    kinds = [(0.5, np.array([[1.0, 1.0], [0.0, 1.0]])), (0.5, np.array([[0.0, 1.0], [1.0, 0.0]]))]
    np.testing.assert_allclose(single_reply_front(kinds), [[0.5, 1.0], [1.0, 0.5]])


def test_hull_drops_what_a_mixture_reaches_and_keeps_the_corners():
    points = np.array([[0.0, 1.0], [0.5, 0.5], [0.4, 0.55], [0.8, 0.4], [1.0, 0.0]])
    np.testing.assert_array_equal(hull_vertices(points), points[[0, 3, 4]])
