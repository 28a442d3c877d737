"""What an embedded world brings to a run in place of files and models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.core.record import Record
from paretune.core.results import KnownFront
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.pipeline.config import RunConfig

Part = Literal["validation", "test"]


class World(Protocol):
    """What a run asks of a world."""

    objectives: Objectives
    train_prompts: tuple[str, ...]
    validation_prompts: tuple[str, ...]
    test_prompts: tuple[str, ...]

    def preferences(self, n: int, seed: int) -> list[Record]:
        """Records with two replies each and a comparison."""

    def corpus(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Prompts and replies that train the base."""

    def score_many(self, prompts: Sequence[str], replies: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N, M)`` rewards in [0, 1]."""

    def is_well_formed(self, prompt: str, reply: str) -> bool:
        """Whether the grammar accepts the reply."""

    def known_front(self, tradeoffs: Sequence[TradeOff], part: Part = "test") -> KnownFront:
        """What is attainable on a part of the prompts."""

    def tokenizer(self) -> Any:
        """The world's tokenizer."""

    def base_config(self) -> Any:
        """Config of the world's base model."""


def world_of(config: RunConfig) -> World | None:
    """The world a run lives in, or ``None`` when its data come from files.

    Raises:
        ConfigError: if the run's objectives are not the scenario's, or none of the world.
    """
    if config.data.world is None:
        return None
    if config.data.world == "advice":
        return _advice(tuple(config.objectives))
    world = _handy(config.data.scenario)
    if tuple(config.objectives) != world.objectives.names:
        raise ConfigError(
            f"objectives: found {config.objectives}, expected {list(world.objectives)} for "
            f"scenario {config.data.scenario} of the world {config.data.world}"
        )
    return world


@cache
def _handy(scenario: str) -> World:
    from paretune.bench.handy import Handy

    return Handy(scenario)


@cache
def _advice(objectives: tuple[str, ...]) -> World:
    from paretune.bench.advice import Advice

    return Advice(objectives)
