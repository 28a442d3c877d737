"""From the thread that decodes to the loop that answers: one hand-over for all that has come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, final
from weakref import WeakKeyDictionary


@final
class Deliveries:
    """Calls that any thread asks for and a loop makes, in their order.

    A loop is woken once for all that has come until it is there. To wake it for every token of
    every reply costs the thread that decodes more than the smaller models do.

    Args:
        loop: that makes the calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_woken = False

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have the loop make a call soon.

        Raises:
            RuntimeError: if the loop is closed.
        """
        self._calls.append((function, arguments))
        # In this order here, and in the other one there: no call is left behind.
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._make)

    def _make(self) -> None:
        self._is_woken = False
        while self._calls:
            function, arguments = self._calls.popleft()
            function(*arguments)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Deliveries] = WeakKeyDictionary()


def to_this_loop() -> Deliveries:
    """What delivers to the loop that runs here."""
    loop = asyncio.get_running_loop()
    if loop not in _of_loops:
        _of_loops[loop] = Deliveries(loop)
    return _of_loops[loop]
