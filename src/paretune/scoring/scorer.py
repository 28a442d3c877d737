"""The contract of a scorer: texts in, one reward a response out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.record import Prompt
from paretune.errors import ParetuneError, ScoringError


class Scorer(ABC):
    """One reward a response, larger is better.

    A scorer has no hidden state: the reward of a row depends on the row and on ``identity``,
    never on the other rows or on the order of calls (a model: up to float rounding).
    """

    name: str
    """What messages call it; not part of its identity."""

    batch_rows: int = 256
    """Rows handed over in one call by ``score_responses``: what a kill can lose."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of everything that determines the rewards; equal identities share a cache."""

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N,)`` finite rewards of N responses, row by row.

        Raises:
            ScoringError: if a reward is missing or not finite, naming the scorer and the row.
        """

    def notes(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[str, ...]:
        """What a reader of these rewards must know (texts that were cut, ...); often nothing."""
        return ()


@final
class CallableScorer(Scorer):
    """A scorer from a Python callable that the caller vouches for (known worlds, tests).

    Args:
        name: what messages call it.
        identity: changes whenever the values of ``fn`` change; the caller's promise.
        fn: ``(prompts, responses)`` to N finite numbers.
    """

    def __init__(
        self, name: str, identity: str, fn: Callable[[Sequence[Prompt], Sequence[str]], Any]
    ) -> None:
        self.name = name
        self._identity = identity
        self._fn = fn

    @property
    def identity(self) -> str:
        """The identity that was given."""
        return self._identity

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N,)`` what the callable returned, checked."""
        try:
            values = self._fn(prompts, responses)
        except ParetuneError:
            raise
        except Exception as error:
            raise ScoringError(
                self.name, None, f"{type(error).__name__}: {error}, expected numbers"
            ) from error
        return checked_rewards(self.name, values, len(responses))


def checked_rewards(scorer: str, values: Any, n: int) -> npt.NDArray[np.float64]:
    """``(n,)`` float64 rewards from whatever a scorer returned.

    Args:
        scorer: name for the message.
        values: a sequence or an array of numbers.
        n: how many responses were given.

    Raises:
        ScoringError: if there are not ``n`` numbers, or one is NaN or infinite.

    Example:
        >>> checked_rewards("brevity", [1, 0.5], n=2)
        array([1. , 0.5])
        >>> checked_rewards("brevity", [1.0, float("nan")], n=2)
        Traceback (most recent call last):
        paretune.errors.ScoringError: brevity, row 1: found nan, expected a finite number
    """
    try:
        raw = np.asarray(values)
        # "0.5" would silently become a number: text is a mistake of the scorer.
        if raw.dtype.kind in "USmMcV":
            raise TypeError(f"{raw.dtype} is not a number")
        rewards = raw.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ScoringError(
            scorer, None, f"found {_short(values)}, expected {n} numbers, one a response"
        ) from error
    if rewards.shape != (n,):
        raise ScoringError(
            scorer, None, f"found shape {rewards.shape}, expected ({n},): one number a response"
        )
    bad = np.flatnonzero(~np.isfinite(rewards))
    if len(bad):
        row = int(bad[0])
        raise ScoringError(scorer, row, f"found {rewards[row]}, expected a finite number")
    return rewards


def _short(value: Any, width: int = 60) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= width else text[: width - 3] + "..."
