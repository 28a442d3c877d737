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
            "index": piece.index, **new,
            "logprobs": self._logprobs(piece.tokens, facts, piece.before),
            # What failed is told after it, as an error.
            "finish_reason": None if piece.reason == "error" else piece.reason or None,
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

    def _logprobs(
        self, tokens: Sequence[Token], facts: Facts, before: int | None = None
    ) -> dict[str, Any] | None:
        """Of tokens that follow one; how a token is written depends on the one before it."""
        if not facts["logprobs"]:
            return None
        written = self.words.token
        last = [before, *(t.id for t in tokens)]
        rows = list(zip(tokens, last, strict=False))
        if self.is_chat:
            return {"content": [
                {**_one(written(t.id, b), t.logp),
                 "top_logprobs": [_one(written(i, b), p) for i, p in t.top]}
                for t, b in rows
            ]}  # fmt: skip
        return {
            "tokens": [written(t.id, b) for t, b in rows],
            "token_logprobs": [t.logp for t in tokens],
            # The one that was drawn is always among them.
            "top_logprobs": [
                {written(i, b): p for i, p in (*t.top, (t.id, t.logp))} if t.top else {}
                for t, b in rows
            ],
        }


def _one(text: str, logp: float) -> dict[str, Any]:
    # A part of a character has bytes that are not known here.
    is_torn = "\ufffd" in text
    return {"token": text, "logprob": logp, "bytes": None if is_torn else list(text.encode())}


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
