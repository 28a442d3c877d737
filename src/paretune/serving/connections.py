"""How the server listens: what a connection may cost, and how a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
from typing import Any, final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from paretune.errors import ConfigError
from paretune.serving.protocol import problem

HEAD_SECONDS = 10.0
UNREAD_SECONDS = 30.0
DRAIN_SECONDS = 30
HEAD_BYTES = 1 << 15


@final
class Connection(H11Protocol):
    """A connection that is left when it keeps the server waiting: uvicorn alone waits forever.

    A request line and its headers must be there ``HEAD_SECONDS`` after the connection was made, or
    after the last answer. What is not read for ``UNREAD_SECONDS`` is not sent. When there are more
    connections than ``limit_concurrency``, the one that the server has waited for the longest is
    closed for the new one; what is being answered never is.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        # Uvicorn would refuse everybody beyond the limit, those who ask for the health too.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        super().connection_made(transport)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._wait_for_head()
        if self._most is not None and len(self.connections) > self._most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        for timer in self._timers.values():
            timer.cancel()

    def on_response_complete(self) -> None:
        """An answer has ended, and the next request may have begun."""
        super().on_response_complete()
        self._wait_for_head()

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._limit("unread", UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._timers.pop("unread").cancel()

    @property
    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_waited_for(self) -> bool:
        """Whether the next thing to happen is up to the client."""
        return not self._has_request or self.cycle.more_body or self.flow.write_paused

    def _wait_for_head(self) -> None:
        self._since = self.loop.time()
        self._limit("head", HEAD_SECONDS, self._leave)

    def _limit(self, name: str, seconds: float, end: Any) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self.loop.call_later(seconds, end)

    def _leave(self) -> None:
        if self._has_request or self.transport.is_closing():
            return
        if self.conn.trailing_data[0]:  # who has sent nothing is not waiting for an answer
            told = f"found no whole request line and headers after {HEAD_SECONDS:g} s"
            content = json.dumps(problem(told, "invalid_request_error", code="timeout")).encode()
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(content), content)
            )
        self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that the server has waited for the longest."""
        waited: list[Any] = [c for c in self.connections if getattr(c, "_is_waited_for", False)]
        last = min(waited, key=lambda one: one._since, default=self)
        self.connections.discard(last)  # it is lost only later, and others may come before
        last.transport.abort()


def listening(app: Any, most: int) -> uvicorn.Server:
    """A server that is not started yet.

    Args:
        app: ASGI application.
        most: connections at once.
    """
    config = uvicorn.Config(
        app, http=Connection, ws="none", log_level="warning", access_log=False,
        limit_concurrency=most, timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=DRAIN_SECONDS, h11_max_incomplete_event_size=HEAD_BYTES,
    )  # fmt: skip
    return uvicorn.Server(config)


def open_socket(host: str, port: int) -> socket.socket:
    """What a server listens on; port 0 = any that is free.

    Raises:
        ConfigError: if nobody may listen there.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: only then does asyncio send small parts at once, not 40 ms later.
    opened = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(2048)
    except OSError as error:
        opened.close()
        raise ConfigError(
            f"--host, --port: found {host} port {port} not to be had ({error.strerror}), expected "
            "an address of this machine and a port that is free"
        ) from error
    return opened


def run_until_told(server: uvicorn.Server, opened: socket.socket) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is being answered.

    A server that was told to stop, and did, has not failed: uvicorn would send itself the signal
    again at the end. What is in memory at the start stays, and no collection of garbage looks at it
    again: with the libraries of models that took a quarter of a second, for which nobody was heard.

    Args:
        server: see :func:`listening`.
        opened: see :func:`open_socket`.
    """
    gc.collect()
    gc.freeze()
    numbers = (signal.SIGTERM, signal.SIGINT)
    old = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        server.run(sockets=[opened])
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        gc.unfreeze()
