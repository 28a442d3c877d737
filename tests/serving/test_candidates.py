"""The best of several replies: chosen by the trade-off of the request, told like any other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.serving.conftest import Client, serve, service

from paretune.core.objective import Objectives
from paretune.core.policy import Steering
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.errors import BusyError, ScoringError
from paretune.serving.answers import ServedMethod
from paretune.serving.candidates import Candidates

REWARDS = RewardMatrix(Objectives(("helpful", "harmless")), np.array([[0.0, -8], [8, 0]]))
ASKED = {"prompt": "w7 w8", "max_tokens": 8, "temperature": 1, "seed": 4}


def rate(prompt: Any, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Helpful are many words, harmless are few different ones."""
    assert prompt == "w7 w8"
    if any(len(text.split()) > 20 for text in texts):
        raise ScoringError("harmless", 0, "found more than 20 words")
    words = [text.split() for text in texts]
    return np.array([(len(w), -len(set(w))) for w in words], dtype=np.float64)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = service(tmp_path_factory.mktemp("run"))

    def steer(candidates: int) -> Any:
        return lambda t: Steering("pick", ("expert-0",), (1.0,), t, candidates)

    for name, n in (("plain", 1), ("best", 4)):
        soups = made.answers.methods["soups"]
        made.answers.methods[name] = ServedMethod(name, soups.points, steer(n), soups.folders)
    made.candidates = Candidates(lambda: rate, Normalizer.fit(REWARDS))
    yield from serve(made)


def replies(client: Client, **how: Any) -> list[str]:
    status, found = client.json("POST", "/v1/completions", ASKED | how)
    assert status == 200, found
    return [choice["text"] for choice in found["choices"]]


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_the_best_is_given(client: Client, weights: tuple[float, float]) -> None:
    drawn = replies(client, model="tiny/plain", n=8)
    name = f"tiny/best@{weights[0]},{weights[1]}"
    utility = rate("w7 w8", drawn) @ np.asarray(TradeOff(weights).weights)
    expected = [drawn[int(utility[:4].argmax())], drawn[4 + int(utility[4:].argmax())]]
    assert replies(client, model=name, n=2) == expected
    assert len(set(utility)) > 2, "some are better than others"
    body = ASKED | {"model": name, "n": 2, "stream": True}
    body["stream_options"] = {"include_usage": True}
    _, _, content = client.send("POST", "/v1/completions", body)
    lines = content.decode().strip().split("\n\n")
    assert lines.pop() == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [len(chunk["choices"]) for chunk in chunks] == [2, 1, 1, 0]
    assert [chunk["choices"][0]["text"] for chunk in chunks[1:3]] == expected
    assert all(chunk["choices"][0]["finish_reason"] for chunk in chunks[1:3])
    # Those that were dropped were decoded too.
    assert chunks[-1]["usage"]["completion_tokens"] > sum(len(text.split()) for text in drawn[:4])


def test_scorers_that_fail_are_told_and_harm_nobody(client: Client) -> None:
    drawn = replies(client, model="tiny/plain", n=4, seed=0, max_tokens=100)
    assert max(len(text.split()) for text in drawn) > 20
    bad = ASKED | {"model": "tiny/best", "seed": 0, "max_tokens": 100}
    status, found = client.json("POST", "/v1/completions", bad)
    assert status == 422 and "harmless, row 0: found more" in found["error"]["message"]
    status, _, content = client.send("POST", "/v1/completions", bad | {"stream": True})
    assert status == 200 and b"found more" in content.split(b'data: {"error"')[1]
    assert replies(client, model="tiny/best")
    assert client.service.scheduler.at_work == 0


def test_too_many_that_wait_for_the_scorers_are_refused() -> None:
    started, gate = threading.Event(), threading.Event()

    def slow(prompt: Any, texts: Any) -> Any:
        started.set()
        assert gate.wait(30)
        return rate(prompt, texts)

    async def ask() -> None:
        made = Candidates(lambda: slow, Normalizer.fit(REWARDS), waiting=1)
        wanted = (
            Steering("pick", ("one",), (1.0,), TradeOff((1.0, 0.0)), 2),
            "w7 w8",
            ["w9", "w9 w9"],
        )
        first, second = (asyncio.create_task(made.best(*wanted)) for _ in "ab")
        await asyncio.to_thread(started.wait, 30)
        with pytest.raises(BusyError, match="too many waiting for the scorers"):
            await made.best(*wanted)
        gate.set()
        assert await first == await second == [1]
        assert await made.best(*wanted) == [1]

    asyncio.run(ask())
