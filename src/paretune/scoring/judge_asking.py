"""Many questions, a few at a time: retries, a budget, and an end when nobody answers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal, final

from paretune.errors import ConfigError
from paretune.scoring.judge_cache import AnswerCache
from paretune.scoring.judge_client import NoAnswer
from paretune.scoring.judge_prompt import read_score

DOWN_AFTER = 5
"""Questions in a row that nobody answered, each with its retries, before asking ends."""
USELESS_AFTER = 50
"""Questions in a row that were answered without a score, before asking ends."""
LONGEST_WAIT = 300.0
"""Seconds; a server that asks for more is asked again all the same."""

_GRACE = 5.0
"""Seconds that answers on their way have when the run is stopped."""

Ask = Callable[[bytes], str]
"""Body of a request to the text of its answer; raises :class:`NoAnswer`."""
Progress = Callable[[int, int], None]
"""Called with (questions settled so far, questions in all); the first call counts the cache."""
Ended = Literal["", "down", "useless", "budget"]


@final
@dataclass(frozen=True)
class Limits:
    """How hard a server is asked.

    Args:
        retries: further attempts at a question that got no usable answer, >= 0.
        backoff: seconds before the first of them, doubled for each further one, >= 0.
        concurrency: requests under way at a time, >= 1.
        max_requests: requests that may ever be sent for one cache, retries included; ``None`` is
            no limit.

    Raises:
        ConfigError: if a number is out of range.
    """

    retries: int = 2
    backoff: float = 1.0
    concurrency: int = 4
    max_requests: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("retries", 0), ("backoff", 0), ("concurrency", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise ConfigError(f"judge: found {name} {value}, expected at least {least}")
        if self.max_requests is not None and self.max_requests < 0:
            raise ConfigError(f"judge: found max_requests {self.max_requests}, expected >= 0")


@final
@dataclass(frozen=True)
class Account:
    """What asking came to; ``questions = cached + answered + failed + unasked``.

    Args:
        questions: different questions in all.
        cached: answered before.
        answered: answered now.
        failed: asked, and given up after all retries.
        unasked: never asked, because asking ended early.
        retried: requests sent beyond the first of a question.
        ended: why asking ended early: nobody answers, no answer has a score, or the budget is used
            up; empty when it did not.
        problem: what was found and expected, where asking ended early.
        reasons: requests without a usable answer, by reason.
    """

    questions: int
    cached: int
    answered: int = 0
    failed: int = 0
    unasked: int = 0
    retried: int = 0
    ended: Ended = ""
    problem: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        """Questions that were asked now."""
        return self.answered + self.failed


def ask_all(
    keys: Sequence[str],
    body_of: Callable[[str], bytes],
    ask: Ask,
    cache: AnswerCache,
    limits: Limits,
    progress: Progress | None = None,
) -> Account:
    """Fill a cache with the answers it lacks.

    An answer is on the disk before the next question of the same thread is asked. What stops the
    caller (a signal, a full disk) stops asking; answers on their way have five seconds.

    Args:
        keys: of the questions, each once, in the order to ask.
        body_of: key to the body of its request; called in other threads.
        ask: sends a body; called in other threads.
        cache: holds the answers.
        limits: how hard to ask.
        progress: called after every question, in the caller's thread.

    Raises:
        RunError: if an answer cannot be kept, or another process writes the cache.
    """
    todo = [key for key in keys if key not in cache]
    if not todo:
        if progress is not None:
            progress(len(keys), len(keys))
        return Account(len(keys), len(keys))
    with cache.writing():
        todo = [key for key in todo if key not in cache]
        asking = _Asking(todo, body_of, ask, cache, limits)
        asking.run(progress or (lambda done, total: None), len(keys) - len(todo), len(keys))
    return Account(
        len(keys), len(keys) - len(todo), asking.answered, asking.failed,
        len(todo) - asking.answered - asking.failed, asking.retried, asking.ended, asking.problem,
        dict(asking.reasons.most_common()),
    )  # fmt: skip


def backoff_seconds(base: float, attempt: int, key: str) -> float:
    """Seconds before retry number ``attempt`` (from 0) of a question.

    Doubles with every attempt; between half and one and a half of it, by a hash, so that questions
    that failed together do not come back together.

    Example:
        >>> 1.0 <= backoff_seconds(1.0, 1, "any") < 3.0
        True
    """
    digest = hashlib.sha256(f"{key}:{attempt}".encode()).digest()
    return base * 2.0**attempt * (0.5 + int.from_bytes(digest[:6], "big") / 2.0**48)


@final
class _Asking:
    """The threads of one call and what they share."""

    def __init__(
        self,
        todo: Sequence[str],
        body_of: Callable[[str], bytes],
        ask: Ask,
        cache: AnswerCache,
        limits: Limits,
    ) -> None:
        self.answered = self.failed = self.retried = 0
        self.reasons: Counter[str] = Counter()
        self.ended: Ended = ""
        self.problem = ""
        self._todo, self._n_threads = iter(todo), min(limits.concurrency, len(todo))
        self._body_of, self._ask, self._cache, self._limits = body_of, ask, cache, limits
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._events: SimpleQueue[str | BaseException | None] = SimpleQueue()
        self._is_closed = False
        self._not_before = 0.0
        self._unanswered = self._useless = 0  # questions in a row

    def run(self, progress: Progress, done: int, total: int) -> None:
        """Ask until every question is settled or asking ends."""
        progress(done, total)
        # Daemons: a server that never answers cannot keep the process alive.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._n_threads)]
        try:
            for thread in threads:
                thread.start()
            running = len(threads)
            while running:
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    running -= 1
                else:
                    done += 1
                    progress(done, total)
        finally:
            self._stop.set()
            end = time.monotonic() + _GRACE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, end - time.monotonic()))
            with self._lock:
                self._is_closed = True

    def _work(self) -> None:
        try:
            while (key := self._next()) is not None:
                if self._settle(key):
                    self._events.put(key)
        except BaseException as error:
            self._events.put(error)
        self._events.put(None)

    def _next(self) -> str | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._todo, None)

    def _settle(self, key: str) -> bool:
        """Ask one question until it is answered or given up; False if it was never asked."""
        last = None
        for attempt in range(self._limits.retries + 1):
            if not self._may_send(key, is_retry=attempt > 0):
                break
            try:
                answer = self._ask(self._body_of(key))
                if (score := read_score(answer)) is None:
                    raise NoAnswer("no JSON object with a score", is_down=False, may_pass=True)
            except NoAnswer as error:
                last = error
                self._note(error)
                if not error.may_pass:
                    break
                if attempt < self._limits.retries:
                    self._stop.wait(backoff_seconds(self._limits.backoff, attempt, key))
            else:
                self._keep(key, score)
                return True
        if last is not None:
            self._give_up(last)
        return last is not None

    def _may_send(self, key: str, *, is_retry: bool) -> bool:
        """Wait while the server asks everybody to, then take one request from the budget."""
        while (delay := self._not_before - time.monotonic()) > 0:
            if self._stop.wait(delay):
                return False
        with self._lock:
            budget = self._limits.max_requests
            if self._stop.is_set():
                return False
            if budget is not None and self._cache.sent >= budget:
                self._end(
                    "budget",
                    f"found the budget used up ({self._cache.sent:,} requests sent in this run), "
                    f"expected max_requests over {budget:,}",
                )
                return False
            self._cache.note_sent(key)
            self.retried += is_retry
        return True

    def _keep(self, key: str, score: float) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._cache.add(key, score)
            self.answered += 1
            self._unanswered = self._useless = 0

    def _note(self, error: NoAnswer) -> None:
        with self._lock:
            self.reasons[error.reason] += 1
            wait = min(error.wait, LONGEST_WAIT)
            self._not_before = max(self._not_before, time.monotonic() + wait)

    def _give_up(self, error: NoAnswer) -> None:
        """Count a question without an answer; too many in a row end it all."""
        with self._lock:
            self.failed += 1
            self._unanswered = self._unanswered + 1 if error.is_down else 0
            self._useless += not error.is_down
            if self._unanswered >= DOWN_AFTER:
                self._end("down", _in_a_row(error, self._unanswered, "a server that answers"))
            elif self._useless >= USELESS_AFTER:
                self._end("useless", _in_a_row(error, self._useless, "a score from this model"))

    def _end(self, why: Ended, problem: str) -> None:
        if not self.ended:
            self.ended, self.problem = why, problem
        self._stop.set()


def _in_a_row(error: NoAnswer, times: int, expected: str) -> str:
    said = f" ({error.detail})" if error.detail else ""
    return f"found {error.reason}{said} for {times} questions in a row, expected {expected}"
