"""Whatever is sent is answered by the protocol, never by a crash, and changes nothing."""

from __future__ import annotations

import copy
import http.client
import json
import random
import socket
from typing import Any

import pytest
from tests.serving.conftest import KEY, Client

ASKED = {"model": "tiny", "prompt": "w7 w8 w9", "max_tokens": 6, "temperature": 1, "seed": 1}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "w7 w8"}], "max_tokens": 3}
VALID: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", ASKED | {"preference": {"helpful": 0.25, "harmless": 0.75}}),
    ("/v1/completions", ASKED | {"at_least": {"harmless": 0.5}, "n": 2, "logprobs": 3}),
    ("/v1/completions", ASKED | {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", ASKED | {"stop": ["w9", "w1"], "top_p": 0.5, "best_of": 1}),
    ("/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 20, "seed": -5}),
    ("/v1/chat/completions", CHAT | {"model": "tiny/soups@0.5,0.5", "max_completion_tokens": 2}),
    ("/v1/chat/completions", CHAT | {"response_format": {"type": "text"}, "user": "someone"}),
]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1e-320, 1e308, -0.0, 10**30, -(10**30), 1 << 63, 1 << 64,
    float("nan"), float("inf"), "", " ", "\x00", "w7 " * 40, "x" * 5000, "\ud800", "\u202e",
    "<eos>", "</s><s>", "{{ 7*7 }}", "../../etc/passwd", "tiny@", "tiny@nan,inf", "tiny@1e999,0",
    "tiny@-1,2", "tiny/soups@0.5", "ten", [], {}, [[]], [None], {"helpful": 1}, {"": 0},
    {"helpful": 1e308, "harmless": 1e308}, {"harmless": 1e-320}, ["w7"] * 3, list(range(50)),
    [{"role": "system", "content": ""}], [{"role": "user", "content": "\x1b[31m"}],
]  # fmt: skip
SIGNS = b'{}[]",:\\eE+-.0129ntfu\x00\xff\xed\xa0\x80 '


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value where another could stand."""
    if isinstance(value, dict):
        return [(value, k) for k in value] + [s for v in value.values() for s in spots(v)]
    if isinstance(value, list):
        return [(value, n) for n in range(len(value))] + [s for v in value for s in spots(v)]
    return []


def odd_body(rng: random.Random) -> tuple[str, bytes]:
    """A request that may be anything, from almost right to noise."""
    path, valid = rng.choice(VALID)
    body = json.loads(json.dumps(valid))
    kind = rng.random()
    if kind < 0.02:
        return path, b'{"prompt":' + rng.choice([b"[", b'{"a":']) * rng.randrange(1, 100_000)
    if kind < 0.05:
        return path, rng.randbytes(rng.randrange(0, 300))
    if kind < 0.06:
        return path, b'{"model":"tiny","seed":' + b"9" * rng.randrange(1, 6000) + b"}"
    for _ in range(rng.choice((1, 1, 1, 2, 4)) if kind < 0.75 else 0):
        if places := spots(body):
            place, key = rng.choice(places)
            if isinstance(place, dict) and rng.random() < 0.15:
                place[rng.choice(["", "x", "\ud800", *place])] = place.pop(key)
            else:
                place[key] = copy.deepcopy(rng.choice(ODD))
        if rng.random() < 0.1:
            name = rng.choice(["user", "stop", "n", "suffix", "echo", "tools"])
            body[name] = copy.deepcopy(rng.choice(ODD))
    content = bytearray(json.dumps(body), "ascii")
    for _ in range(rng.choice((1, 1, 2, 5)) if kind >= 0.75 else 0):
        at = rng.randrange(len(content))
        cut = rng.choice((0, 0, 1, 3, len(content)))
        content[at : at + cut] = bytes(rng.choices(SIGNS, k=rng.choice((0, 1, 1, 4)))) or b" "
    return path, bytes(content)


def said(client: Client) -> Any:
    status, found = client.json("POST", "/v1/completions", ASKED)
    assert status == 200
    return found["choices"]


def send_odd_bodies(client: Client, n: int, seed: int) -> dict[int, int]:
    """What they were answered with: status to number."""
    rng, found = random.Random(seed), dict[int, int]()
    before = said(client)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    for number in range(n):
        path, content = odd_body(rng)
        connection.request("POST", path, content, headers)
        response = connection.getresponse()
        told = response.read()
        assert response.status < 500, (number, path, content[:2000], told)
        found[response.status] = found.get(response.status, 0) + 1
        if response.status == 200 and b"data: " in told[:6]:
            assert told.endswith(b"data: [DONE]\n\n"), (number, content[:2000])
        else:
            value = json.loads(told)
            assert "choices" in value if response.status == 200 else value["error"]["message"]
        if number % 250 == 0:
            assert said(client) == before, (number, content[:2000])
    connection.close()
    assert said(client) == before and client.service.scheduler.at_work == 0
    return found


def test_five_hundred_bodies(client: Client) -> None:
    found = send_odd_bodies(client, 500, seed=0)
    assert found.keys() >= {200, 400, 404, 422}, "some were almost right, and some were noise"


@pytest.mark.slow
def test_ten_thousand_bodies(client: Client) -> None:
    found = send_odd_bodies(client, 10_000, seed=1)
    assert min(found[status] for status in (200, 400, 404, 422)) > 100


def test_heads_that_are_no_heads(client: Client) -> None:
    rng, before = random.Random(2), said(client)
    whole = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        '5\r\n{"mod\r\n0\r\n\r\n'
    ).encode()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(content))
            content[at : at + rng.choice((0, 1, 9))] = rng.randbytes(rng.choice((0, 1, 4)))
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as line:
            line.sendall(bytes(content))
            line.shutdown(socket.SHUT_WR)
            try:
                told = line.recv(1 << 16)
            except ConnectionResetError:
                continue
        assert not told or told.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), (content, told)
    assert said(client) == before
