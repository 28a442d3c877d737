"""64 trade-offs at once against one trade-off, `transformers serve`, and switching adapters.

    python benchmarks/serve.py --sizes tiny,30m --out table.md

Two LoRA adapters of a random base, merged for the trade-off of each request. Every contestant is a
process of its own with one thread, and they take turns, so that a noisy machine hurts all alike;
the clients are this process. All decode greedily, the same prompts, up to the same number of
tokens; the numbers are tokens a second of wall time and of the contestant's CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import itertools

import numpy as np
from train_step import SIZES, Size, new_model, new_tokenizer

AT_ONCE = 64
RANK = 8
KEY = "k"
NAMES = ("helpful", "harmless")


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Args:
        tokens: of a reply.
        rounds: how often everybody takes a turn.
        alone: requests of those who answer one at a time: they are slow.
    """

    tokens: int
    rounds: int
    alone: int


TASKS = {"tiny": Task(64, 5, 16), "30m": Task(64, 3, 8)}
QUICK = {"tiny": Task(16, 2, 4), "30m": Task(8, 1, 2)}
CONTESTANTS = {
    "mixed": "paretune, 64 trade-offs",
    "one": "paretune, one trade-off",
    "alone": "paretune, one request at a time",
    "transformers": "`transformers serve`, one merged model",
    "batching": "`transformers serve --continuous-batching`, one merged model",
    "switch": "PEFT `set_adapter` for every request, `generate`",
}


@dataclass(frozen=True)
class Turn:
    """What one contestant did in one turn.

    Args:
        tokens: of all replies.
        seconds: wall time.
        cpu: seconds of the contestant's process.
        first: seconds to the first token, one a request.
        health: seconds of each ``/health`` meanwhile.
    """

    tokens: int
    seconds: float
    cpu: float
    first: tuple[float, ...] = ()
    health: tuple[float, ...] = ()


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


