"""One request on its way: its replies, token by token, and what a client is told of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from paretune.engines.lm.row_sampling import Sampling
from paretune.serving.answers import Answer
from paretune.serving.deliveries import to_this_loop
from paretune.serving.scheduler import Asked, Ended, Scheduler, Token
from paretune.serving.texts import GrowingText

Decode = Callable[[Sequence[int]], str]


@final
@dataclass
class Choice:
    """One of the replies to a request.

    Args:
        text: as far as it is final.
        tokens: all of them.
        reason: why it ended; empty while it goes on.
        problem: what went wrong, if something did.
    """

    text: GrowingText
    tokens: list[Token] = field(default_factory=list)
    reason: str = ""
    problem: str = ""


@final
@dataclass(frozen=True)
class Piece:
    """What is new of one reply.

    Args:
        index: of the reply.
        text: new text, maybe none.
        tokens: new tokens.
        reason: why it ended; empty while it goes on.
        before: the token before them; ``None`` = they are the first.
    """

    index: int
    text: str
    tokens: tuple[Token, ...]
    reason: str = ""
    before: int | None = None


@final
class Request:
    """Replies to one prompt for one trade-off.

    Args:
        answer: what answers.
        prompt: ids.
        sampling: one entry a reply.
        max_tokens: of each reply.
        decode: ids to text.
        stops: texts that end a reply.
        top: alternatives wanted for each token.
    """

    def __init__(
        self, answer: Answer, prompt: Any, sampling: Sequence[Sampling], max_tokens: int,
        decode: Decode, stops: Sequence[str] = (), top: int = 0,
    ) -> None:  # fmt: skip
        self.id = uuid.uuid4().hex
        self.choices = [Choice(GrowingText(decode, stops)) for _ in sampling]
        self._drawn = self.choices
        self._deliveries = to_this_loop()
        self._events: asyncio.Queue[tuple[int, Token | Ended]] = asyncio.Queue()
        self._asked = [
            Asked(answer.model, answer.rows, prompt, how, max_tokens, self._teller(n), top,
                  answer.mix)
            for n, how in enumerate(sampling)
        ]  # fmt: skip

    def send(self, scheduler: Scheduler) -> None:
        """Ask for all replies.

        Raises:
            BusyError: if there is no room.
        """
        scheduler.ask(self._asked)

    def cancel(self) -> None:
        """Nobody waits any more: the rows are free at the next token."""
        for asked in self._asked:
            asked.is_cancelled = True

    @property
    def is_cancelled(self) -> bool:
        """Whether the client left before all replies had ended."""
        return any(choice.reason == "cancelled" for choice in self._drawn)

    @property
    def n_tokens(self) -> int:
        """Tokens of all replies, of those that were dropped too."""
        return sum(len(choice.tokens) for choice in self._drawn)

    @property
    def problem(self) -> str:
        """What went wrong with one of them; empty = nothing."""
        return next((c.problem for c in self.choices if c.reason == "error"), "")

    def keep(self, numbers: Sequence[int], problem: str = "") -> None:
        """Of replies that have ended, those that are given; or what went wrong with the choice."""
        self.choices = [self._drawn[n] for n in numbers]
        for choice in self.choices if problem else ():
            choice.reason, choice.problem = "error", problem

    async def kept(self) -> AsyncIterator[Piece]:
        """Replies that are given, each in one piece."""
        for n, choice in enumerate(self.choices):
            yield Piece(n, choice.text.text, tuple(choice.tokens), choice.reason)

    async def pieces(self) -> AsyncIterator[Piece]:
        """What is new, until all replies have ended. Left early, the rest is cancelled."""
        left = len(self._drawn)
        try:
            while left:
                for piece in self._taken(await self._events.get()):
                    left -= bool(piece.reason)
                    yield piece
        finally:
            if left:
                self.cancel()

    async def whole(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Wait until all replies have ended, or the client has left.

        Args:
            receive: of ASGI; what is left to hear of this client is that it leaves.
        """
        watch = asyncio.create_task(self._hear_of_leaving(receive))
        try:
            async for _ in self.pieces():
                pass
        finally:
            watch.cancel()

    async def _hear_of_leaving(self, receive: Callable[[], Awaitable[Any]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.cancel()

    def _taken(self, first: tuple[int, Token | Ended]) -> list[Piece]:
        """All that has come: one piece a reply, so that who falls behind has less to say."""
        events, found = [first], dict[int, Piece]()
        while not self._events.empty():
            events.append(self._events.get_nowait())
        for index, event in events:
            piece, old = self._take(index, event), found.get(index)
            if piece is not None and old is not None:
                text, tokens = old.text + piece.text, old.tokens + piece.tokens
                piece = Piece(index, text, tokens, piece.reason, old.before)
            if piece is not None:
                found[index] = piece
        return list(found.values())

    def _take(self, index: int, event: Token | Ended) -> Piece | None:
        choice = self._drawn[index]
        if choice.reason:
            return None  # it stopped at a text; the rows' own end comes after
        before = choice.tokens[-1].id if choice.tokens else None
        if isinstance(event, Token):
            choice.tokens.append(event)
            new = choice.text.add(event.id)
            if choice.text.is_stopped:
                choice.reason = "stop"
                self._asked[index].is_cancelled = True
            return Piece(index, new, (event,), choice.reason, before)
        rest = choice.text.end()
        choice.reason, choice.problem = event.reason, event.problem
        reason = "stop" if choice.text.is_stopped else event.reason
        return Piece(index, rest, (), reason, before)

    def _teller(self, index: int) -> Callable[[Token | Ended], None]:
        def tell(event: Token | Ended) -> None:
            try:
                self._deliveries.call(self._events.put_nowait, (index, event))
            except RuntimeError:
                self._asked[index].is_cancelled = True  # the server is gone

        return tell
