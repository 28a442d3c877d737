"""From tokens to the text that a client sees, while it grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

_TORN = "\ufffd"
"""What a decoder writes for bytes that are not a whole character yet."""

_WINDOW, _CONTEXT = 64, 16
"""Tokens after which the text so far is settled, and those before that are decoded again: how a
token is written may depend on its neighbors, not on all of a long reply."""


@final
class GrowingText:
    """The text of a reply, released as far as nothing that follows can change it.

    Args:
        decode: ids to text.
        stops: texts that end the reply; they are not part of it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        self._decode, self._stops = decode, tuple(stops)
        self._ids: list[int] = []
        self._text = ""
        # Of tokens that are decoded no more: their text, and how much of the window's it is.
        self._settled, self._skip = "", 0
        self.is_stopped = False

    @property
    def text(self) -> str:
        """All that was released."""
        return self._text

    def add(self, token: int) -> str:
        """One more token; the text that is new and final, maybe none."""
        self._ids.append(token)
        return self._release(is_last=False)

    def end(self) -> str:
        """The rest, when no token follows."""
        return self._release(is_last=True)

    def _release(self, *, is_last: bool) -> str:
        if self.is_stopped:
            return ""
        whole = self._settled + self._decode(self._ids)[self._skip :]
        if len(self._ids) >= _WINDOW and not whole.endswith(_TORN):
            self._ids = self._ids[-_CONTEXT:]
            self._settled, self._skip = whole, len(self._decode(self._ids))
        cut = min((at for s in self._stops if (at := whole.find(s)) >= 0), default=-1)
        if cut >= 0:
            self.is_stopped = True
            whole = whole[:cut]
        elif not is_last:
            whole = whole[: len(whole) - self._unsure(whole)]
        new = whole[len(self._text) :] if len(whole) > len(self._text) else ""
        self._text += new
        return new

    def _unsure(self, whole: str) -> int:
        """Characters at the end that the next token may change, or that may begin a stop."""
        sure = whole.rstrip(_TORN)
        begun = max(
            (n for stop in self._stops for n in range(1, len(stop)) if sure.endswith(stop[:n])),
            default=0,
        )
        return len(whole) - len(sure) + begun
