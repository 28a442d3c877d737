"""Text to token ids, once: prompts and responses as ragged arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from paretune.core.record import Message, Prompt, prompt_json
from paretune.errors import ConfigError, InputError
from paretune.safety.control_tokens import ControlTokens
from paretune.safety.templates import render_chat

Ids = npt.NDArray[np.int32]


@final
@dataclass(frozen=True)
class Ragged:
    """Token sequences of different lengths in one array.

    Args:
        ids: ``(T,)`` int32, all sequences one after the other.
        offsets: ``(N + 1,)`` int64; sequence n is ``ids[offsets[n]:offsets[n + 1]]``.
    """

    ids: Ids
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        """Ragged array from lists of ids."""
        lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.fromiter((i for s in sequences for i in s), np.int32, int(offsets[-1]))
        return cls(flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Ids:
        return self.ids[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(N,)`` tokens of each sequence."""
        return np.diff(self.offsets)


@final
@dataclass(frozen=True)
class Encoded:
    """Prompts and responses of a data set as token ids.

    Args:
        prompts: S prompts, ending where the reply begins.
        responses: N responses, ending with the end-of-reply token unless they were cut.
        prompt_of: ``(N,)`` int64 prompt of each response.
        cut_prompts: prompts that lost their beginning to fit.
        cut_responses: responses that lost their end to fit.
    """

    prompts: Ragged
    responses: Ragged
    prompt_of: npt.NDArray[np.int64]
    cut_prompts: int = 0
    cut_responses: int = 0

    def __post_init__(self) -> None:
        for name, part in (("prompt", self.prompts), ("response", self.responses)):
            if len(part) and part.lengths.min() < 1:
                raise InputError(
                    f"{name} {int(part.lengths.argmin())}: found no token, expected at least one"
                )


