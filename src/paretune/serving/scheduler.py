"""One thread owns the models: requests join its batches between two tokens, and leave when done.

Requests of different trade-offs are decoded together wherever their policies share a model. Each
has its own steering, its own draws and its own end; what the thread sends back is per request.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import queue
import threading
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.engines.lm.live_batch import LiveBatch
from paretune.engines.lm.row_policies import RowPolicies, RowSteering
from paretune.engines.lm.row_sampling import Sampling, draw_tokens
from paretune.errors import BusyError

Reason = Literal["stop", "length", "cancelled", "error"]

TOKENS = 1 << 17
"""Of prompts and replies that are kept for all rows, where nothing else is said."""

_log = logging.getLogger(__name__)

_NEVER = -9999.0
"""What the protocol says for a token that is never drawn: JSON has no infinity."""

_PROMPT_TOKENS = 8192
"""Of the prompts that are read in one pass, padding included: others are decoded in between."""


@final
@dataclass(frozen=True)
class Token:
    """One token of a reply.

    Args:
        id: its number.
        logp: its log-probability under the policy, nats.
        top: the most likely tokens and theirs, as many as were asked for.
    """

    id: int
    logp: float
    top: tuple[tuple[int, float], ...] = ()


@final
@dataclass(frozen=True)
class Ended:
    """The end of a reply.

    Args:
        reason: ``stop`` at an end token, ``length`` at the limit, ``cancelled``, or ``error``.
        problem: what went wrong.
    """

    reason: Reason
    problem: str = ""


@final
@dataclass(eq=False)
class Asked:
    """One reply that is asked for.

    Args:
        model: names the model that answers; see :class:`Scheduler`.
        steering: of its rows: one, or one for each policy that is mixed at decoding.
        prompt: ids, at least one.
        sampling: how tokens are drawn.
        max_tokens: the reply is cut here.
        top: alternatives wanted for each token.
        mix: from ``(K, V)`` logits of its rows to ``(V,)`` of the mixture; not asked for one row.
        tell: called by the scheduler's thread with every token, then once with the end; must not
            wait.
    """

    model: Hashable
    steering: tuple[RowSteering, ...]
    prompt: npt.NDArray[np.int32]
    sampling: Sampling
    max_tokens: int
    tell: Callable[[Token | Ended], None]
    top: int = 0
    mix: Callable[[Tensor], Tensor] | None = None
    n_tokens: int = 0
    is_cancelled: bool = False


@final
@dataclass
class _Batch:
    """Rows of one model, those of a reply side by side, and the next token's logits of each."""

    live: LiveBatch
    asked: list[Asked] = field(default_factory=list)
    logits: Tensor | None = None


@final
@dataclass(frozen=True)
class _Room:
    """What a batch may come to need: every row as long as the longest may get."""

    rows: int = 0
    width: int = 0

    @classmethod
    def of(cls, batch: _Batch) -> _Room:
        return functools.reduce(cls.with_reply, batch.asked, cls())

    def with_reply(self, asked: Asked) -> _Room:
        width = max(self.width, len(asked.prompt) + asked.max_tokens)
        return _Room(self.rows + len(asked.steering), width)

    @property
    def tokens(self) -> int:
        return self.rows * self.width


