import signal
import threading
import time
from collections import Counter

import pytest

from paretune.errors import ConfigError, RunError
from paretune.scoring.judge_asking import (
    DOWN_AFTER,
    USELESS_AFTER,
    Account,
    Limits,
    ask_all,
    backoff_seconds,
)
from paretune.scoring.judge_cache import AnswerCache, answer_key
from paretune.scoring.judge_client import NoAnswer

QUICK = Limits(backoff=0.0001, concurrency=1)


def questions(n):
    bodies = {answer_key(body): body for body in (f"q{i}".encode() for i in range(n))}
    return list(bodies), bodies.__getitem__


class Server:
    """Answers from a list of what happens, in order, then 3 for ever."""

    def __init__(self, *happens):
        self.happens, self.asked = list(happens), []
        self.lock = threading.Lock()

    def __call__(self, body):
        with self.lock:
            self.asked.append(body.decode())
            what = self.happens.pop(0) if self.happens else '{"score": 3}'
        if isinstance(what, Exception):
            raise what
        return what


def down(wait=0.0):
    return NoAnswer("HTTP 500", is_down=True, may_pass=True, wait=wait, detail="oh")


def refused():
    return NoAnswer("HTTP 400", is_down=False, may_pass=False)


def go(n, server, limits=QUICK, cache=None, progress=None):
    keys, body_of = questions(n)
    cache = AnswerCache() if cache is None else cache
    account = ask_all(keys, body_of, server, cache, limits, progress)
    assert account.questions == account.cached + account.asked + account.unasked == n
    return account, [cache[key] if key in cache else None for key in keys]  # noqa: SIM401


