"""What `serve.py` compares: the servers, and the one who sets an adapter for every request.

Each is a process of its own, which is this file with ``--worker``, or `transformers serve`.
"""

from __future__ import annotations

import argparse
import http.client
import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from train_step import Size, new_model, new_tokenizer

AT_ONCE = 64
RANK = 8
KEY = "k"
NAMES = ("helpful", "harmless")


def tradeoffs() -> list[tuple[float, float]]:
    """As many as there are requests at once."""
    return [(n / (AT_ONCE - 1), 1 - n / (AT_ONCE - 1)) for n in range(AT_ONCE)]


def make_policies(size: Size, folder: Path) -> None:
    """A base, two adapters, and what the others need: one merged model, an adapter a trade-off."""
    import torch

    from paretune.engines.lm.export import export_policy
    from paretune.engines.lm.merge import merge_policies
    from paretune.engines.lm.models import add_adapter, load_base, save_policy
    from paretune.engines.lm.settings import LoraSettings

    tokenizer, base = new_tokenizer(size), folder / "base"
    save_policy(new_model(size, "cpu"), tokenizer, base)
    experts = [folder / f"expert-{n}" for n in range(2)]
    for seed, expert in enumerate(experts):
        model = add_adapter(load_base(base, is_frozen=True), LoraSettings(RANK, 32.0), seed)
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=noise) * 0.02)
        save_policy(model, tokenizer, expert)
    for number, weights in enumerate(tradeoffs()):
        merged = merge_policies(experts, weights, base)
        place = folder / "switch" / str(number)
        export_policy(merged, tokenizer, str(base), place, is_merged=False)
    merged = merge_policies(experts, (0.5, 0.5), base)
    export_policy(merged, tokenizer, str(base), folder / "merged", is_merged=True)


def serve(folder: Path, port: int, rows: int) -> None:
    """Be paretune's server."""
    import torch

    from paretune.core.policy import Steering
    from paretune.core.results import RunResult
    from paretune.core.rewards import Normalizer
    from paretune.core.tradeoff import TradeOff
    from paretune.engines.lm.encode import Encoder
    from paretune.engines.lm.models import load_tokenizer
    from paretune.engines.lm.row_sampling import Sampling
    from paretune.serving.answers import Answers, ServedMethod
    from paretune.serving.app import Service, build_app
    from paretune.serving.connections import listening, open_socket, run_until_told
    from paretune.serving.scheduler import Asked, Scheduler
    from paretune.serving.wishes import Wishes
    from paretune.serving.words import Words

    torch.set_num_threads(1)
    experts = {f"expert-{n}": folder / f"expert-{n}" for n in range(2)}

    def steer(tradeoff: Any) -> Steering:
        return Steering("merge", tuple(experts), tradeoff.weights, tradeoff)

    def load(steering: Steering, folders: Any) -> Any:
        raise AssertionError("adapters share rows")

    methods = {"soups": ServedMethod("soups", (), steer, experts)}
    result = RunResult("bench", NAMES, (0.0, 0.0), (1.0, 1.0), "", None, ())
    answers = Answers(methods, str(folder / "base"), load)
    tokenizer = load_tokenizer(folder / "base")
    words = Words(Encoder(tokenizer, 512, 512), Normalizer((0, 0), (1, 1), (0, 0), (1, 1), 1), 1024)
    scheduler = Scheduler(answers.load, 2, 0, rows=rows)
    wishes = Wishes(result, methods, "soups")
    service = Service(result, answers, wishes, words, scheduler, 64, lambda: 0)
    # Loaded before anybody asks, as `paretune serve` does.
    one = answers.answer("soups", TradeOff.even(2))
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    prompt, greedy = np.array([3], dtype=np.int32), Sampling(0.0)
    scheduler.ask([Asked(one.model, one.rows, prompt, greedy, 1, heard.put)])
    heard.get()
    run_until_told(listening(build_app(service, KEY), most=512), open_socket("127.0.0.1", port))


def switch(folder: Path, tokens: int) -> None:
    """Be the one who sets an adapter for every request: a prompt and its number a line."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    model = PeftModel.from_pretrained(base, folder / "switch" / "0", adapter_name="0").eval()
    for number in range(1, AT_ONCE):
        model.load_adapter(folder / "switch" / str(number), adapter_name=str(number))
    print("ready", flush=True)
    for line in sys.stdin:
        number, prompt = line.rstrip("\n").split("\t")
        model.set_adapter(number)
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                max_new_tokens=tokens, do_sample=False,
            )  # fmt: skip
        print(found.shape[1] - inputs["input_ids"].shape[1], flush=True)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def process(words: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A contestant, ended with the block."""
    with subprocess.Popen(words, text=True, **how) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def server(name: str, size: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that answers."""
    port = free_port()
    if name == "ours":
        words = [sys.executable, __file__, "--worker", "serve", "--folder", str(folder)]
        words += ["--port", str(port)]
    else:
        program = str(Path(sys.executable).with_name("transformers"))
        words = [program, "serve", str(folder / "merged"), "--port", str(port), "--device", "cpu"]
        words += ["--dtype", "float32", "--log-level", "error"]
        words += ["--continuous-batching"] if name == "batching" else []
    with process(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + 120
        while not answers_health(port):
            if time.monotonic() > deadline or started.poll() is not None:
                raise RuntimeError(f"{name}: found no server, expected one")
            time.sleep(0.2)
        yield port, started.pid


def answers_health(port: int) -> bool:
    """Whether a server is there."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/health")
        return line.getresponse().status == 200
    except OSError:
        return False
    finally:
        line.close()


@contextmanager
def switching(folder: Path, tokens: int) -> Iterator[subprocess.Popen[str]]:
    """The process that sets adapters, ready for its first line."""
    words = [sys.executable, __file__, "--worker", "switch", "--folder", str(folder)]
    words += ["--tokens", str(tokens)]
    with process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started


def main() -> None:
    """Be a contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=("serve", "switch"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--tokens", type=int)
    asked = parser.parse_args()
    if asked.worker == "serve":
        serve(asked.folder, asked.port, AT_ONCE)
    else:
        switch(asked.folder, asked.tokens)


if __name__ == "__main__":
    main()
