"""The contract of a method: a plan and a way to steer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from paretune.core.job import TrainingJob
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff

Needs = Literal["pairs", "scores"]


class Method(ABC):
    """What to train, and how to answer for a trade-off. A method runs nothing.

    A concrete method is a final frozen dataclass: its fields are its hyper-parameters, its
    docstring is their only description, and constructing it checks them (``ConfigError``).
    """

    paper: ClassVar[str]
    """arXiv id or address of the source, or ``ours``."""

    @property
    @abstractmethod
    def needs(self) -> tuple[Needs, ...]:
        """``pairs``: comparisons with labels; ``scores``: every response rewarded.

        A class variable, unless it depends on the fields.
        """

    @abstractmethod
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        """Jobs for these trade-offs: a pure function of the fields and the arguments."""

    @abstractmethod
    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        """How to answer for *any* trade-off, with the trade-offs that were planned for."""