def test_every_question_is_asked_once():
    server, seen = Server('{"score": -3}', '{"score": 0}'), []
    account, scores = go(3, server, progress=lambda *now: seen.append(now))
    assert scores == [-1.0, 0.0, 1.0]
    assert server.asked == ["q0", "q1", "q2"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert account == Account(3, 0, answered=3)


def test_what_is_answered_is_not_asked_again():
    cache, server, seen = AnswerCache(), Server(), []
    go(2, server, cache=cache)
    account, scores = go(3, server, cache=cache, progress=lambda *now: seen.append(now))
    assert server.asked == ["q0", "q1", "q2"]
    assert (account.cached, account.answered, scores) == (2, 1, [1.0] * 3)
    assert seen == [(2, 3), (3, 3)]
    account, _ = go(3, server, cache=cache, progress=lambda *now: seen.append(now))
    assert (account, seen[-1]) == (Account(3, 3), (3, 3))


@pytest.mark.parametrize("what", [down(), "I like A", '{"score": "high"}'])
def test_what_may_pass_is_tried_again(what):
    server = Server(what, what)
    account, scores = go(2, server)
    assert server.asked == ["q0", "q0", "q0", "q1"]
    assert (account.answered, account.retried, account.failed) == (2, 2, 0)
    assert list(account.reasons.values()) == [2]
    assert scores == [1.0, 1.0]


@pytest.mark.parametrize("what", [down(), "I like A"])
def test_after_the_retries_there_is_no_score_and_nothing_is_kept(what):
    cache, server = AnswerCache(), Server(what, what, what)
    account, scores = go(2, server, cache=cache)
    assert (account.failed, account.retried, scores) == (1, 2, [None, 1.0])
    account, scores = go(2, server, cache=cache)
    assert (account.cached, account.answered, scores) == (1, 1, [1.0, 1.0])
    assert cache.sent == len(server.asked) == 5


def test_what_cannot_pass_is_not_tried_again():
    server = Server(refused())
    account, scores = go(2, server)
    assert server.asked == ["q0", "q1"]
    assert (account.failed, account.retried, scores) == (1, 0, [None, 1.0])
    assert account.reasons == {"HTTP 400": 1}


def test_retries_wait_longer_and_longer_and_never_together():
    waits = [backoff_seconds(2.0, attempt, "key") for attempt in range(4)]
    for attempt, wait in enumerate(waits):
        assert 2.0 * 2**attempt * 0.5 <= wait < 2.0 * 2**attempt * 1.5
    assert waits == [backoff_seconds(2.0, attempt, "key") for attempt in range(4)]
    spread = [backoff_seconds(1.0, 0, str(i)) for i in range(2000)]
    assert sum(spread) / 2000 == pytest.approx(1.0, abs=0.03)
    assert min(spread) < 0.51 and max(spread) > 1.49
    assert backoff_seconds(0.0, 3, "key") == 0


def test_a_retry_waits():
    server = Server(down(), down())
    started = time.monotonic()
    go(1, server, Limits(backoff=0.05, concurrency=1))
    assert time.monotonic() - started >= 0.05 * 0.5 + 0.1 * 0.5


def test_when_the_server_asks_to_wait_everybody_waits():
    started, moments = time.monotonic(), []

    def ask(body):
        moments.append(time.monotonic() - started)
        if len(moments) == 1:
            raise down(wait=0.2)
        time.sleep(0.01)
        return '{"score": 0}'

    go(8, ask, Limits(backoff=0.0001, concurrency=2))
    # The other thread may have been on its way; nobody sets out while all are asked to wait.
    assert not [m for m in moments if 0.05 < m < 0.2]
    assert len([m for m in moments if m <= 0.05]) <= 3
    assert len(moments) == 9


def test_nobody_answers_so_asking_ends_soon_and_answers_are_kept():
    server = Server('{"score": 3}', *[down() for _ in range(10_000)])
    account, scores = go(1000, server)
    assert (account.answered, account.failed) == (1, DOWN_AFTER)
    assert account.unasked == 1000 - 1 - DOWN_AFTER
    assert account.ended == "down"
    assert account.problem == (
        "found HTTP 500 (oh) for 5 questions in a row, expected a server that answers"
    )
    assert scores == [1.0] + [None] * 999
    assert len(server.asked) == 1 + DOWN_AFTER * 3


def test_with_many_threads_it_ends_soon_too():
    server = Server(*[down() for _ in range(10_000)])
    account, _ = go(1000, server, Limits(backoff=0.0001, concurrency=8))
    assert account.ended == "down"
    # Those on their way when it ends are counted as well.
    assert DOWN_AFTER <= account.failed < DOWN_AFTER + 8


def test_an_answer_in_between_is_a_sign_of_life():
    one = [down(), down(), down()]
    server = Server(*(one * 4), '{"score": 3}', *(one * 4))
    account, _ = go(20, server)
    assert (account.ended, account.failed, account.answered) == ("", 8, 12)
    # An answer without a score is a sign of life as well.
    server = Server(*(one * 4), refused(), *(one * 4))
    assert go(20, server)[0].ended == ""


def test_a_model_that_never_gives_a_score_is_not_asked_for_ever():
    server = Server(*["A is better"] * 100_000)
    account, scores = go(1000, server, Limits(retries=0, concurrency=1))
    assert (account.ended, account.failed, len(server.asked)) == (
        "useless", USELESS_AFTER, USELESS_AFTER,
    )  # fmt: skip
    assert "no JSON object with a score for 50 questions in a row" in account.problem
    assert set(scores) == {None}


def test_the_budget_is_hard_and_counts_retries():
    server = Server('{"score": 3}', down())
    account, scores = go(9, server, Limits(backoff=0, concurrency=1, max_requests=4))
    assert server.asked == ["q0", "q1", "q1", "q2"]
    assert (account.answered, account.unasked, account.ended) == (3, 6, "budget")
    assert account.problem == (
        "found the budget used up (4 requests sent in this run), expected max_requests over 4"
    )
    assert scores[:4] == [1.0, 1.0, 1.0, None]


def test_the_budget_holds_for_many_threads_and_restarts(tmp_path):
    server, limits = Server(), Limits(concurrency=8, max_requests=11)
    for _ in range(3):
        go(40, server, limits, AnswerCache(tmp_path / "judge.jsonl"))
    assert len(server.asked) == 11


def test_a_budget_that_just_suffices_ends_nothing():
    assert go(4, Server(), Limits(max_requests=4))[0].ended == ""
    assert go(4, Server(), Limits(max_requests=0))[0].unasked == 4


def test_a_retry_without_budget_is_a_failure():
    server = Server(down())
    account, _ = go(2, server, Limits(backoff=0, concurrency=1, max_requests=1))
    assert (account.failed, account.unasked, server.asked) == (1, 1, ["q0"])


def test_a_few_at_a_time():
    lock, now, most = threading.Lock(), [0], [0]

    def ask(body):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        return '{"score": 1}'

    go(24, ask, Limits(concurrency=3))
    assert most[0] == 3


def test_a_mistake_of_ours_is_raised_and_not_counted(tmp_path):
    def ask(body):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go(50, ask)


def test_an_answer_that_cannot_be_kept_ends_the_run(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paretune.scoring.judge_cache.os.fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        go(50, Server(), Limits(concurrency=4), AnswerCache(tmp_path / "judge.jsonl"))


def test_a_signal_ends_it_and_what_was_answered_is_kept(tmp_path):
    path, server = tmp_path / "judge.jsonl", Counter()

    class Stop(BaseException):
        pass

    def stop(number, frame):
        raise Stop

    def ask(body):
        server[body] += 1
        time.sleep(0.005)
        return '{"score": 1}'

    old = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Stop):
            go(10_000, ask, Limits(concurrency=4), AnswerCache(path))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    kept = AnswerCache(path)
    assert 0 < len(kept) < 1000
    # Answers on their way were waited for: everything that was asked is kept.
    assert len(kept) == kept.sent == len(server)
    assert set(server.values()) == {1}


@pytest.mark.parametrize(
    "numbers",
    [{"retries": -1}, {"concurrency": 0}, {"backoff": -0.1}, {"backoff": float("nan")},
     {"max_requests": -1}],
)  # fmt: skip
def test_limits_are_checked(numbers):
    with pytest.raises(ConfigError, match=next(iter(numbers))):
        Limits(**numbers)
