"""A real local server that judges like any OpenAI-compatible one, with faults on request."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_FRAME = re.compile(r"\[(?P<mark>\w{12}) response [AB] begins\]\n(.*?)\n\[(?P=mark) response", re.S)


class JudgeServer:
    """Counts requests; ``answer`` may be replaced by a test.

    Its own taste: the response that holds the larger number is better by the difference.
    """

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.answer: Callable[[dict[str, Any], int], Any] = lambda question, n: self.score(question)
        self.bias = 0.0
        self.bodies: list[str] = []
        self.keys: set[str | None] = set()
        self._lock = threading.Lock()

    @property
    def asked(self) -> Counter[str]:
        """Request body to how often it came."""
        return Counter(self.bodies)

    def score(self, question: dict[str, Any]) -> str:
        text = question["messages"][0]["content"]
        first, second = (int(m.group(2).split()[-1]) for m in _FRAME.finditer(text))
        return f'{{"score": {max(-3, min(3, first - second)) + 3 * self.bias}}}'

    def take(self, body: bytes, key: str | None) -> int:
        digest = hashlib.sha256(body).hexdigest()
        with self._lock:
            self.bodies.append(digest)
            self.keys.add(key)
            return self.bodies.count(digest)


def completion(content: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


def _app(judge: JudgeServer) -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, Response

    async def chat(request: Any) -> Any:
        body = await request.body()
        times = judge.take(body, request.headers.get("Authorization"))
        answer = judge.answer(await request.json(), times)
        if not isinstance(answer, str | Response):
            answer = await answer
        return answer if isinstance(answer, Response) else JSONResponse(completion(answer))

    app = FastAPI()
    # FastAPI resolves annotations in the module, which does not know this name.
    chat.__annotations__ = {"request": Request}
    app.post("/v1/chat/completions", response_model=None)(chat)
    return app


@pytest.fixture(scope="session")
def _running_judge() -> Iterator[JudgeServer]:
    import uvicorn

    judge = JudgeServer()
    settings = uvicorn.Config(
        _app(judge), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    judge.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    yield judge
    server.should_exit = server.force_exit = True
    thread.join(5)


@pytest.fixture
def judge_server(_running_judge: JudgeServer) -> JudgeServer:
    """The server, as if it had just started."""
    _running_judge.reset()
    return _running_judge


@pytest.fixture
def unused_address() -> Iterator[str]:
    """An address of this machine that refuses connections."""
    # Bound and never listening: nobody else can take the port meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