def cpu_seconds(pid: int) -> float:
    """That a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MB that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def ask(port: int, body: dict[str, Any]) -> tuple[float, int]:
    """Seconds to the first token of a stream, and its tokens."""
    content = json.dumps(body | {"stream": True}).encode()
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    first, last = 0.0, b""
    async for line in reader:
        if line.startswith(b"data: {"):
            last = line
            if not first and any(c["text"] for c in json.loads(line[6:])["choices"]):
                first = time.perf_counter() - started
    writer.close()
    if b'"usage"' not in last:
        raise RuntimeError(f"found {last!r} at the end, expected the usage")
    return first, int(json.loads(last[6:])["usage"]["completion_tokens"])


async def watch_health(port: int, seconds: list[float]) -> None:
    """Ask for the health until cancelled."""
    while True:
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        seconds.append(time.perf_counter() - started)
        writer.close()
        await asyncio.sleep(0.02)


async def ask_all(port: int, bodies: Sequence[dict[str, Any]], at_once: int) -> Any:
    """First tokens, tokens, and the health meanwhile."""
    gate, health = asyncio.Semaphore(at_once), list[float]()

    async def one(body: dict[str, Any]) -> tuple[float, int]:
        async with gate:
            return await ask(port, body)

    watch = asyncio.create_task(watch_health(port, health))
    found = await asyncio.gather(*map(one, bodies))
    watch.cancel()
    return [first for first, _ in found], [n for _, n in found], health


def turn(port: int, pid: int, bodies: Sequence[dict[str, Any]], at_once: int = AT_ONCE) -> Turn:
    """Let a server answer."""
    started, cpu = time.perf_counter(), cpu_seconds(pid)
    first, tokens, health = asyncio.run(ask_all(port, bodies, at_once))
    seconds = time.perf_counter() - started
    return Turn(sum(tokens), seconds, cpu_seconds(pid) - cpu, tuple(first), tuple(health))


def prompts(size: Size) -> list[str]:
    """One a request."""
    rng = np.random.default_rng(0)
    return [
        " ".join(f"w{i}" for i in rng.integers(3, size.vocabulary, rng.integers(*size.prompt)))
        for _ in range(AT_ONCE)
    ]


def measure(name: str, task: Task, folder: Path) -> dict[str, list[Turn]]:
    """All turns of all contestants."""
    size, found = SIZES[name], {c: list[Turn]() for c in CONTESTANTS}
    make_policies(size, folder)
    asked = [
        {"prompt": text, "max_tokens": task.tokens, "temperature": 0} for text in prompts(size)
    ]
    ours = [body | {"model": "bench", "stream_options": {"include_usage": True}} for body in asked]
    bodies = {
        "mixed": [
            body | {"preference": dict(zip(NAMES, weights, strict=True))}
            for body, weights in zip(ours, tradeoffs(), strict=True)
        ],
        "one": [body | {"preference": {NAMES[0]: 0.5, NAMES[1]: 0.5}} for body in ours],
    }
    bodies["alone"] = bodies["mixed"][: task.alone]
    merged = [body | {"model": str(folder / "merged")} for body in asked]
    bodies |= {"transformers": merged, "batching": merged}
    with ExitStack() as stack:
        ports = {"mixed": stack.enter_context(server("ours", name, folder))}
        ports |= {"one": ports["mixed"], "alone": ports["mixed"]}
        for rival in ("transformers", "batching"):
            try:
                ports[rival] = stack.enter_context(server(rival, name, folder))
                turn(*ports[rival], bodies[rival][:1])
            except (RuntimeError, OSError) as error:
                print(f"{rival}: {error}", file=sys.stderr)
                ports.pop(rival, None)
        turn(*ports["mixed"], bodies["mixed"])
        words = [sys.executable, __file__, "--worker", "switch", "--folder", str(folder)]
        words += ["--tokens", str(task.tokens)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        switching = stack.enter_context(process(words, **pipes))
        assert switching.stdin is not None and switching.stdout is not None
        switching.stdout.readline()
        for number in range(task.rounds):
            for c in CONTESTANTS:
                if c == "switch":
                    one = switch_turn(switching, prompts(size)[: task.alone])
                elif c in ports:
                    one = turn(*ports[c], bodies[c], 1 if c == "alone" else AT_ONCE)
                else:
                    continue
                found[c].append(one)
                said = f"{one.tokens / one.seconds:.0f} tokens/s, {one.cpu:.2f} CPU s"
                print(f"{name} round {number + 1}/{task.rounds} {c}: {said}", file=sys.stderr)
    return found


def switch_turn(started: subprocess.Popen[str], texts: Sequence[str]) -> Turn:
    """Let the one who switches answer, one request after the other."""
    assert started.stdin is not None and started.stdout is not None
    clock, cpu, tokens = time.perf_counter(), cpu_seconds(started.pid), 0
    for number, text in enumerate(texts):
        started.stdin.write(f"{number}\t{text}\n")
        started.stdin.flush()
        tokens += int(started.stdout.readline())
    return Turn(tokens, time.perf_counter() - clock, cpu_seconds(started.pid) - cpu)


def speed_table(name: str, found: dict[str, list[Turn]]) -> list[str]:
    """Lines of the table of speed."""
    speed = {
        c: statistics.median(t.tokens / t.seconds for t in turns)
        for c, turns in found.items() if turns
    }  # fmt: skip
    cost = {
        c: statistics.median(t.tokens / max(t.cpu, 0.01) for t in turns)
        for c, turns in found.items() if turns
    }  # fmt: skip
    lines = []
    for c, turns in found.items():
        if not turns:
            lines.append(f"| {name} | {CONTESTANTS[c]} | does not run here | | | | |")
            continue
        first = [s for t in turns for s in t.first]
        late = f"{np.quantile(first, 0.95):.2f}" if first and c != "alone" else ""
        lines.append(
            f"| {name} | {CONTESTANTS[c]} | {speed[c]:.0f} | {speed['mixed'] / speed[c]:.2f} "
            f"| {cost[c]:.0f} | {cost['mixed'] / cost[c]:.2f} | {late} |"
        )
    return lines


def health_table(name: str, found: dict[str, list[Turn]]) -> list[str]:
    """Lines of the table of health, under 64 streams."""
    lines = []
    for c in ("mixed", "transformers", "batching"):
        seconds = [s for t in found[c] for s in t.health]
        if seconds:
            middle, late = np.quantile(seconds, [0.5, 0.99])
            lines.append(
                f"| {name} | {CONTESTANTS[c]} | {len(seconds)} | {1e3 * middle:.0f} "
                f"| {1e3 * late:.0f} | {1e3 * max(seconds):.0f} |"
            )
    return lines


def memory_table(folder: Path, requests: int) -> list[str]:
    """Lines of the table of memory: many requests, every one with a trade-off of its own."""
    texts = prompts(SIZES["tiny"])
    marks = [0, requests // 5, requests]
    held = []
    with server("ours", "tiny", folder) as (port, pid):

        def bodies(start: int, end: int) -> list[dict[str, Any]]:
            return [
                {
                    "model": f"bench@{n / requests!r},{1 - n / requests!r}", "max_tokens": 4,
                    "prompt": texts[n % AT_ONCE], "temperature": n % 2, "seed": n,
                    "stream_options": {"include_usage": True},
                }
                for n in range(start, end)
            ]  # fmt: skip

        turn(port, pid, bodies(0, 200))
        held.append(memory(pid))
        for start, end in itertools.pairwise(marks):
            turn(port, pid, bodies(start, end))
            held.append(memory(pid))
    slope = 1e6 * (held[2] - held[1]) / (marks[2] - marks[1])
    cells = " | ".join(f"{h:.1f}" for h in held)
    return [
        f"| MB after 200 requests | after {marks[1]:,} more | after {marks[2]:,} more "
        f"| bytes a request, the last {marks[2] - marks[1]:,} |",
        "| --- | --- | --- | --- |", f"| {cells} | {slope:.0f} |",
    ]  # fmt: skip


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="tiny,30m", help="with commas")
    parser.add_argument("--requests", type=int, default=10_000, help="for memory; 0 = none")
    parser.add_argument("--quick", action="store_true", help="short replies, few rounds")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    parser.add_argument("--worker", choices=("serve", "switch"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker == "serve":
        return serve(asked.folder, asked.port, AT_ONCE)
    if asked.worker == "switch":
        return switch(asked.folder, asked.tokens)
    from machine import machine_note

    speed = [
        "| size | | tokens/s | mixed / it | tokens / CPU s | mixed / it | first token, p95, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    health = [
        "| size | `/health` under 64 streams | asked | median, ms | p99, ms | largest, ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    grown: list[str] = []
    for name in asked.sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(name, (QUICK if asked.quick else TASKS)[name], Path(folder))
            speed += speed_table(name, found)
            health += health_table(name, found)
            if name == "tiny" and asked.requests:
                grown = ["", *memory_table(Path(folder), asked.requests)]
    table = "\n".join([*speed, "", *health, *grown, "", machine_note("cpu")])
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n")
    return None


if __name__ == "__main__":
    main()
