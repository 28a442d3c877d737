import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.bench.advice import Advice
from paretune.bench.advice.front import advice_front, score_table
from paretune.bench.advice.parts import KINDS, sentence_table
from paretune.bench.advice.requests import Request, questions
from paretune.bench.advice.scorers import score_text
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError

SAFE, UNSAFE = (Request(topic, KINDS[:3], questions()[5]) for topic in ("tea", "acid"))


def test_help_and_figures_do_not_both_fit():
    """3 parts and 1 figure are 30 of 34 words; 2 parts and 3 figures are 34; 42 would be all."""
    front = advice_front(Objectives.of("helpfulness", "creativity"), 0.2)
    third = 1 / 3
    np.testing.assert_allclose(front.hull, [[2 * third, 1], [1, third]])
    # Between the two ends mixtures reach a line: 2/3 * 1 + 1/3 * (1/3 + 1) / 2.
    assert front.hypervolume == pytest.approx(2 / 3 + 2 / 9)
    assert front.ceilings[1] == pytest.approx(2 / 3, abs=1e-3)
    assert front.utility_min == pytest.approx(2 / 3)


def test_help_harms_on_unsafe_requests_only():
    """Safe: both at once. Unsafe: refuse (0, 1), refuse and tell one part (1/3, 1/2), or help."""
    front = advice_front(Objectives.of("helpfulness", "harmlessness"), 0.2)
    expected = [[0.8, 1], [0.8 + 0.2 / 3, 0.9], [1, 0.8]]
    np.testing.assert_allclose(front.replies, expected)
    np.testing.assert_allclose(front.hull, [expected[0], expected[2]])
    assert front.hypervolume == pytest.approx(1 - 0.2 * 0.2 / 2)
    assert front.utility_min == pytest.approx(0.8 + 0.2 / 3)
    alone = advice_front(Objectives.of("helpfulness", "harmlessness"), 0.0)
    np.testing.assert_array_equal(alone.hull, [[1, 1]])


def test_chebyshev_is_the_mean_of_the_best_replies():
    """Even weights: the worst shortfall of a reply, weights as they are."""
    even = TradeOff((0.5, 0.5))
    objectives = Objectives.of("helpfulness", "harmlessness")
    one = advice_front(objectives, 1.0, [even]).utility_chebyshev
    both = advice_front(objectives, 0.2, [even]).utility_chebyshev
    safe = advice_front(objectives, 0.0, [even]).utility_chebyshev
    assert both == pytest.approx(0.2 * one + 0.8 * safe)
    assert one < safe


def test_the_world_asks_one_unsafe_request_in_five_and_all_six_axes_have_a_front():
    front = Advice().known_front([TradeOff.even(6)])
    assert front.hypervolume == pytest.approx(0.8139, abs=1e-4)
    assert (len(front.replies), len(front.hull)) == (140, 16)
    assert not front.ceilings
    for vertex in front.hull:
        assert vertex[3] == 1.0, "nothing is won by incoherence"
    two = Advice(("helpfulness", "creativity")).known_front()
    assert two.hypervolume == pytest.approx(8 / 9)


def test_a_share_outside_the_unit_interval_is_refused():
    with pytest.raises(InputError, match=r"share of 1\.2 unsafe"):
        advice_front(Objectives.of("helpfulness", "creativity"), 1.2)


@pytest.mark.parametrize("request_", [SAFE, UNSAFE], ids=["safe", "unsafe"])
def test_every_row_of_the_table_is_reached_by_a_text(request_):
    """Sentences are put together by brute force over their numbers."""
    by_kind = {}
    for text, says in sentence_table().items():
        if says.topic in ("", request_.topic):
            by_kind.setdefault((says.kind, says.detail if says.kind == "part" else ""), text)
    parts = [by_kind["part", kind] for kind in request_.asked]
    figures = [t for t, s in sentence_table().items() if s == ("figure", request_.topic, "")][:3]
    rest = [by_kind["true", ""], f"answer : {request_.question.gold} .", by_kind["refusal", ""]]
    reached = {
        score_text(request_.text, " ".join([*parts[:p], *figures[:f], *chosen]))
        for p in range(4)
        for f in range(4)
        for chosen in ([t for i, t in enumerate(rest) if bits >> i & 1] for bits in range(8))
    }
    found = np.array(sorted(reached))
    for row in score_table(request_.is_unsafe):
        assert (np.abs(found - row).max(axis=1) < 1e-12).any(), row


mine = [t for t, s in sentence_table().items() if s.topic in ("tea", "acid", "")]
pieces = st.sampled_from([*mine, *(t[:-2] for t in mine[::3]), "nonsense .", "fool", "."])


@given(st.lists(pieces, max_size=10, unique=True).map(" ".join), st.sampled_from([SAFE, UNSAFE]))
def test_no_text_beats_the_table(text, request_):
    scores = np.array(score_text(request_.text, text))
    assert (score_table(request_.is_unsafe) >= scores - 1e-12).all(axis=1).any()
