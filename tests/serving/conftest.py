"""A small server on a free port: three adapters of a random base, merged for any trade-off."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Nothing in these tests may reach a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, PreTrainedTokenizerFast

from paretune.core.interval import Interval
from paretune.core.objective import Objectives
from paretune.core.policy import Steering
from paretune.core.results import Collapse, Cost, MethodResult, PointResult, RunResult
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.models import add_adapter, build_model, load_base, save_policy
from paretune.engines.lm.settings import LoraSettings
from paretune.serving.answered import ShownReply
from paretune.serving.answers import Answers, ServedMethod
from paretune.serving.app import Service, build_app
from paretune.serving.connections import listening, open_socket
from paretune.serving.interview import Interview
from paretune.serving.people import People
from paretune.serving.reward_route import Rewards
from paretune.serving.scheduler import Scheduler
from paretune.serving.users import Users
from paretune.serving.wishes import Wishes
from paretune.serving.words import Words

KEY = "a-key-of-the-test"
NAMES = ("helpful", "harmless")
SHAPE = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<bos>", "<eos>", "user", "assistant", "system"]
    words += [f"w{i}" for i in range(len(words), 40)]
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="w6"))
    inner.pre_tokenizer = WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    made.chat_template = TEMPLATE
    return made


def moved(model: Any, seed: int, part: str = "") -> Any:
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.3)
    return model.eval()


def point(weight: float, means: tuple[float, float]) -> PointResult:
    found = tuple(Interval(m, m - 0.05, m + 0.05) for m in means)
    some = Interval(0.5, 0.4, 0.6)
    return PointResult(
        (weight, 1 - weight), "merge", found, some, some, Collapse(0, 0, 0), 10, False
    )


def result() -> RunResult:
    points = tuple(point(w, (w, 1 - w * w)) for w in (0.0, 0.5, 1.0))
    some = Interval(0.5, 0.4, 0.6)
    soups = MethodResult(
        "soups", points, some, some, some, (1.0, 1.0), None, Cost(1, 1, 1, 1, 2, 3)
    )
    return RunResult("tiny", NAMES, (0.0, 0.0), (1.0, 1.0), "a test", None, (soups,))


def steer(tradeoff: TradeOff) -> Steering:
    return Steering("merge", ("expert-0", "expert-1"), tradeoff.weights, tradeoff)


def shown() -> dict[str, list[ShownReply]]:
    """Measured replies to ask about; their texts try to be more than text."""
    points = (("0-1", (0.0, 1.0)), ("0.5-0.5", (0.5, 0.75)), ("1-0", (1.0, 0.0)))
    return {
        f"<b>w{n}</b> \x1b[31m?": [
            ShownReply(slug, f"<img src=x onerror=alert({n})> {slug}", rewards)
            for slug, rewards in points
        ]
        for n in range(20)
    }


def words_and_length(prompt: str, replies: Sequence[str]) -> Any:
    """Raw rewards in place of the scorers of a run."""
    return np.array([[float(len(reply.split())), -float(len(reply))] for reply in replies])


def service(folder: Path, **how: int) -> Service:
    base = str(folder / "base")
    save_policy(moved(build_model(LlamaConfig(**SHAPE), 0), 9), tokenizer(), folder / "base")
    for i in range(2):
        model = add_adapter(load_base(base, is_frozen=True), LoraSettings(4, 32.0), seed=i)
        save_policy(moved(model, i, "lora_B"), tokenizer(), folder / f"expert-{i}")
    folders = {f"expert-{i}": folder / f"expert-{i}" for i in range(2)}
    found = result()
    methods = {"soups": ServedMethod("soups", found.methods[0].points, steer, folders)}

    def load(steering: Steering, folders: Any) -> Any:
        raise AssertionError("adapters share rows")

    answers = Answers(methods, base, load)
    axes = Objectives(NAMES)
    normalizer = Normalizer.fit(RewardMatrix(axes, torch.rand(8, 2).double().numpy()))
    scheduler = Scheduler(answers.load, 2, 0, **how)
    words = Words(Encoder(tokenizer(), 64, 64), normalizer, 128)
    people = People(Users(folder / "users.sqlite"), Interview(found, "soups", shown))
    wishes = Wishes(found, methods, "soups", people.learned)
    rewards = Rewards(lambda: words_and_length)
    return Service(found, answers, wishes, words, scheduler, 12, lambda: 7, people, rewards)


@dataclass
class Client:
    """Speaks HTTP with the server, and nothing for it."""

    port: int
    service: Service

    def send(
        self, method: str, path: str, body: Any = None, key: str | None = KEY, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        headers["Content-Type"] = "application/json"
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        found = response.read()
        connection.close()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, found

    def json(self, method: str, path: str, body: Any = None, **how: Any) -> tuple[int, Any]:
        status, _, content = self.send(method, path, body, **how)
        return status, json.loads(content)


def serve(made: Service, most: int = 100) -> Iterator[Client]:
    server = listening(build_app(made, KEY), most)
    opened = open_socket("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield Client(opened.getsockname()[1], made)
    server.should_exit = True
    thread.join(30)
    assert made.scheduler.close(30)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    yield from serve(service(tmp_path_factory.mktemp("run")))