@final
class Scheduler:
    """Decodes what is asked for, all of it at once.

    Args:
        load: from what names a model to its policies; called by the thread.
        eos_id: ends a reply.
        pad_id: fills short rows.
        rows: replies decoded together, at most.
        waiting: replies that may wait, at most.
        n_models: models kept loaded, at most; those used last stay, and a reply waits while all
            are at work for others.
        tokens: of prompts and replies that are kept for the rows, at most, padding included; a
            reply that needs more is decoded alone.
        autocast: context of every forward pass.
    """

    def __init__(
        self, load: Callable[[Any], RowPolicies], eos_id: int, pad_id: int, *, rows: int = 64,
        waiting: int = 256, n_models: int = 4, tokens: int = TOKENS,
        autocast: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        self._load, self._eos, self._pad = load, eos_id, pad_id
        self._rows, self._waiting, self._n_models = rows, waiting, n_models
        self._tokens = tokens
        self._autocast = autocast
        self._inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._pending: list[Asked] = []
        self._batches: dict[Hashable, _Batch] = {}
        self._open: dict[Asked, None] = {}  # that have not ended
        self._lock = threading.Lock()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    @property
    def at_work(self) -> int:
        """Replies that are decoded or wait."""
        return len(self._open)

    def ask(self, together: Sequence[Asked]) -> None:
        """Add replies, all of them or none.

        Raises:
            BusyError: if they do not fit into the queue, or the server is closing.
        """
        with self._lock:
            room = self._rows + self._waiting - len(self._open)
            if self._is_closing or len(together) > room:
                raise BusyError(
                    f"server: found {len(self._open)} replies at work, expected room for "
                    f"{len(together)} more of {self._rows + self._waiting}; try again soon"
                )
            self._open.update(dict.fromkeys(together))
        for asked in together:
            self._inbox.put(asked)

    def close(self, seconds: float) -> bool:
        """Finish what is there, take nothing new; true if all ended within the time."""
        with self._lock:
            self._is_closing = True
        self._inbox.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._receive()
            if self._is_closing and not self._open:
                return
            try:
                self._admit()
                for key in list(self._batches):
                    batch = self._batches[key]
                    if batch.asked:
                        self._guarded(key, batch)
            except Exception as error:  # a mistake of ours: nobody waits forever for it
                self._lose_all(error)

    def _receive(self) -> None:
        """Take what was asked for; wait only when there is nothing to decode."""
        is_idle = not self._pending and not any(b.asked for b in self._batches.values())
        with_wait = is_idle and not (self._is_closing and not self._open)
        try:
            while True:
                asked = self._inbox.get(with_wait)
                with_wait = False
                if asked is not None:
                    self._pending.append(asked)
        except queue.Empty:
            return

    def _lose_all(self, error: Exception) -> None:
        """End everything with what went wrong."""
        _log.exception("all replies failed")
        self._pending, self._batches = [], {}
        with self._lock:
            lost = list(self._open)
        for asked in lost:
            asked.is_cancelled = True  # some are still on their way here
            self._end(asked, _told(error))

    def _admit(self) -> None:
        """Let waiting replies join, in their order, until one finds no room: none is overtaken."""
        left = [asked for asked in self._pending if asked.is_cancelled]
        self._pending = [asked for asked in self._pending if not asked.is_cancelled]
        for asked in left:
            self._end(asked, Ended("cancelled"))
        if not self._pending:
            return
        fresh: dict[Hashable, list[Asked]] = {}
        room = {key: _Room.of(batch) for key, batch in self._batches.items() if batch.asked}
        n_rows = sum(len(batch.live) for batch in self._batches.values())
        n_new = width = 0
        for asked in self._pending:
            n_rows += len(asked.steering)
            n_new += len(asked.steering)
            width = max(width, len(asked.prompt))
            room[asked.model] = room.get(asked.model, _Room()).with_reply(asked)
            is_first = n_rows == len(asked.steering)
            is_too_much = (
                n_rows > self._rows
                or (len(fresh) > 0 and n_new * width > _PROMPT_TOKENS)
                or sum(one.tokens for one in room.values()) > self._tokens
            )
            if len(room) > self._n_models or (is_too_much and not is_first):
                break
            fresh.setdefault(asked.model, []).append(asked)
        del self._pending[: sum(map(len, fresh.values()))]
        # Those that are loaded first: they must not make room for others.
        for key in sorted(fresh, key=lambda key: key not in self._batches):
            self._join(key, fresh[key])

    def _join(self, key: Hashable, fresh: list[Asked]) -> None:
        try:
            batch = self._batch(key)
            with self._context():
                logits = batch.live.join(
                    [a.prompt for a in fresh for _ in a.steering],
                    [row for a in fresh for row in a.steering],
                )
        except Exception as error:  # whatever a model raises is told to who asked
            _log.exception("%s: %d replies failed", key, len(fresh))
            lost = list(fresh)
            if key in self._batches and not self._batches[key].live.is_whole:
                lost += self._batches.pop(key).asked  # it failed while it moved the others
            for asked in lost:
                self._end(asked, _told(error))
            return
        batch.logits = logits if batch.logits is None else torch.cat([batch.logits, logits])
        batch.asked += fresh

    def _batch(self, key: Hashable) -> _Batch:
        if key not in self._batches:
            idle = [k for k, b in self._batches.items() if not b.asked]
            for old in idle[: max(0, len(self._batches) - self._n_models + 1)]:
                del self._batches[old]
            self._batches[key] = _Batch(LiveBatch(self._load(key), self._pad))
        # The last one used is the last to go.
        self._batches[key] = self._batches.pop(key)
        return self._batches[key]

    def _guarded(self, key: Hashable, batch: _Batch) -> None:
        try:
            self._step(batch)
        except Exception as error:  # the batch is lost, the server is not
            _log.exception("%s: %d replies failed", key, len(batch.asked))
            del self._batches[key]
            for asked in batch.asked:
                self._end(asked, _told(error))

    def _step(self, batch: _Batch) -> None:
        """One token for every row."""
        assert batch.logits is not None
        position = np.array([asked.n_tokens for asked in batch.asked])
        spans = _spans(batch.asked)
        logits = _mixed(batch.logits, batch.asked, spans)
        tokens, logps = draw_tokens(logits, [a.sampling for a in batch.asked], position)
        chosen = tokens.tolist()
        worth = logps.gather(1, tokens[:, None])[:, 0].tolist()
        stay = []
        for row, asked in enumerate(batch.asked):
            end = self._give(asked, chosen[row], worth[row], logps[row])
            if end is None:
                stay.append(row)
            else:
                self._end(asked, end)
        batch.asked = [batch.asked[row] for row in stay]
        if len(stay) < len(chosen):
            batch.live.keep([n for row in stay for n in spans[row]])
        batch.logits = None
        if stay:
            each = torch.tensor([row for row in stay for _ in spans[row]])
            with self._context():
                batch.logits = batch.live.read(tokens[each.to(tokens.device)])

    def _give(self, asked: Asked, token: int, logp: float, logps: Tensor) -> Ended | None:
        """Tell a token; how the reply ends with it, or ``None``."""
        if asked.is_cancelled:
            return Ended("cancelled")
        if math.isnan(logp):
            return Ended("error", "found logits that are no numbers, expected those of a policy")
        if token == self._eos:
            return Ended("stop")
        top: tuple[tuple[int, float], ...] = ()
        if asked.top:
            best = logps.topk(min(asked.top, len(logps)))
            values = best.values.clamp(min=_NEVER).tolist()
            top = tuple(zip(best.indices.tolist(), values, strict=True))
        asked.n_tokens += 1
        asked.tell(Token(token, logp, top))
        return Ended("length") if asked.n_tokens >= asked.max_tokens else None

    def _end(self, asked: Asked, end: Ended) -> None:
        with self._lock:
            is_open = asked in self._open
            self._open.pop(asked, None)
        if is_open:
            asked.tell(end)

    def _context(self) -> Any:
        return contextlib.nullcontext() if self._autocast is None else self._autocast()


def _spans(asked: Sequence[Asked]) -> list[range]:
    """Rows of each reply."""
    ends = list(itertools.accumulate(len(one.steering) for one in asked))
    return [range(end - len(one.steering), end) for one, end in zip(asked, ends, strict=True)]


def _mixed(logits: Tensor, asked: Sequence[Asked], spans: Sequence[range]) -> Tensor:
    """``(replies, V)`` out of the rows of all."""
    if len(logits) == len(asked):
        return logits
    return torch.stack(
        [
            logits[span[0]] if one.mix is None else one.mix(logits[span[0] : span[-1] + 1]).float()
            for one, span in zip(asked, spans, strict=True)
        ]
    )


def _told(error: Exception) -> Ended:
    trace = "".join(traceback.format_exception_only(error)).strip()
    return Ended("error", trace)
