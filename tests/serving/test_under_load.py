"""Many clients at once: what each is told is its own, and whoever leaves or comes late is seen."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.conftest import KEY, NAMES, SHAPE, Client, moved, serve, service, tokenizer
from transformers import LlamaConfig

from paretune.core.adapter import TradeOffAdapter
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.models import build_model, load_base, save_policy
from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter
from paretune.serving.answers import Answers, ServedMethod
from paretune.serving.app import Service
from paretune.serving.scheduler import Scheduler
from paretune.serving.wishes import Wishes

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
LONG = {"model": "tiny", "prompt": "w7 w8", "max_tokens": 100, "logprobs": 0, "seed": 2}


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    time.sleep(0.02)
    yield


def slow_service(folder: Path) -> Service:
    """Room for four replies and four that wait; a token takes a fiftieth of a second, no end."""
    made = service(folder)
    assert made.scheduler.close(10)
    scheduler = Scheduler(made.answers.load, -1, 0, rows=4, waiting=4, autocast=unhurried)
    return dataclasses.replace(made, scheduler=scheduler)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from serve(slow_service(tmp_path_factory.mktemp("slow")))


def send(client: Client, body: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("POST", PLAIN, json.dumps(body).encode(), HEADERS)
    return connection


def wait_for(client: Client, at_work: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while client.service.scheduler.at_work != at_work:
        assert time.monotonic() < deadline, client.service.scheduler.at_work
        time.sleep(0.005)


@pytest.mark.parametrize("is_stream", [True, False])
def test_who_leaves_frees_its_rows(slow: Client, is_stream: bool) -> None:
    connection = send(slow, LONG | {"n": 4, "stream": is_stream})
    wait_for(slow, 4, 10)
    if is_stream:
        assert connection.getresponse().read(64).startswith(b"data: ")
    connection.close()
    wait_for(slow, 0, 0.5)  # the whole replies would take two seconds


@pytest.mark.parametrize("is_stream", [True, False])
def test_who_leaves_while_waiting_is_not_waited_for(slow: Client, is_stream: bool) -> None:
    at_work = send(slow, LONG | {"n": 4, "stream": True, "max_tokens": 40})
    wait_for(slow, 4, 10)
    waiting = send(slow, LONG | {"n": 3, "stream": is_stream})
    wait_for(slow, 7, 10)
    waiting.close()
    wait_for(slow, 4, 0.5)
    assert at_work.getresponse().read().endswith(b"data: [DONE]\n\n")
    at_work.close()


def test_a_full_queue_is_told_at_once_and_passes(slow: Client) -> None:
    first = [send(slow, LONG | {"n": 2, "max_tokens": 20}) for _ in range(4)]
    wait_for(slow, 8, 10)
    started = time.monotonic()
    status, headers, content = slow.send("POST", PLAIN, LONG)
    assert time.monotonic() - started < 0.5
    assert status == 429 and int(headers["retry-after"]) >= 1
    told = json.loads(content)["error"]
    assert told["code"] == "server_busy" and "found 8 replies at work" in told["message"]
    assert slow.json("GET", "/health")[0] == 200
    answers = [connection.getresponse() for connection in first]
    assert [answer.status for answer in answers] == [200] * 4
    found = [json.loads(answer.read())["choices"] for answer in answers]
    assert len({tuple(choice["text"] for choice in choices) for choices in found}) == 1
    for connection in first:
        connection.close()
    assert slow.send("POST", PLAIN, LONG | {"max_tokens": 2})[0] == 200


def every_way(folder: Path) -> Service:
    """Policies that are merged, mixed, picked, told, and whole models."""
    made = service(folder)
    soups = made.answers.methods["soups"]
    base = load_base(folder / "base", is_frozen=True)
    told = add_tradeoff_adapter(base, TradeOffAdapter(2, 4, 1))
    save_policy(moved(told, 5, "outer"), tokenizer(), folder / "told")
    for seed in range(2):
        whole = moved(build_model(LlamaConfig(**SHAPE), 0), 20 + seed)
        save_policy(whole, tokenizer(), folder / f"whole-{seed}")

    def pick(tradeoff: TradeOff) -> Steering:
        number = int(tradeoff.weights[0] < 0.5)
        return Steering("pick", (f"expert-{number}",), (1.0,), TradeOff.only(number, 2))

    def of_whole(tradeoff: TradeOff) -> Steering:
        number = int(tradeoff.weights[0] < 0.5)
        return Steering("pick", (f"whole-{number}",), (1.0,), TradeOff.only(number, 2))

    def load(steering: Steering, folders: Any) -> Any:
        return load_base(folders[steering.policies[0]], is_frozen=True).eval()

    experts, wholes = soups.folders, {f"whole-{n}": folder / f"whole-{n}" for n in range(2)}
    ways: dict[str, tuple[Any, Any]] = {
        "soups": (soups.steer, experts),
        "mixed": (lambda t: Steering("mix", tuple(experts), t.weights, t), experts),
        "picked": (pick, experts),
        "told": (lambda t: Steering("condition", ("told",), (1.0,), t), {"told": folder / "told"}),
        "whole": (of_whole, wholes),
    }
    methods = {
        name: ServedMethod(name, soups.points, steer, found)
        for name, (steer, found) in ways.items()
    }
    assert made.scheduler.close(10)
    answers = Answers(methods, str(folder / "base"), load)
    scheduler = Scheduler(answers.load, 2, 0, rows=48, waiting=1000, n_models=6)
    wishes = Wishes(made.result, methods, "soups")
    return dataclasses.replace(made, answers=answers, wishes=wishes, scheduler=scheduler)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from serve(every_way(tmp_path_factory.mktemp("every")), most=300)


def request(n: int) -> tuple[str, dict[str, Any]]:
    weight = (n * 7 % 41) / 40
    method = ("soups", "mixed", "picked", "told", "whole")[n % 5]
    words = " ".join(f"w{7 + (n * k) % 30}" for k in range(1, 3 + n % 9))
    preference = dict(zip(NAMES, (weight, 1 - weight), strict=True))
    body: dict[str, Any] = {
        "model": f"tiny/{method}", "preference": preference,
        "max_tokens": 3 + n % 7, "temperature": (n % 4) / 2, "top_p": (1.0, 0.7)[n % 2],
        "seed": n, "n": 1 + n % 3, "stream": n % 4 < 2,
    }  # fmt: skip
    if n % 3:
        return PLAIN, body | {"prompt": words, "logprobs": 0}
    return CHAT, body | {"messages": [{"role": "user", "content": words}], "logprobs": True}


def tokens_of(client: Client, n: int) -> dict[int, tuple[str, tuple[str, ...], str]]:
    """Text, tokens and end of each reply, however it was sent."""
    path, body = request(n)
    status, _, content = client.send("POST", path, body)
    assert status == 200, content
    if body["stream"]:
        lines = content.decode().strip().split("\n\n")
        assert lines.pop() == "data: [DONE]"
        parts = [c for line in lines for c in json.loads(line.removeprefix("data: "))["choices"]]
    else:
        parts = json.loads(content)["choices"]
    found: dict[int, tuple[str, tuple[str, ...], str]] = {}
    for part in parts:
        text, tokens, end = found.get(part["index"], ("", (), ""))
        said = part.get("message") or part.get("delta") or part
        scores = part["logprobs"] or {}
        new = scores.get("tokens") or [t["token"] for t in scores.get("content", [])]
        found[part["index"]] = (
            text + (said.get("content") or said.get("text") or ""), tokens + tuple(new),
            part["finish_reason"] or end,
        )  # fmt: skip
    return found


def test_two_hundred_mixed_requests_are_what_each_is_alone(mixed: Client) -> None:
    alone = [tokens_of(mixed, n) for n in range(200)]
    together: list[Any] = [None] * 200

    def ask(n: int) -> None:
        together[n] = tokens_of(mixed, n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    said = {tuple(sorted(found.items())) for found in alone}
    assert len(said) > 150, "the requests are not all alike"
    assert {end for found in alone for _, _, end in found.values()} == {"stop", "length"}
    assert mixed.service.scheduler.at_work == 0
