"""The rewards of any reply, by the scorers that measured the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, final

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from paretune.core.results import RunResult
from paretune.errors import BusyError, InputError
from paretune.functional.unit_box import unit_rewards
from paretune.serving.protocol import MOST_REPLIES

Score = Callable[[str, Sequence[str]], npt.NDArray[np.float64]]
"""A prompt and N replies to ``(N, M)`` raw rewards."""

_Text = Annotated[str, Field(max_length=1 << 16)]


class NoScorersError(InputError):
    """The run has no scorers that reward new texts."""


class RewardRequest(BaseModel):
    """``POST /api/rewards``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: _Text
    replies: Annotated[list[_Text], Field(min_length=1, max_length=MOST_REPLIES)]


@final
class Rewards:
    """Rewards replies, one request at a time; scorers are loaded with the first.

    Args:
        load: the scorers of the run.
        waiting: requests that may wait, at most.
    """

    def __init__(self, load: Callable[[], Score], waiting: int = 8) -> None:
        self._load = load
        self._score: Score | None = None
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    def rate(self, prompt: str, replies: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N, M)`` raw rewards.

        Raises:
            BusyError: if too many wait.
            NoScorersError: if the run has none that can be loaded.
            ScoringError: if a scorer fails on a reply.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("rewards: found the queue full, expected a place; try again")
        try:
            with self._turn:
                if self._score is None:
                    try:
                        self._score = self._load()
                    except InputError as error:
                        raise NoScorersError(str(error)) from error
                return self._score(prompt, replies)
        finally:
            self._places.release()


def add_rewards(app: FastAPI, rewards: Rewards, result: RunResult) -> None:
    """Add ``POST /api/rewards``.

    Args:
        app: the server.
        rewards: of the run.
        result: what the run measured: its objectives and their frozen box.
    """

    @app.post("/api/rewards")
    def rate(wanted: RewardRequest) -> dict[str, Any]:
        try:
            found = rewards.rate(wanted.prompt, wanted.replies)
        except NoScorersError as error:
            raise HTTPException(404, str(error)) from error
        return {
            "objectives": result.objectives,
            "rewards": found.tolist(),
            "unit": unit_rewards(found, result.low, result.high).tolist(),
        }
