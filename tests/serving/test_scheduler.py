"""Many replies at once are what each would have been alone."""

from __future__ import annotations

import functools
import queue
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from paretune.engines.lm.cache import RoomyLayer
from paretune.engines.lm.live_batch import LiveBatch
from paretune.engines.lm.models import build_model
from paretune.engines.lm.row_policies import RowSteering
from paretune.engines.lm.row_sampling import Sampling
from paretune.errors import BusyError
from paretune.serving.scheduler import Asked, Ended, Scheduler, Token

EOS, PAD = 2, 0
SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64,
    "pad_token_id": PAD, "eos_token_id": EOS,
}  # fmt: skip


class Moved:
    """Policies told by a number that moves the embeddings: every row another policy."""

    def __init__(self, seed: int) -> None:
        self.model: Any = build_model(LlamaConfig(**SHAPE), seed).eval()
        noise = torch.randn(8, 16, generator=torch.Generator().manual_seed(seed))
        self._told = torch.zeros(1, dtype=torch.int64)
        self.model.get_input_embeddings().register_forward_hook(
            lambda module, given, out: out + noise[self._told][:, None]
        )

    def steer(self, rows: Any) -> None:
        self._told = torch.tensor([row.told for row in rows])


def asked(n: int, tell: Any, **how: Any) -> Asked:
    rng = np.random.default_rng(n)
    prompt = rng.integers(5, 40, rng.integers(1, 9)).astype(np.int32)
    sampling = Sampling(float(n % 3) / 2, 0.8 if n % 2 else 1.0, seed=n)
    values: dict[str, Any] = {"max_tokens": 12, "top": 0} | how
    steering: tuple[RowSteering, ...] = (RowSteering(told=n % 8),)
    if n % 5 == 0:
        steering = (RowSteering(told=n % 8), RowSteering(told=(n + 3) % 8))
        values["mix"] = lambda logits: 0.3 * logits[0] + 0.7 * logits[1]
    return Asked("ab"[n % 2], steering, prompt, sampling, tell=tell, **values)


def heard() -> tuple[queue.SimpleQueue[Any], Any]:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return inbox, inbox.put


def reply(inbox: queue.SimpleQueue[Any], seconds: float = 60) -> tuple[list[Token], Ended]:
    tokens = []
    while True:
        event = inbox.get(timeout=seconds)
        if isinstance(event, Ended):
            return tokens, event
        tokens.append(event)


@pytest.fixture
def scheduler() -> Any:
    made = Scheduler(lambda key: Moved("ab".index(key)), EOS, PAD, rows=32)
    yield made
    assert made.close(30)


def test_two_hundred_at_once_answer_as_each_alone(scheduler: Scheduler) -> None:
    alone = []
    for n in range(200):
        inbox, tell = heard()
        scheduler.ask([asked(n, tell)])
        alone.append(reply(inbox))
    inboxes = [heard() for _ in range(200)]
    threads = [
        threading.Thread(target=lambda n=n: scheduler.ask([asked(n, inboxes[n][1])]))
        for n in range(200)
    ]
    for thread in threads:
        thread.start()
    together = [reply(inbox) for inbox, _ in inboxes]
    assert [[t.id for t in tokens] for tokens, _ in together] == [
        [t.id for t in tokens] for tokens, _ in alone
    ]
    assert [end for _, end in together] == [end for _, end in alone]
    assert {end.reason for _, end in together} == {"stop", "length"}
    assert len({tuple(t.id for t in tokens) for tokens, _ in together}) > 100
    assert scheduler.at_work == 0


def test_log_probabilities_are_of_the_policy_itself(scheduler: Scheduler) -> None:
    inbox, tell = heard()
    scheduler.ask([asked(6, tell, top=3)])
    tokens, _ = reply(inbox)
    for token in tokens:
        assert [value for _, value in token.top] == sorted((v for _, v in token.top), reverse=True)
        assert token.logp <= token.top[0][1] <= 0
        assert len(token.top) == 3
        if token.id in dict(token.top):
            assert dict(token.top)[token.id] == pytest.approx(token.logp)


def test_a_cancelled_reply_leaves_the_others_alone(scheduler: Scheduler) -> None:
    first, others = heard(), [heard() for _ in range(3)]
    long = asked(4, first[1], max_tokens=50)
    together = [asked(n, box[1]) for n, box in zip((8, 10, 12), others, strict=True)]
    scheduler.ask([long, *together])
    first[0].get(timeout=60)
    long.is_cancelled = True
    _, end = reply(first[0])
    assert end.reason == "cancelled"
    for n, (inbox, _) in zip((8, 10, 12), others, strict=True):
        again, tell = heard()
        found = [t.id for t in reply(inbox)[0]]
        scheduler.ask([asked(n, tell)])
        assert found == [t.id for t in reply(again)[0]]