@final
class Encoder:
    """Turns prompts and responses into ids with a tokenizer and its chat template.

    A text prompt becomes one user turn when the tokenizer has a chat template and ``plain`` is
    false; otherwise it is encoded as it stands. Messages always need a chat template.

    What a text says is never a control token: ``</s>`` or ``<|im_end|>`` in a prompt or response
    is encoded as the characters it is written with. Only a plain prompt may hold marks that act.

    Args:
        tokenizer: any Hugging Face tokenizer with an end-of-sequence token.
        max_prompt_tokens: a longer prompt loses its *beginning*.
        max_response_tokens: a longer response loses its *end* (and then has no end token).
        plain: encode text prompts without the chat template.

    Raises:
        ConfigError: if the tokenizer has no end-of-sequence token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_prompt_tokens: int,
        max_response_tokens: int,
        plain: bool = False,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                "tokenizer: found no end-of-sequence token, expected one, "
                f"in {tokenizer.name_or_path or 'the given tokenizer'}"
            )
        self.tokenizer = tokenizer
        self.max_prompt_tokens = max_prompt_tokens
        self.max_response_tokens = max_response_tokens
        self._has_template = bool(getattr(tokenizer, "chat_template", None))
        self._plain = plain
        # With a template, what follows a reply (its end-of-turn mark) is read off the template
        # once, so that training ends a reply exactly as a conversation does.
        self._closing = self._template_closing() if self._has_template and not plain else ""
        self._control = ControlTokens(tokenizer)

    def with_limits(self, max_prompt_tokens: int, max_response_tokens: int) -> Encoder:
        """The same encoder with other limits."""
        return Encoder(self.tokenizer, max_prompt_tokens, max_response_tokens, self._plain)

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Encoder:
        """The same encoder with another copy of its tokenizer."""
        return Encoder(tokenizer, self.max_prompt_tokens, self.max_response_tokens, self._plain)

    @property
    def pad_id(self) -> int:
        """Id that fills short rows; never seen by a response."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def prompt_text(self, prompt: Prompt) -> str:
        """The exact text a model sees before its reply."""
        if isinstance(prompt, str) and (self._plain or not self._has_template):
            return prompt
        if not self._has_template:
            raise InputError(
                "prompt: found chat messages, expected text: the tokenizer has no chat template"
            )
        turns = prompt_json(prompt)
        messages = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
        return render_chat(self.tokenizer, messages, add_generation_prompt=True)

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Ragged, int]:
        """Ids of prompts and how many lost their beginning."""
        texts = [self.prompt_text(p) for p in prompts]
        is_templated = self._has_template and not self._plain
        ids = self._ids(texts, add_special_tokens=not is_templated)
        if not self._plain:
            for row in (n for n, prompt in enumerate(prompts) if self._spells(prompt)):
                ids[row] = self._spelled_prompt(prompts[row])
        if not is_templated:
            # Some tokenizers end every text with an end mark; a prompt is not over yet.
            eos = self.tokenizer.eos_token_id
            ids = [i[:-1] if len(i) > 1 and i[-1] == eos else i for i in ids]
        if any(len(i) == 0 for i in ids):
            row = next(n for n, i in enumerate(ids) if len(i) == 0)
            raise InputError(f"prompt {row} has no token, expected at least one: {texts[row]!r}")
        n_cut = sum(len(i) > self.max_prompt_tokens for i in ids)
        return Ragged.of([i[-self.max_prompt_tokens :] for i in ids]), n_cut

    def encode_responses(self, texts: Sequence[str]) -> tuple[Ragged, int]:
        """Ids of responses with their end token, and how many lost their end."""
        eos = int(self.tokenizer.eos_token_id)
        bodies = self._ids([t + self._closing for t in texts], add_special_tokens=False)
        ends = self._ids([self._closing], add_special_tokens=False)[0]
        for row in (n for n, text in enumerate(texts) if self._control.are_spelled(text)):
            bodies[row] = self._control.characters(texts[row]) + ends
        limit = self.max_response_tokens
        rows, n_cut = [], 0
        for body in bodies:
            if eos in body:
                body = body[: body.index(eos)]
            row = [*body, eos]
            n_cut += len(row) > limit
            rows.append(row[:limit])
        return Ragged.of(rows), n_cut

    def encode(
        self, prompts: Sequence[Prompt], texts: Sequence[str], prompt_of: npt.NDArray[np.int64]
    ) -> Encoded:
        """Both sides of a data set."""
        prompt_ids, cut_prompts = self.encode_prompts(prompts)
        response_ids, cut_responses = self.encode_responses(texts)
        return Encoded(prompt_ids, response_ids, prompt_of, cut_prompts, cut_responses)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Replies as text, without special tokens."""
        texts = self.tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [t.strip() if self._has_template and not self._plain else t for t in texts]

    def _ids(self, texts: Sequence[str], **options: bool) -> list[list[int]]:
        if not texts:
            return []
        out: Any = self.tokenizer(list(texts), return_attention_mask=False, **options)
        return list(out["input_ids"])

    def _spells(self, prompt: Prompt) -> bool:
        turns = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
        return self._control.are_spelled(*turns)

    def _spelled_prompt(self, prompt: Prompt) -> list[int]:
        """Ids of a prompt whose texts are kept apart from the marks of the template."""
        if isinstance(prompt, str) and not self._has_template:
            self._control.characters(prompt)
            return self._ids([prompt], add_special_tokens=True, split_special_tokens=True)[0]
        turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt

        def write(texts: Sequence[str]) -> str:
            roles = [turn.role for turn in turns]
            return self.prompt_text(tuple(map(Message, roles, texts)))

        return self._control.between_marks([turn.content for turn in turns], write)

    def _template_closing(self) -> str:
        probe = "reply"
        user = {"role": "user", "content": "prompt"}
        opening = render_chat(self.tokenizer, [user], add_generation_prompt=True) + probe
        whole = render_chat(self.tokenizer, [user, {"role": "assistant", "content": probe}])
        if not whole.startswith(opening):
            return ""  # the template rewrites earlier turns; the end token alone closes a reply
        return whole[len(opening) :]
