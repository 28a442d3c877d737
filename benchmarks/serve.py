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
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import itertools

import numpy as np
from serve_contestants import AT_ONCE, KEY, NAMES, make_policies, server, switching, tradeoffs
from train_step import SIZES, Size


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
        switcher = stack.enter_context(switching(folder, task.tokens))
        for number in range(task.rounds):
            for c in CONTESTANTS:
                if c == "switch":
                    one = switch_turn(switcher, prompts(size)[: task.alone])
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
    asked = parser.parse_args()
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


if __name__ == "__main__":
    main()