def test_what_does_not_fit_is_refused_whole() -> None:
    scheduler = Scheduler(lambda key: Moved(0), EOS, PAD, rows=1, waiting=1)
    boxes = [heard() for _ in range(3)]
    with pytest.raises(BusyError, match=r"expected room for 3 more of 2"):
        scheduler.ask([asked(2 * n, tell) for n, (_, tell) in enumerate(boxes)])
    assert scheduler.at_work == 0
    scheduler.ask([asked(2 * n, tell) for n, (_, tell) in enumerate(boxes[:2])])
    assert [reply(inbox)[1].reason in ("stop", "length") for inbox, _ in boxes[:2]] == [True, True]
    assert scheduler.close(30)
    with pytest.raises(BusyError):
        scheduler.ask([asked(0, boxes[0][1])])


def test_a_model_that_fails_is_told_to_who_asked_for_it() -> None:
    def load(key: str) -> Moved:
        if key == "b":
            raise ValueError("no such policy")
        return Moved(0)

    scheduler = Scheduler(load, EOS, PAD)
    good, bad = heard(), heard()
    scheduler.ask([asked(0, good[1]), asked(1, bad[1])])
    assert reply(bad[0])[1] == Ended("error", "ValueError: no such policy")
    assert reply(good[0])[1].reason in ("stop", "length")
    assert scheduler.close(30)


def test_closing_finishes_what_is_there() -> None:
    scheduler = Scheduler(lambda key: Moved(0), EOS, PAD)
    boxes = [heard() for _ in range(5)]
    scheduler.ask([asked(2 * n, tell) for n, (_, tell) in enumerate(boxes)])
    started = time.monotonic()
    assert scheduler.close(30)
    assert all(reply(inbox, 1)[1].reason in ("stop", "length") for inbox, _ in boxes)
    assert time.monotonic() - started < 30


def test_models_that_are_loaded_are_never_too_many() -> None:
    loaded: list[str] = []

    def load(key: str) -> Moved:
        assert len(scheduler._batches) < 2, "there is room for this one"
        loaded.append(key)
        return Moved(0)

    scheduler = Scheduler(load, EOS, PAD, n_models=2)
    boxes = [heard() for _ in range(30)]
    together = [asked(2 * n, tell) for n, (_, tell) in enumerate(boxes)]
    for n, one in enumerate(together):
        one.model = "abcde"[n % 5]
    scheduler.ask(together)
    found = [reply(inbox) for inbox, _ in boxes]
    assert all(end.reason in ("stop", "length") for _, end in found)
    assert sorted(set(loaded)) == list("abcde")
    # The same policy under five names: what each was told does not depend on who was there.
    inbox, tell = heard()
    scheduler.ask([asked(2 * 7, tell)])
    assert [t.id for t in found[7][0]] == [t.id for t in reply(inbox)[0]]
    assert scheduler.close(30)


def test_nobody_waits_for_ever_for_a_model() -> None:
    """The only room is taken by replies that would follow each other without end."""
    order: list[str] = []

    def load(key: str) -> Moved:
        order.append(key)
        return Moved(0)

    scheduler = Scheduler(load, EOS, PAD, n_models=1, rows=2)
    inboxes = [heard() for _ in range(12)]
    together = [asked(6 * n, tell, max_tokens=50) for n, (_, tell) in enumerate(inboxes)]
    for one in together:
        one.model, one.sampling = "a", Sampling(1.0, seed=len(together))
    other = heard()
    scheduler.ask(together[:3])
    scheduler.ask([asked(7, other[1])])
    scheduler.ask(together[3:])
    assert reply(other[0])[1].reason in ("stop", "length")
    assert order[:2] == ["a", "b"] and scheduler.at_work > 0
    assert [reply(inbox)[1].reason in ("stop", "length") for inbox, _ in inboxes] == [True] * 12
    assert order == ["a", "b", "a"]
    assert scheduler.close(30)


def test_a_mixture_of_more_policies_than_rows_is_answered_alone() -> None:
    scheduler = Scheduler(lambda key: Moved(0), EOS, PAD, rows=3)
    steering = tuple(RowSteering(told=n) for n in range(5))
    boxes = [heard() for _ in range(4)]
    together = [asked(2 * n + 2, tell) for n, (_, tell) in enumerate(boxes)]
    for one in together[1:]:
        one.steering, one.mix = steering, lambda logits: logits.mean(0)
    scheduler.ask(together)
    assert all(reply(inbox)[1].reason in ("stop", "length") for inbox, _ in boxes)
    assert scheduler.close(30)


