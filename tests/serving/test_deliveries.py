"""What many threads tell one loop arrives whole, in the order of each, with few wakes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from paretune.serving.deliveries import Deliveries, to_this_loop


def test_everything_arrives_in_order_and_few_wakes_do() -> None:
    heard: list[tuple[int, int]] = []
    wakes = 0

    async def main() -> None:
        nonlocal wakes
        loop = asyncio.get_running_loop()
        real = loop.call_soon_threadsafe

        def counted(*how: Any) -> Any:
            nonlocal wakes
            wakes += 1
            return real(*how)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        deliveries = to_this_loop()
        assert to_this_loop() is deliveries

        def tell(thread: int) -> None:
            for n in range(2000):
                deliveries.call(heard.append, (thread, n))

        threads = [threading.Thread(target=tell, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        while len(heard) < 8000:
            await asyncio.sleep(0.001)
        for thread in threads:
            thread.join()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert len(heard) == 8000 and wakes < 4000
    for thread in range(4):
        assert [n for who, n in heard if who == thread] == list(range(2000))


def test_a_loop_that_is_gone_is_told() -> None:
    loop = asyncio.new_event_loop()
    deliveries = Deliveries(loop)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        deliveries.call(print)
