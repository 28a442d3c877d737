import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.objective import Objectives
from paretune.errors import ShapeError
from paretune.scoring.judge import count_questions, judge_comparisons
from paretune.scoring.judge_asking import Limits
from paretune.scoring.judge_cache import AnswerCache
from paretune.scoring.judge_client import Endpoint
from paretune.scoring.judge_prompt import Form

FORM = Form("judge-1")
WIT = Objectives(("wit",))
BOTH = Objectives(("wit", "tact"))
QUICK = Limits(backoff=0.0001, concurrency=4)


def pairs(*values):
    return [("Hi", f"reply {a}", f"reply {b}") for a, b in values]


def labels(server, *values, **more):
    more = {"limits": QUICK} | more
    return judge_comparisons(FORM, WIT, pairs(*values), Endpoint(server.url).ask, **more)


def test_values_worked_by_hand(judge_server):
    # The server scores first minus second, cut to [-3, 3]; both orders, over 3, half the gap.
    found = labels(judge_server, (2, 1), (1, 3), (9, 1), (4, 4))
    assert found.labels == pytest.approx(np.array([[1 / 3], [-2 / 3], [1.0], [0.0]]), abs=1e-15)
    assert (found.wanted, found.null) == (4, 0)
    # Two orders of three pairs, and one question for the equal texts.
    assert len(judge_server.bodies) == found.account.questions == 7


def test_position_bias_cancels(judge_server):
    judge_server.bias = 0.8
    found = labels(judge_server, (1, 1), (1, 2))
    assert found.labels[0, 0] == 0.0
    # (-1 + 2.4) / 3 and (1 + 2.4) / 3, cut to 1: (0.4667 - 1) / 2.
    assert found.labels[1, 0] == pytest.approx((1.4 / 3 - 1) / 2, abs=1e-15)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5),
       st.floats(-1, 1))  # fmt: skip
def test_turning_a_comparison_turns_its_label(values, bias):
    def ask(body):
        first, second = (int(body.split(mark)[1].split(b" ")[1].split(b"\\n")[0])
                         for mark in (b"A begins]\\n", b"B begins]\\n"))  # fmt: skip
        return f'{{"score": {max(-3, min(3, first - second)) + 3 * bias}}}'

    straight = judge_comparisons(FORM, WIT, pairs(*values), ask).labels
    turned = judge_comparisons(FORM, WIT, pairs(*[(b, a) for a, b in values]), ask).labels
    assert (straight == -turned).all()
    assert (np.abs(straight) <= 1).all()


def test_one_order_without_an_answer_is_no_label_and_never_a_tie(judge_server):
    from fastapi.responses import Response

    def answer(question, n):
        is_turned = "reply 2\n" in question["messages"][0]["content"].split("response A ends")[0]
        return Response(status_code=500) if is_turned else judge_server.score(question)

    judge_server.answer = answer
    found = labels(judge_server, (1, 2), (3, 4))
    assert np.isnan(found.labels[0, 0])
    assert found.labels[1, 0] == pytest.approx(-1 / 3)
    assert (found.null, found.account.failed, found.account.retried) == (1, 1, 2)
    assert found.account.reasons == {"HTTP 500": 3}


def test_the_second_call_asks_nothing(judge_server, tmp_path):
    path = tmp_path / "judge.jsonl"
    first = labels(judge_server, (1, 2), (3, 4), cache=AnswerCache(path))
    again = labels(judge_server, (1, 2), (3, 4), cache=AnswerCache(path))
    assert (first.labels == again.labels).all()
    assert (again.account.cached, again.account.asked) == (4, 0)
    # A turned comparison needs the same two answers.
    assert labels(judge_server, (2, 1), cache=AnswerCache(path)).account.asked == 0
    assert set(judge_server.asked.values()) == {1}


def test_only_wanted_labels_are_asked_for(judge_server):
    wanted = np.array([[True, False], [False, False], [False, True]])
    found = judge_comparisons(
        FORM, BOTH, pairs((1, 2), (3, 4), (6, 5)), Endpoint(judge_server.url).ask, wanted=wanted
    )
    assert (np.isnan(found.labels) == ~wanted).all()
    assert (found.wanted, found.null, len(judge_server.bodies)) == (2, 0, 4)
    with pytest.raises(ShapeError, match="wanted"):
        judge_comparisons(FORM, BOTH, [], str, wanted=wanted)


def test_no_comparison_is_no_question():
    found = judge_comparisons(FORM, BOTH, [], str)
    assert found.labels.shape == (0, 2)
    assert found.account.questions == 0


def test_counting_asks_nothing(judge_server):
    cache = AnswerCache()
    assert count_questions(FORM, BOTH, pairs((1, 2), (3, 3), (2, 1)), cache) == (6, 0)
    assert not judge_server.bodies
    labels(judge_server, (1, 2), cache=cache)
    assert count_questions(FORM, BOTH, pairs((1, 2), (3, 3)), cache) == (6, 2)
    assert count_questions(FORM, BOTH, pairs((1, 2)), cache, np.array([[True, False]])) == (2, 2)


def test_every_fault_in_turn_and_all_labels_are_right(judge_server):
    """The server fails in another way every time; what gets through is what it would have said."""
    from fastapi.responses import Response, StreamingResponse

    async def slow(question):
        await asyncio.sleep(5)

    async def torn():
        yield b'{"choices": [{"mess'
        raise RuntimeError("connection lost")

    faults = (
        lambda q: Response("slow down", 429, {"Retry-After": "0.05"}),
        lambda q: Response("oh", 500),
        lambda q: Response("<html>", media_type="text/html"),
        lambda q: "A is much better",
        lambda q: '{"score": "three"}',
        slow,
        lambda q: StreamingResponse(torn(), headers={"Content-Length": "999"}),
    )
    n_faults = [0]

    def answer(question, times):
        if times == 1:
            n_faults[0] += 1
            return faults[n_faults[0] % len(faults)](question)
        return judge_server.score(question)

    judge_server.answer = answer
    values = [(a, b) for a in range(4) for b in range(a)]
    found = judge_comparisons(
        FORM, WIT, pairs(*values), Endpoint(judge_server.url, timeout=0.5).ask,
        limits=Limits(backoff=0.0001, concurrency=4),
    )  # fmt: skip
    assert found.labels[:, 0] == pytest.approx([(a - b) / 3 for a, b in values])
    assert found.account.retried == found.account.answered == 12
    assert len(found.account.reasons) == 6


def test_an_endpoint_that_is_down_gives_no_labels_soon(unused_address):
    found = judge_comparisons(
        FORM, WIT, pairs(*[(i, i + 1) for i in range(500)]), Endpoint(unused_address).ask,
        limits=QUICK,
    )  # fmt: skip
    assert np.isnan(found.labels).all()
    assert found.account.ended == "down"
    assert "connection refused" in found.account.problem
    assert found.account.unasked > 980
