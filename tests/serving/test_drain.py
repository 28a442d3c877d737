"""A server that is told to stop takes nobody new, and finishes what it has begun."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.conftest import KEY

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
ASKED = {"model": "tiny", "prompt": "w7", "max_tokens": 40, "stream": True, "logprobs": 0}
SERVER = """
import sys
from pathlib import Path
from tests.serving.conftest import KEY
from tests.serving.test_under_load import slow_service
from paretune.serving.app import build_app
from paretune.serving.connections import listening, open_socket, run_until_told

made = slow_service(Path(sys.argv[1]))
opened = open_socket("127.0.0.1", 0)
print(opened.getsockname()[1], flush=True)
run_until_told(listening(build_app(made, KEY), 50), opened)
sys.exit(0 if made.scheduler.close(5) else 9)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    words = [sys.executable, "-c", SERVER, str(tmp_path)]
    here = Path(__file__).parents[2]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def wait_for_all(port: int, at_work: int) -> None:
    deadline, told = time.monotonic() + 30, ""
    while f"replies_at_work {at_work}\n" not in told:
        assert time.monotonic() < deadline
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        line.request("GET", "/metrics", None, HEADERS)
        told = line.getresponse().read().decode()
        line.close()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_what_has_begun_ends_whole(
    server: tuple[subprocess.Popen[str], int], number: signal.Signals
) -> None:
    process, port = server
    lines = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(6)]
    for line in lines:
        # Four are decoded, two wait: they have begun too.
        line.request("POST", "/v1/completions", json.dumps(ASKED).encode(), HEADERS)
    wait_for_all(port, 6)
    first = lines[0].getresponse()
    head = first.read(1000)
    idle = socket.create_connection(("127.0.0.1", port), timeout=30)
    told: list[bytes] = [b""] * 6

    def read(n: int) -> None:
        told[n] = head + first.read() if n == 0 else lines[n].getresponse().read()

    threads = [threading.Thread(target=read, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    process.send_signal(number)
    assert idle.recv(1) == b"", "who has asked for nothing is left"
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    assert time.monotonic() - started < 1 and any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert process.wait(30) == 0
    for line in lines:
        line.close()
    for content in told:
        pieces = content.decode().strip().split("\n\n")
        assert pieces.pop() == "data: [DONE]"
        parts = [json.loads(piece.removeprefix("data: "))["choices"][0] for piece in pieces]
        assert [p["finish_reason"] for p in parts] == [None] * (len(parts) - 1) + ["length"]
        assert sum(len((p["logprobs"] or {"tokens": []})["tokens"]) for p in parts) == 40
