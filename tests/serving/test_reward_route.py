"""Rewards over HTTP: scorers loaded once, one request at a time, and not too many in a row."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from paretune.errors import BusyError, ConfigError
from paretune.serving.reward_route import NoScorersError, Rewards


class Slow:
    """Counts how often it is loaded, and how many are at work at once."""

    def __init__(self) -> None:
        self.loaded = self.at_work = self.most = 0
        self.may_go = threading.Event()

    def load(self) -> Any:
        self.loaded += 1
        return self.score

    def score(self, prompt: str, replies: Sequence[str]) -> Any:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        assert self.may_go.wait(30)
        self.at_work -= 1
        return np.zeros((len(replies), 2))


def test_one_at_a_time_and_no_more_than_can_wait() -> None:
    slow = Slow()
    rewards = Rewards(slow.load, waiting=3)
    assert slow.loaded == 0
    done: list[str] = []

    def rate() -> None:
        try:
            done.append(str(rewards.rate("p", ["r"]).shape))
        except BusyError:
            done.append("busy")

    threads = [threading.Thread(target=rate) for _ in range(7)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while done.count("busy") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    slow.may_go.set()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["(1, 2)"] * 4 + ["busy"] * 3
    assert (slow.loaded, slow.most) == (1, 1)
    assert rewards.rate("p", ["r"]).shape == (1, 2), "its place is free again"


def test_what_cannot_be_loaded_is_asked_for_again() -> None:
    tries = []

    def load() -> Any:
        tries.append(1)
        raise ConfigError("rewards.helpful: found a column of the records")

    rewards = Rewards(load)
    for _ in range(12):
        with pytest.raises(NoScorersError, match="a column of the records"):
            rewards.rate("p", ["r"])
    assert len(tries) == 12
