"""What stands before every route: the key, the size of a body, and the time it may take."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final

from paretune.serving.protocol import problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0
LINGER_BYTES = 64 << 20
LINGER_SECONDS = 2.0


@final
class Guard:
    """An ASGI application behind a key and limits.

    Args:
        app: what is guarded.
        key: that a request must bring as ``Authorization: Bearer KEY``.
        open_paths: that need none.
        body_bytes: larger bodies are refused while they are read.
        body_seconds: a body must have arrived by then.
    """

    def __init__(
        self, app: Any, key: str, open_paths: tuple[str, ...] = ("/health",),
        body_bytes: int = BODY_BYTES, body_seconds: float = BODY_SECONDS,
    ) -> None:  # fmt: skip
        self._app, self._key, self._open = app, key.encode(), open_paths
        self._bytes, self._seconds = body_bytes, body_seconds

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if scope["path"] not in self._open and not self._is_known(headers):
            await _refuse(receive, send, 401, "invalid_api_key",
                          "found no valid key, expected Authorization: Bearer KEY")  # fmt: skip
            return
        try:
            body = await asyncio.wait_for(self._body(headers, receive), self._seconds)
        except TimeoutError:
            await _refuse(receive, send, 408, "timeout",
                          f"found no whole body after {self._seconds:g} s")  # fmt: skip
            return
        if body is None:
            await _refuse(receive, send, 413, "body_too_large",
                          f"found a body over {self._bytes:,} bytes")  # fmt: skip
            return
        await self._app(scope, _once(body, receive), send)

    def _is_known(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        # Compared in constant time, whatever was sent.
        return hmac.compare_digest(key.strip(), self._key) and kind.lower() == b"bearer"

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The whole body; ``None`` = too large. What is told to be too large is not read."""
        told = headers.get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self._bytes:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b""
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then what the connection says: that the client left."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return give


async def _refuse(receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    """Tell the client, then read on for a moment, and keep nothing.

    A client that is still sending when its connection closes is told "broken pipe" by its
    system, and never sees the answer that lies in its own buffer.
    """
    content = json.dumps(problem(message, "invalid_request_error", code=code)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_pass_over(receive), LINGER_SECONDS)
    await send({"type": "http.response.body", "body": b""})


async def _pass_over(receive: Receive) -> None:
    size = 0
    while size <= LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
