"""Connections that keep the server waiting are left, and never keep others waiting."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from tests.serving.conftest import KEY

from paretune.errors import ConfigError
from paretune.serving import connections

HALF = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthori"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)


def line(client: Any, first: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", client.port), timeout=20)
    made.sendall(first)
    return made


def rest(one: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while part := one.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    one.close()
    return found


def is_open(one: socket.socket) -> bool:
    one.settimeout(0.01)
    try:
        return one.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.usefixtures("hurried")
def test_half_a_head_is_answered_and_left(client: Any) -> None:
    started = time.monotonic()
    found = rest(line(client, HALF))
    assert found.startswith(b"HTTP/1.1 408 ") and b"after 0.5 s" in found
    assert 0.4 < time.monotonic() - started < 5


@pytest.mark.usefixtures("hurried")
def test_a_head_that_drips_is_left_all_the_same(client: Any) -> None:
    one = line(client)
    with pytest.raises(OSError):
        for _ in range(200):
            one.sendall(b"G")
            time.sleep(0.05)
    one.close()


@pytest.mark.usefixtures("hurried")
def test_who_says_nothing_is_left_without_a_word(client: Any) -> None:
    assert rest(line(client)) == b""
    assert rest(line(client, HEALTH)).endswith(b'{"status":"ok"}')


@pytest.mark.usefixtures("hurried")
def test_half_a_head_after_an_answer_is_left_too(client: Any) -> None:
    one = line(client, HEALTH + HALF)
    assert b" 408 " in rest(one)


@pytest.mark.usefixtures("hurried")
def test_what_is_being_answered_may_take_longer(client: Any) -> None:
    body = b'{"model": "tiny", "prompt": "w7", "n": 8, "max_tokens": 100, "stream": true}'
    head = f"Host: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    one = line(client, b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n")
    # Half of the time before the head is whole, and all of it before the answer is.
    time.sleep(0.3)
    one.sendall(head)
    time.sleep(0.4)
    one.sendall(body)
    assert b"data: [DONE]" in rest(one)


def test_too_many_connections_cost_those_that_keep_the_server_waiting(client: Any) -> None:
    # The server of these tests holds 100 connections.
    lines: list[socket.socket] = []
    try:
        for _ in range(250):
            lines.append(line(client, HALF))
            if len(lines) % 25 == 0:
                assert client.json("GET", "/health")[0] == 200
        deadline = time.monotonic() + 10
        while sum(map(is_open, lines)) > 100:
            assert time.monotonic() < deadline
        assert not any(map(is_open, lines[:100])) and all(map(is_open, lines[-50:]))
        status, found = client.json(
            "POST", "/v1/completions", {"model": "tiny", "prompt": "w7", "max_tokens": 4}
        )
        assert status == 200, found
    finally:
        for one in lines:
            one.close()


def test_small_answers_are_sent_at_once(client: Any) -> None:
    with line(client) as one:
        seconds = []
        for _ in range(15):
            started = time.perf_counter()
            one.sendall(HEALTH)
            found = b""
            while not found.endswith(b'{"status":"ok"}'):
                found += one.recv(1 << 16)
            seconds.append(time.perf_counter() - started)
    # A system that waits for more to send waits 40 ms.
    assert min(seconds[1:]) < 0.03


def test_an_address_that_is_not_to_be_had() -> None:
    with pytest.raises(ConfigError, match=r"found 192\.0\.2\.1 port 0 not to be had"):
        connections.open_socket("192.0.2.1", 0)
    with connections.open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} not to be had"):
            connections.open_socket("127.0.0.1", port)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    made = connections.Connection.connection_made

    def with_little_room(self: Any, transport: Any) -> None:
        # Else the system holds megabytes for a client before anybody waits for it.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.5)
    monkeypatch.setattr(connections.Connection, "connection_made", with_little_room)


@pytest.mark.usefixtures("impatient")
def test_who_does_not_read_is_left(client: Any) -> None:
    asked = f"GET /api/front HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect(("127.0.0.1", client.port))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(10_000):
                one.sendall(asked * 100)
    assert client.json("GET", "/health")[0] == 200


@pytest.mark.usefixtures("impatient")
def test_who_reads_slowly_is_served(client: Any) -> None:
    asked = f"GET /api/front HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with line(client, asked * 800) as one:
        found, started = b"", time.monotonic()
        while found.count(b"HTTP/1.1 200 OK") < 800:
            part = one.recv(1 << 13)
            assert part, "left too early"
            found += part
            # Always within the time, and longer than it in all.
            time.sleep(0.005)
        assert time.monotonic() - started > 0.6