def test_long_prompts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from paretune.serving import scheduler as module

    monkeypatch.setattr(module, "_PROMPT_TOKENS", 16)
    widths: list[int] = []

    def load(key: str) -> Moved:
        made = Moved("ab".index(key))
        forward = made.model.forward

        @functools.wraps(forward)
        def counted(*args: Any, **how: Any) -> Any:
            widths.append(how["input_ids"].numel())
            return forward(*args, **how)

        made.model.forward = counted
        return made

    def answers() -> list[list[int]]:
        scheduler = Scheduler(load, EOS, PAD, rows=32)
        boxes = [heard() for _ in range(20)]
        scheduler.ask([asked(2 * n, tell) for n, (_, tell) in enumerate(boxes)])
        found = [[t.id for t in reply(inbox)[0]] for inbox, _ in boxes]
        assert scheduler.close(30)
        return found

    in_parts, largest = answers(), max(widths)
    monkeypatch.setattr(module, "_PROMPT_TOKENS", 1 << 20)
    assert answers() == in_parts
    assert largest <= 32 < max(widths)


def test_a_reply_without_numbers_ends_alone(scheduler: Scheduler) -> None:
    boxes = [heard() for _ in range(3)]
    together = [asked(2 * n + 2, tell) for n, (_, tell) in enumerate(boxes)]
    together[1].steering = (RowSteering(told=1),) * 2
    together[1].mix = lambda logits: logits[0] * torch.nan
    scheduler.ask(together)
    found = [reply(inbox) for inbox, _ in boxes]
    assert found[1][1].reason == "error" and "no numbers" in found[1][1].problem
    for n in (0, 2):
        inbox, tell = heard()
        scheduler.ask([asked(2 * n + 2, tell)])
        assert reply(inbox) == found[n] and found[n][1].reason != "error"


def test_what_is_kept_for_the_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = LiveBatch.read

    def read(live: LiveBatch, tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(live))
        return plain(live, tokens)

    monkeypatch.setattr(LiveBatch, "read", read)
    made = Scheduler(lambda key: Moved("ab".index(key)), EOS, PAD, rows=32, tokens=100)
    inboxes = []
    for n in range(1, 20, 2):  # of one model, each with at most 20 tokens
        inbox, tell = heard()
        inboxes.append(inbox)
        made.ask([asked(n, tell)])
    long, tell = heard()
    made.ask([asked(3, tell, max_tokens=110)])
    for inbox in (*inboxes, long):
        assert reply(inbox)[1].reason in ("stop", "length")
    assert 4 <= max(sizes) <= 100 // 13, "five of 20 tokens, or some more with short prompts"
    assert made.close(30)


def test_rows_that_were_half_moved_are_told(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    made = Scheduler(lambda key: Moved("ab".index(key)), EOS, PAD, rows=32)
    gate, calls, plain = threading.Event(), [], RoomyLayer.rearrange

    def rearrange(layer: RoomyLayer, rows: torch.Tensor, left: int) -> None:
        calls.append(layer)
        if gate.is_set() and len(calls) % 2 == 0:
            raise RuntimeError("no memory left")
        plain(layer, rows, left)

    monkeypatch.setattr(RoomyLayer, "rearrange", rearrange)
    started, inbox = threading.Event(), queue.SimpleQueue[Any]()

    def tell(event: Any) -> None:
        inbox.put(event)
        started.set()
        gate.wait(30)  # the others join after its first token

    made.ask([asked(1, tell, max_tokens=40)])
    assert started.wait(30)
    late, tell_late = heard()
    made.ask([asked(3, tell_late)])
    calls.clear()
    gate.set()
    for box in (inbox, late):
        assert reply(box)[1] == Ended("error", "RuntimeError: no memory left")
    assert "replies failed" in caplog.text
    gate.clear()
    again, tell = heard()
    made.ask([asked(3, tell)])
    assert reply(again)[1].reason in ("stop", "length")
    assert made.at_work == 0 and made.close(30)


def test_nobody_waits_for_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    made = Scheduler(lambda key: Moved("ab".index(key)), EOS, PAD)
    with monkeypatch.context() as broken:
        broken.setattr(Scheduler, "_join", lambda *given: 1 / 0)
        inbox, tell = heard()
        made.ask([asked(1, tell)])
        assert reply(inbox)[1].reason == "error"
    inbox, tell = heard()
    made.ask([asked(1, tell)])
    assert reply(inbox)[1].reason in ("stop", "length")
    assert "all replies failed" in caplog.text and made.close(30)
