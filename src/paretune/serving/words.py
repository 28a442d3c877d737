"""Prompts of requests as ids, in the way that the policies of a run were trained on."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool

from paretune.core.policy import Steering
from paretune.core.record import Message, Prompt, prompt_text, with_prompt_text
from paretune.core.rewards import Normalizer
from paretune.engines.lm.encode import Encoder
from paretune.errors import InputError
from paretune.serving.protocol import ChatMessage

_LONG = 10_000
"""Characters that are tokenized in a hundredth of a second; more would hold up everybody."""

_CHARACTERS_A_TOKEN = 100
"""More than any tokenizer packs into one on average: longer texts are refused unread."""


class TooLongError(InputError):
    """A prompt and its reply do not fit into the model's positions."""


@final
@dataclass(frozen=True)
class Words:
    """Texts in, ids out, and back.

    Args:
        encoder: of the run.
        normalizer: statistics of its training rewards, for prompts that are conditioned.
        positions: tokens that prompt and reply may take together.
    """

    encoder: Encoder
    normalizer: Normalizer
    positions: int
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    def prompt_of(self, messages: Sequence[ChatMessage]) -> Prompt:
        """A conversation; as plain text where the base knows no turns.

        Raises:
            InputError: if there are several turns and no chat template.
        """
        has_turns = getattr(self.encoder.tokenizer, "chat_template", None)
        if has_turns:
            roles = {"developer": "system"}
            return tuple(Message(roles.get(m.role, m.role), m.content) for m in messages)
        if len(messages) != 1 or messages[0].role != "user":
            raise InputError(
                f"messages: found {len(messages)} turns, expected one of the user: the base of "
                "this run has no chat template"
            )
        return messages[0].content

    async def read(
        self, prompt: Prompt, steering: Steering, max_tokens: int
    ) -> npt.NDArray[np.int32]:
        """As :meth:`ids`; a long prompt is read beside the loop, one at a time."""
        if len(prompt_text(prompt)) <= _LONG:
            return self.ids(prompt, steering, max_tokens)
        async with self._turn:
            return await run_in_threadpool(self._apart.ids, prompt, steering, max_tokens)

    @functools.cached_property
    def _apart(self) -> Words:
        """With a tokenizer of its own: one of them cannot serve two threads."""
        return replace(self, encoder=self.encoder.with_tokenizer(
            copy.deepcopy(self.encoder.tokenizer)))  # fmt: skip

    def ids(self, prompt: Prompt, steering: Steering, max_tokens: int) -> npt.NDArray[np.int32]:
        """What the policy reads.

        Raises:
            TooLongError: if prompt and reply do not fit.
        """
        turns = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
        if sum(map(len, turns)) > _CHARACTERS_A_TOKEN * self.positions:
            raise TooLongError(f"prompt: found more characters than {self.positions} tokens hold")
        if steering.condition is not None:
            told = steering.condition(prompt_text(prompt), self.normalizer)
            prompt = with_prompt_text(prompt, told)
        rows, _ = self._unlimited.encode_prompts([prompt])
        ids: npt.NDArray[np.int32] = rows[0]
        if len(ids) + max_tokens > self.positions:
            raise TooLongError(
                f"prompt: found {len(ids)} tokens and {max_tokens} for the reply, expected at most "
                f"{self.positions} together"
            )
        return ids

    @cached_property
    def _unlimited(self) -> Encoder:
        return self.encoder.with_limits(1 << 30, 1 << 30)

    def token(self, token: int, before: int | None) -> str:
        """How a token is written after another one; control tokens by their names."""
        decode = self.encoder.tokenizer.decode
        how = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        if before is None:
            return str(decode([token], **how))
        return str(decode([before, token], **how))[len(str(decode([before], **how))) :]

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text, without special tokens."""
        found: Any = self.encoder.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(found)
