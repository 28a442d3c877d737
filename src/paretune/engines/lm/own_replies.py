"""Replies of the policy that trains: drawn as ours are everywhere, and rewarded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from paretune.core.online import OnlineGoal
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.job_data import JobData, OwnReplies

RewardFunction = Callable[..., list[float]]
"""As TRL calls it: rewards of the replies ``completion_ids`` to ``prompts``."""

_SEED = 2
"""Added to the seed: the replies of rounds and of evaluations are other draws."""


@final
class Asker:
    """Asks a policy the training prompts by their numbers, and rewards what it says.

    A reply depends on the seed, the step, the prompt and the number of the draw, and on no
    generator's state: a job that goes on from a checkpoint draws what it would have drawn.

    Args:
        goal: how many replies, and how they are drawn.
        prompts: S prompts as ids.
        own: the encoder, the rewards and the limits.
        objectives: M names.
        seed: of the draws.
        dtype: arithmetic of the forward passes.
    """

    def __init__(
        self,
        goal: OnlineGoal,
        prompts: Ragged,
        own: OwnReplies,
        objectives: Sequence[str],
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        self._goal, self._prompts, self._own, self._dtype = goal, prompts, own, dtype
        self._objectives = tuple(objectives)
        self._eos = int(own.encoder.tokenizer.eos_token_id)
        self._decoding = Decoding(
            own.max_new_tokens, goal.temperature, goal.top_p, seed + _SEED, own.rows
        )
        self._values: npt.NDArray[np.float64] = np.empty((0, len(self._objectives)))
        self.raw: list[npt.NDArray[np.float64]] = []

    @classmethod
    def of(cls, goal: OnlineGoal, inputs: JobData, seed: int, dtype: torch.dtype) -> Asker:
        """For the prompts of a job that has rewards for new text."""
        assert inputs.own is not None
        names = inputs.data.rewards.objectives.names
        return cls(goal, inputs.encoded.prompts, inputs.own, names, seed, dtype)

    @property
    def tokenizer(self) -> Any:
        """Of the prompts and the replies."""
        return self._own.encoder.tokenizer

    def prompt_ids(self, numbers: Sequence[int]) -> list[list[int]]:
        """The ids of prompts, exactly as every other method sees them."""
        return [self._prompts[number].tolist() for number in numbers]

    def replies(self, model: Any, numbers: Sequence[int], step: int) -> list[list[int]]:
        """One reply to each entry, with its end token unless it was cut.

        Args:
            model: the policy as it is now.
            numbers: prompts, each ``generations`` times in a row.
            step: optimizer steps done.
        """
        asked = numbers[:: self._goal.generations]
        assert list(numbers) == [n for n in asked for _ in range(self._goal.generations)]
        prompts = Ragged.of(self.prompt_ids(asked))
        drawn = generate(
            model, prompts, self._eos, self._own.encoder.pad_id, self._decoding,
            draws=self._goal.generations, dtype=self._dtype,
            prompt_numbers=[step * len(self._prompts) + n for n in asked],
        )  # fmt: skip
        most = self._own.max_new_tokens
        return [[*r, self._eos] if len(r) < most else r for some in drawn for r in some]

    @property
    def functions(self) -> list[RewardFunction]:
        """One function an objective, named like it; the first rewards for all of them."""
        return [self._function(column, name) for column, name in enumerate(self._objectives)]

    def _function(self, column: int, name: str) -> RewardFunction:
        def reward(
            prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **_: Any
        ) -> list[float]:
            if column == 0:
                self._values = self._rewards([int(p) for p in prompts], completion_ids)
            values: list[float] = self._values[:, column].tolist()
            return values

        reward.__name__ = name
        return reward

    def _rewards(
        self, numbers: Sequence[int], replies: Sequence[Sequence[int]]
    ) -> npt.NDArray[np.float64]:
        bodies = [r[:-1] if len(r) and r[-1] == self._eos else r for r in replies]
        texts = self._own.encoder.decode(bodies)
        values = self._own.reward(np.asarray(numbers, dtype=np.int64), texts)
        self.raw.append(values.mean(axis=0))
        return self._own.normalizer.standardize(values) if self._goal.is_standardized else values
