"""Methods that draw several replies and give the best one by the utility of the trade-off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool

from paretune.core.policy import Steering
from paretune.core.record import Prompt
from paretune.core.rewards import Normalizer
from paretune.errors import BusyError
from paretune.functional.candidates import candidate_utility

Rate = Callable[[Prompt, Sequence[str]], npt.NDArray[np.float64]]
"""A prompt and R replies to ``(R, M)`` raw rewards."""


@final
class Candidates:
    """Chooses among replies, for one request at a time; scorers are loaded with the first.

    Args:
        load: the scorers that the run rated candidates with.
        normalizer: statistics of its training rewards.
        waiting: requests that may wait for the scorers, at most.
    """

    def __init__(self, load: Callable[[], Rate], normalizer: Normalizer, waiting: int = 64) -> None:
        self._load, self._normalizer = load, normalizer
        self._room = waiting + 1
        self._rate: Rate | None = None
        self._turn = asyncio.Lock()

    async def best(self, steering: Steering, prompt: Prompt, texts: Sequence[str]) -> list[int]:
        """Which text is the best of every ``steering.candidates`` that follow each other.

        Raises:
            BusyError: if too many wait.
            ScoringError: if a scorer fails on a reply.
        """
        if not self._room:
            raise BusyError("server: found too many waiting for the scorers; try again soon")
        self._room -= 1
        try:
            async with self._turn:
                rewards = await run_in_threadpool(self._rewards, prompt, texts)
        finally:
            self._room += 1
        utility = candidate_utility(steering, self._normalizer, rewards)
        best = utility.reshape(-1, steering.candidates).argmax(1)
        return [int(n) for n in np.arange(len(best)) * steering.candidates + best]

    def _rewards(self, prompt: Prompt, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        if self._rate is None:
            self._rate = self._load()
        return self._rate(prompt, texts)
