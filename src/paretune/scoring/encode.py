"""Texts become token ids of a reward model; what does not fit loses its beginning.

What a text says is never a control token: a reply that spells one would else end itself, or speak
to the reward model in another role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from paretune.core.record import Prompt, prompt_json
from paretune.errors import InputError, ScoringError
from paretune.safety.control_tokens import ControlTokens
from paretune.safety.templates import render_chat

ModelInput = Literal["prompt+response", "response", "chat"]

Encoding = dict[str, list[int]]
"""Model input name (``input_ids``, ``attention_mask``, ...) to one number a token."""


@final
@dataclass(frozen=True)
class TextEncoder:
    """How one (prompt, response) becomes the input of a reward model.

    Args:
        name: what messages call the reward.
        tokenizer: a Hugging Face tokenizer; its truncation side is set to the left.
        input: ``prompt+response`` the two as a pair of texts; ``response`` alone; ``chat`` both
            through the tokenizer's chat template.
        max_length: longest input in tokens; ``None`` = never cut.
        turns: for ``prompt+response``: how a conversation is written as one text, role to format,
            for example ``{"user": "\\n\\nHuman: {}", "assistant": "\\n\\nAssistant: {}", "reply":
            "\\n\\nAssistant:"}``; ``reply`` ends the text. A prompt that is text is never changed.
    """

    name: str
    tokenizer: Any
    input: ModelInput
    max_length: int | None
    turns: Mapping[str, str] = field(default_factory=dict)
    _control: ControlTokens = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The end of a text holds the response: the beginning is what may go.
        self.tokenizer.truncation_side = "left"
        object.__setattr__(self, "_control", ControlTokens(self.tokenizer))

    def encode(
        self, prompts: Sequence[Prompt], responses: Sequence[str]
    ) -> tuple[list[Encoding], int]:
        """Inputs of N rows, none longer than ``max_length``, and how many were cut.

        Raises:
            ScoringError: if a conversation cannot be written as text.
        """
        if not responses:
            return [], 0
        texts = [
            self._texts(i, p, r) for i, (p, r) in enumerate(zip(prompts, responses, strict=True))
        ]
        rows = self._tokenize([list(column) for column in zip(*texts, strict=True)])
        for i in self._spelling(prompts, responses):
            rows[i] = self._spelled(i, texts[i], prompts[i], responses[i])
        limit = self.max_length
        too_long = [i for i, row in enumerate(rows) if limit and len(row["input_ids"]) > limit]
        for i in too_long:
            rows[i] = self._cut(texts[i], rows[i])
        return [row if row["input_ids"] else self._empty(row) for row in rows], len(too_long)

    def _texts(self, row: int, prompt: Prompt, response: str) -> tuple[str, ...]:
        """One text, or the pair of texts that the model reads."""
        if self.input == "response":
            return (response,)
        if self.input == "prompt+response":
            return (self._as_text(row, prompt), response)
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else None
        messages = [*(turns or prompt_json(prompt)), {"role": "assistant", "content": response}]
        return (render_chat(self.tokenizer, messages),)

    def _spelling(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[int]:
        """Rows with a text that holds what a control token is written as."""
        spelled = self._control.are_spelled
        if self.input == "response":
            return [i for i, response in enumerate(responses) if spelled(response)]
        rows = zip(prompts, responses, strict=True)
        return [i for i, (p, r) in enumerate(rows) if spelled(*_contents(p), r)]

    def _spelled(self, row: int, texts: tuple[str, ...], prompt: Prompt, reply: str) -> Encoding:
        """Input of such a row, in which nothing of the texts is a control token."""
        try:
            if self.input == "chat":
                roles = [*([t.role for t in prompt] if not isinstance(prompt, str) else ["user"]),
                         "assistant"]  # fmt: skip

                def write(contents: Sequence[str]) -> str:
                    turns = zip(roles, contents, strict=True)
                    return render_chat(
                        self.tokenizer, [{"role": r, "content": c} for r, c in turns]
                    )

                ids = self._control.between_marks([*_contents(prompt), reply], write)
                return self._alike(ids)
            if not isinstance(prompt, str) and self._control.are_spelled(*self.turns.values()):
                raise InputError(
                    "found a control token both in the text and in turns, expected one of them; "
                    "set input: chat, or turns without control tokens"
                )
            for text in texts:
                self._control.characters(text)
        except InputError as error:
            raise ScoringError(self.name, row, str(error)) from error
        return self._tokenize([[text] for text in texts], split_special_tokens=True)[0]

    def _alike(self, ids: list[int]) -> Encoding:
        """An input of one text with these ids."""
        names = self._tokenize([["a"]])[0]
        return {n: ids if n == "input_ids" else [int("mask" in n)] * len(ids) for n in names}

    def _as_text(self, row: int, prompt: Prompt) -> str:
        if isinstance(prompt, str):
            return prompt
        if not self.turns and [turn.role for turn in prompt] == ["user"]:
            return prompt[0].content
        try:
            parts = [self.turns[turn.role].replace("{}", turn.content) for turn in prompt]
        except KeyError as error:
            roles = ", ".join(turn.role for turn in prompt)
            raise ScoringError(
                self.name,
                row,
                f"found a conversation ({roles}), expected a prompt that is text or one user "
                f"turn; set turns with a format for {error.args[0]!r}, or input: chat",
            ) from error
        return "".join(parts) + self.turns.get("reply", "")

    def _tokenize(self, columns: list[list[str]], **options: Any) -> list[Encoding]:
        # A chat template writes its own special tokens.
        batch = self.tokenizer(*columns, add_special_tokens=self.input != "chat", **options)
        return [{name: values[i] for name, values in batch.items()} for i in range(len(columns[0]))]

    def _cut(self, texts: tuple[str, ...], row: Encoding) -> Encoding:
        if self.input == "chat":
            return {name: values[-(self.max_length or 0) :] for name, values in row.items()}
        how, options = "longest_first", {"split_special_tokens": self._control.are_spelled(*texts)}
        if len(texts) == 2 and self.max_length:
            # The prompt alone gives way as long as the response fits beside one token of it.
            reply = self.tokenizer(texts[1], add_special_tokens=False, **options)["input_ids"]
            extra = self.tokenizer.num_special_tokens_to_add(pair=True)
            how = "only_first" if len(reply) + extra < self.max_length else how
        return self._tokenize(
            [[t] for t in texts], truncation=how, max_length=self.max_length, **options
        )[0]

    def _empty(self, row: Encoding) -> Encoding:
        """An empty text where the tokenizer adds nothing: a model needs at least one token."""
        tokens = (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, 0)
        token = next(t for t in tokens if t is not None)
        return {name: [token if name == "input_ids" else int("mask" in name)] for name in row}


def _contents(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
