"""A measured run becomes a service: every way to steer, what is damaged, what is no run."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from paretune.cli.main import app
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.row_sampling import Sampling
from paretune.errors import ConfigError, RunError
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import execute
from paretune.pipeline.serve import open_service
from paretune.serving.app import Service
from paretune.serving.scheduler import Asked, Ended, Token

WHOLE = Steering("pick", ("base",), (1.0,), TradeOff((0.5, 0.5)))
LORA = {"lora": {"rank": 2, "alpha": 16}, "learning_rate": 2e-2}
METHODS = [
    {"method": "rewarded_soups", "train": LORA},
    {"method": "rewarded_soups", "label": "whole"},
    {"method": "mod_decoding", "train": LORA},
    {"method": "dpo", "train": LORA},
    {"method": "dpo", "label": "frozen", "backbone": "frozen"},
    {"method": "front_imitation", "k": 8, "steps": 20},
    {"method": "panacea", "train": {"learning_rate": 1e-2}},
    {"method": "best_of_n", "n": 2},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paretune.pipeline.config import parse_config

    values: dict[str, Any] = {
        "name": "tiny", "objectives": ["helpful", "concise"],
        "data": {"world": "handy", "scenario": "A", "pairs": 48},
        "base": {"corpus": 256, "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32}},
        "tradeoffs": {"grid": 2}, "methods": METHODS,
        "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
        "generate": {"max_new_tokens": 8},
        "evaluate": {"prompts": 6, "resamples": 100, "samples": 1}, "workers": 1,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "tiny"
    finished = execute(parse_config(values), path)
    assert finished.failed == {}
    return path


@pytest.fixture(scope="module")
def service(run: Path) -> Iterator[Service]:
    made = open_service(RunFolder(run))
    yield made
    assert made.scheduler.close(60)


def replies(service: Service, asked: list[tuple[str, TradeOff]]) -> list[list[int]]:
    """Greedy replies to one prompt, all asked for at once."""
    boxes: list[queue.SimpleQueue[Token | Ended]] = [queue.SimpleQueue() for _ in asked]
    together = []
    for (method, tradeoff), box in zip(asked, boxes, strict=True):
        answer = service.answers.answer(method, tradeoff)
        ids = service.words.ids("how do i open a jar ?", answer.steering, 8)
        together.append(
            Asked(answer.model, answer.rows, ids, Sampling(0.0), 8, box.put, mix=answer.mix)
        )
    service.scheduler.ask(together)
    found: list[list[int]] = []
    for box in boxes:
        tokens: list[int] = []
        while isinstance(event := box.get(timeout=120), Token):
            tokens.append(event.id)
        assert event.reason in ("stop", "length"), event
        found.append(tokens)
    return found


@pytest.mark.slow
def test_every_method_answers_as_it_was_measured(run: Path, service: Service) -> None:
    tradeoffs = [TradeOff((w, 1 - w)) for w in (0.0, 0.3, 0.5, 1.0)]
    names = list(service.answers.methods)
    assert names == [str(m.get("label", m["method"])) for m in METHODS]
    asked = [(name, tradeoff) for tradeoff in tradeoffs for name in names]
    found = replies(service, asked)
    base = service.answers._base
    for (name, tradeoff), tokens in zip(asked, found, strict=True):
        method = service.answers.methods[name]
        steering = method.steer(tradeoff)
        model = load_steered(steering, method.folders, base)
        ids = service.words.ids("how do i open a jar ?", steering, 8)
        (expected,) = generate(
            model, Ragged.of([ids]), int(service.words.encoder.tokenizer.eos_token_id),
            service.words.encoder.pad_id, Decoding(8, 0.0),
        )[0]  # fmt: skip
        assert tokens == expected, (name, tradeoff)
    assert len({tuple(tokens) for tokens in found}) > 5


@pytest.mark.slow
def test_a_damaged_policy_is_not_served(run: Path) -> None:
    file = run / "4-policies" / "rewarded_soups" / "expert-0" / "adapter_model.safetensors"
    content = file.read_bytes()
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 1
    file.write_bytes(bytes(broken))
    try:
        with pytest.raises(RunError, match=r"adapter_model\.safetensors: found other content"):
            open_service(RunFolder(run))
    finally:
        file.write_bytes(content)


@pytest.mark.slow
def test_the_default_is_the_largest_front(service: Service, run: Path) -> None:
    reached = {m.name: m.hypervolume.value for m in service.result.methods if m.hypervolume}
    single = [name for name in service.answers.methods if name != "best_of_n"]
    best = max(single, key=lambda name: reached[name])
    assert service.wishes.default == best
    with pytest.raises(ConfigError, match=r"--method: found 'other'; known: .*rewarded_soups"):
        open_service(RunFolder(run), "other")


def test_what_is_not_measured_is_not_served(
    tmp_path: Path, tiny_config: Callable[..., Any]
) -> None:
    execute(tiny_config(), tmp_path / "tiny", "data")
    with pytest.raises(ConfigError, match="expected an evaluated run"):
        open_service(RunFolder(tmp_path / "tiny"))


@pytest.mark.slow
def test_an_exported_policy_answers_like_the_served_one(run: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = ["export", str(run), str(tmp_path / "out"), "--preference", "0.3,0.7"]
    told = CliRunner().invoke(app, [*words, "--method", "rewarded_soups"])
    assert told.exit_code == 0, told.output
    assert "README.md" in told.output
    assert (tmp_path / "out" / "front.png").stat().st_size > 1000
    card = (tmp_path / "out" / "README.md").read_text()
    records = json.loads((run / "1-records" / "manifest.json").read_text())
    normalizer = json.loads((run / "2-rewards" / "rewards-normalizer.json").read_text())
    for said in (
        "# tiny: helpful 0.3, concise 0.7", "merge(expert-0:0.3, expert-1:0.7)", "front.png",
        "Measured at the nearest trade-off, 0.5, 0.5, mean rewards", "| seed | 0 |",
        "| data | the embedded world handy, scenario A, 48 pairs |",
        f"sha256 `{records['files']['train.jsonl']['sha256']}`", f"torch {torch.__version__}",
        f"| concise | {normalizer['objectives']['concise']['mean']:.4g} |",
    ):  # fmt: skip
        assert said in card, card
    service = open_service(RunFolder(run))
    (expected,) = replies(service, [("rewarded_soups", TradeOff((0.3, 0.7)))])
    assert service.scheduler.close(60)
    base = AutoModelForCausalLM.from_pretrained(service.answers._base)
    model = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == model.config.vocab_size
    whole = torch.tensor([list(service.words.ids("how do i open a jar ?", WHOLE, 8))])
    found = model.generate(whole, max_new_tokens=8, do_sample=False)[0, whole.shape[1] :].tolist()
    end = service.words.encoder.tokenizer.eos_token_id
    assert (found[: found.index(end)] if end in found else found) == expected


@pytest.mark.slow
def test_a_grid_is_what_vllm_is_given(run: Path, tmp_path: Path) -> None:
    words = ["export", str(run), str(tmp_path / "grid"), "--grid", "2"]
    told = CliRunner().invoke(app, [*words, "--method", "dpo"])
    assert told.exit_code == 0, told.output
    assert sorted(p.name for p in (tmp_path / "grid").iterdir()) == ["0-1", "0.5-0.5", "1-0"]
    assert f'{{"name": "tiny@0.5,0.5", "path": "{tmp_path / "grid" / "0.5-0.5"}"}}' in told.output
    again = CliRunner().invoke(app, [*words, "--method", "dpo"])
    assert "found something there" in str(again.exception)
    both = CliRunner().invoke(app, [*words[:3], "--grid", "2", "--preference", "1,0"])
    assert "one of --preference and --grid" in str(both.exception)
    mixed = CliRunner().invoke(
        app, ["export", str(run), str(tmp_path / "m"), "--preference", "0.5,0.5",
              "--method", "mod_decoding"],
    )  # fmt: skip
    assert "paretune serve does" in str(mixed.exception)
    best = CliRunner().invoke(
        app, ["export", str(run), str(tmp_path / "m"), "--preference", "0.5,0.5",
              "--method", "best_of_n"],
    )  # fmt: skip
    assert "found the best of 2 replies" in str(best.exception)
    assert not (tmp_path / "m").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_the_best_of_several_replies_is_the_one_that_the_run_would_give(run: Path) -> None:
    from starlette.testclient import TestClient

    from paretune.serving.app import build_app

    made = open_service(RunFolder(run))
    with TestClient(build_app(made, "k"), headers={"Authorization": "Bearer k"}) as client:
        for prompt in ("how do i clean the lamp ?", "tell me how to paint the door ."):
            asked = {"prompt": prompt, "seed": 3, "max_tokens": 8, "logprobs": 0}
            given = client.post("/v1/completions", json=asked | {"model": "tiny/best_of_n@1,0"})
            assert given.status_code == 200, given.text
            # The same two draws of the base, and what the scorers of the run say of them.
            texts = [choice["text"] for choice in _of_base(made, prompt)]
            rewards = client.post("/api/rewards", json={"prompt": prompt, "replies": texts})
            helpful = [row[0] for row in rewards.json()["rewards"]]
            best = texts[max(range(2), key=lambda n: (helpful[n], -n))]
            assert given.json()["choices"][0]["text"] == best
    assert made.scheduler.close(60)


def _of_base(made: Service, prompt: str) -> list[dict[str, str]]:
    boxes: list[queue.SimpleQueue[Token | Ended]] = [queue.SimpleQueue() for _ in range(2)]
    answer = made.answers.answer("best_of_n", TradeOff((1.0, 0.0)))
    ids = made.words.ids(prompt, answer.steering, 8)
    made.scheduler.ask(
        [
            Asked(answer.model, answer.rows, ids, Sampling(1.0, 1.0, 3, n), 8, box.put)
            for n, box in enumerate(boxes)
        ]
    )
    found = []
    for box in boxes:
        tokens: list[int] = []
        while isinstance(event := box.get(timeout=120), Token):
            tokens.append(event.id)
        found.append({"text": made.words.text(tokens)})
    return found


@pytest.mark.slow
def test_the_command_ends_whole_when_it_is_told_to(run: Path) -> None:
    """SIGTERM to a real server with streams running: they end, nobody new is taken, exit code 0."""
    words = [str(Path(sys.executable).with_name("paretune")), "serve", str(run), "--port", "0"]
    environment = os.environ | {"PARETUNE_API_KEY": "k"}
    with subprocess.Popen(
        [*words, "--rows", "2"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        told = next(line for line in process.stdout if "http://127.0.0.1:" in line)
        port = int(told.split("http://127.0.0.1:")[1].split("/")[0])
        lines = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(40)]
        headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
        asked = {"model": "tiny", "prompt": "how do i open a jar ?", "max_tokens": 100}
        for n, line in enumerate(lines):
            body = json.dumps(asked | {"stream": True, "seed": n, "temperature": 2}).encode()
            line.request("POST", "/v1/completions", body, headers)
        first = [lines[0].getresponse(), lines[-1].getresponse()]
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        answers = [first[0], *(line.getresponse() for line in lines[1:-1]), first[1]]
        assert all(answer.read().endswith(b"data: [DONE]\n\n") for answer in answers)
        for line in lines:
            line.close()
        assert process.wait(30) == 0
        assert time.monotonic() - started < 30
