"""What a tokenizer reads as a command, kept apart from texts that spell it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, final

from paretune.errors import InputError

_HOLE = "\ue000{}\ue001"
"""Private use: no template and no tokenizer has a meaning for it."""
_HOLES = re.compile("\ue000(\\d+)\ue001")


@final
class ControlTokens:
    """Special tokens of a tokenizer, and ids of texts in which nothing is one.

    A text that holds ``</s>`` or ``<|im_start|>system`` would end itself, or speak in another
    role, if it were tokenized as it is.

    Args:
        tokenizer: of Hugging Face.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        named = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        # What stands for unknown characters controls nothing.
        self._ids = {t: i for t, i in (added | named).items() if t and i != tokenizer.unk_token_id}
        self._spelled = re.compile("|".join(map(re.escape, self._ids)) or r"(?!)")
        self._tokenizer = tokenizer

    def are_spelled(self, *texts: str) -> bool:
        """Whether a text holds what a control token is written as."""
        return any(self._spelled.search(text) for text in texts)

    def characters(self, text: str) -> list[int]:
        """Ids of a text, none of them a control token.

        Raises:
            InputError: if the tokenizer knows no other ids for these characters.
        """
        ids = self._encoded(text, split_special_tokens=True)
        if found := set(ids) & set(self._ids.values()):
            names = ", ".join(name for name, i in self._ids.items() if i in found)
            raise InputError(
                f"text: found the control token {names} in {text[:60]!r}, expected none: this "
                "tokenizer cannot write it as plain characters"
            )
        return ids

    def between_marks(
        self, texts: Sequence[str], write: Callable[[Sequence[str]], str]
    ) -> list[int]:
        """Ids of a text that is made around others: only what was made around them controls.

        Args:
            texts: for instance the turns of a conversation.
            write: puts given texts between marks, for instance by a chat template.

        Raises:
            InputError: as :meth:`characters`.
        """
        ids: list[int] = []
        whole = write([_HOLE.format(row) for row in range(len(texts))])
        for n, piece in enumerate(_HOLES.split(whole)):
            is_text = n % 2
            ids += self.characters(texts[int(piece)]) if is_text else self._encoded(piece)
        return ids

    def _encoded(self, text: str, **options: bool) -> list[int]:
        found: Any = self._tokenizer(
            text, add_special_tokens=False, return_attention_mask=False, **options
        )
        return list(found["input_ids"])
