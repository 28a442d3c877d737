"""Answers in the two forms of the protocol, whole and in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from paretune.serving.replies import Choice, Piece, Request
from paretune.serving.scheduler import Token
from paretune.serving.words import Words

Facts = dict[str, Any]


@final
@dataclass(frozen=True)
class Body:
    """How replies are written down.

    Args:
        words: of the base.
        is_chat: as messages, else as plain text.
    """

    words: Words
    is_chat: bool

    def whole(self, replies: Request, facts: Facts) -> dict[str, Any]:
        """All replies, when they have ended."""
        choices = [self._choice(n, c, facts) for n, c in enumerate(replies.choices)]
        return {**self._head(replies, facts, False), "choices": choices,
                "usage": _usage(replies, facts), "paretune": facts["paretune"]}  # fmt: skip

    def opening(self, replies: Request, facts: Facts) -> list[dict[str, Any]]:
        """What a stream begins with: who speaks, and for which trade-off."""
        start = {"delta": {"role": "assistant", "content": ""}} if self.is_chat else {"text": ""}
        choices = [
            {"index": n, **start, "logprobs": None, "finish_reason": None}
            for n in range(len(replies.choices))
        ]
        head = self._head(replies, facts, True)
        return [{**head, "choices": choices, "paretune": facts["paretune"]}]

    def piece(self, replies: Request, facts: Facts, piece: Piece) -> dict[str, Any]:
        """What is new of one reply."""
        new: dict[str, Any] = {"text": piece.text}
        if self.is_chat:
            new = {"delta": {"content": piece.text} if piece.text or not piece.reason else {}}
        found = {
            "index": piece.index, **new, "logprobs": self._logprobs(piece.tokens, facts),
            "finish_reason": piece.reason or None,
        }  # fmt: skip
        return {**self._head(replies, facts, True), "choices": [found]}

    def usage(self, replies: Request, facts: Facts) -> dict[str, Any]:
        """The last chunk of a stream that asked for it."""
        head = self._head(replies, facts, True)
        return {**head, "choices": [], "usage": _usage(replies, facts)}

    def _head(self, replies: Request, facts: Facts, is_piece: bool) -> dict[str, Any]:
        kind = "chat.completion" if self.is_chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.is_chat else "cmpl-") + replies.id,
            "object": f"{kind}.chunk" if self.is_chat and is_piece else kind,
            "created": facts["created"], "model": facts["model"],
        }  # fmt: skip

    def _choice(self, index: int, choice: Choice, facts: Facts) -> dict[str, Any]:
        text = choice.text.text
        said = (
            {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        )
        return {"index": index, **said, "logprobs": self._logprobs(choice.tokens, facts),
                "finish_reason": choice.reason}  # fmt: skip

    def _logprobs(self, tokens: Sequence[Token], facts: Facts) -> dict[str, Any] | None:
        if not facts["logprobs"]:
            return None
        if not self.is_chat:
            return {
                "tokens": [self.words.text([t.id]) for t in tokens],
                "token_logprobs": [t.logp for t in tokens],
                "top_logprobs": [{self.words.text([i]): p for i, p in t.top} for t in tokens],
            }
        return {
            "content": [
                {**self._one(t.id, t.logp), "top_logprobs": [self._one(i, p) for i, p in t.top]}
                for t in tokens
            ]
        }

    def _one(self, token: int, logp: float) -> dict[str, Any]:
        text = self.words.text([token])
        return {"token": text, "logprob": logp, "bytes": list(text.encode())}


def chat_body(words: Words) -> Body:
    """Answers as messages."""
    return Body(words, is_chat=True)


def completion_body(words: Words) -> Body:
    """Answers as plain text."""
    return Body(words, is_chat=False)


def _usage(replies: Request, facts: Facts) -> dict[str, int]:
    prompt = facts["prompt_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": replies.n_tokens,
            "total_tokens": prompt + replies.n_tokens}  # fmt: skip
