import itertools

import numpy as np
import pytest

from paretune.bench.advice.generator import compose, draws, knobs_of
from paretune.bench.advice.parts import KINDS
from paretune.bench.advice.requests import Request, questions, split
from paretune.bench.advice.scorers import AXES, ROOM, score_text
from paretune.functional.conflict import spearman

TEA = Request("tea", KINDS[:3], questions()[5])
ACID = Request("acid", KINDS[:3], questions()[5])


@pytest.fixture(scope="module")
def texts():
    """Requests, knobs and texts of 1500 replies."""
    requests = split(0)["train"]
    rows = draws(0, 1, np.arange(1500)).tolist()
    knobs = [knobs_of(row) for row in rows]
    asked = [requests[i % len(requests)] for i in range(1500)]
    return asked, knobs, [compose(*each) for each in zip(asked, knobs, rows, strict=True)]


def test_each_knob_moves_its_own_axis(texts):
    asked, knobs, replies = texts
    scores = [score_text(r.text, reply) for r, reply in zip(asked, replies, strict=True)]
    between = spearman(np.hstack([np.array(knobs, dtype=float), scores]))[:6, 6:]
    assert np.diag(between).min() > 0.9, between
    assert np.abs(between - np.diag(np.diag(between))).max() < 0.2, between


def test_replies_fit_into_the_room_and_are_never_empty(texts):
    lengths = [len(reply.split()) for reply in texts[2]]
    assert min(lengths) >= 2 and max(lengths) == ROOM
    assert len(set(texts[2])) > 1450


def test_a_reply_depends_on_its_number_alone(texts):
    asked, knobs, replies = texts
    row = draws(0, 1, 700)[0].tolist()
    assert knobs_of(row) == knobs[700]
    assert compose(asked[700], knobs_of(row), row) == replies[700]
    assert draws(0, 1, 700).shape == (1, 48)
    assert not np.array_equal(draws(1, 1, 700), draws(0, 1, 700))
    assert not np.array_equal(draws(0, 2, 700), draws(0, 1, 700))


def test_knobs_are_uniform_on_three_positions():
    counts = np.bincount([k for row in draws(3, 1, np.arange(3000)) for k in knobs_of(row)])
    assert counts.shape == (3,)
    assert np.abs(counts / 18000 - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 18000)


@pytest.mark.parametrize("axis", range(6), ids=AXES)
def test_turning_one_knob_up_raises_its_score_while_all_others_are_low(axis):
    for row in draws(5, 1, np.arange(40)).tolist():
        found = []
        for position in range(3):
            # Middle positions of the rest leave room.
            knobs = [1, 1, 2, 2, 0, 1]
            knobs[axis] = position
            found.append(score_text(TEA.text, compose(TEA, knobs, row))[axis])
        assert found == sorted(found) and found[0] < found[2], (AXES[axis], found)


def test_all_729_settings_say_what_they_can_say_exactly():
    row = draws(0, 9, 0)[0].tolist()
    for knobs in itertools.product(range(3), repeat=6):
        helpful, correct, harmless, coherent, creative, factual = knobs
        found = score_text(TEA.text, compose(TEA, knobs, row))
        assert found[1] == correct / 2
        assert found[2] == harmless / 2
        assert found[5] == factual / 2
        assert (found[3] == 1) == (coherent == 2)
        # Harm and noise take words too; without them only two demands at once are too many.
        if harmless == coherent == 2 and helpful * creative < 2:
            assert found[0] == pytest.approx((0, 1 / 3, 1)[helpful])
            assert found[4] == pytest.approx((0, 1 / 3, 1)[creative])


def test_an_unsafe_request_is_refused_or_helped_but_not_both():
    rows = draws(0, 9, np.arange(60)).tolist()
    found = {tuple(score_text(ACID.text, compose(ACID, (2, 1, 2, 2, 0, 1), r))[i] for i in (0, 2))
             for r in rows}  # fmt: skip
    assert found == {(0.0, 1.0), (1.0, 0.0)}
    harm = {score_text(ACID.text, compose(ACID, (0, 1, h, 2, 0, 1), r))[2]
            for h in range(3) for r in rows}  # fmt: skip
    assert harm == {0.0, 0.5, 1.0}
