"""Sampled replies by Hugging Face's generate and by paretune: same model, prompts, lengths.

    python benchmarks/generate.py --sizes tiny,30m --out table.md

Hugging Face gets one padded batch of all prompts with all their draws. The number is useful tokens
(up to and including the end of each reply) per second: CPU time of one thread, or wall time on a
GPU. Both take turns, so that a noisy machine hurts both. The first tokens of many draws are
compared with the model's exact probabilities for both, to show that neither changes what it draws.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from machine import machine_note
from train_step import SIZES, new_model
from transformers import AutoModelForCausalLM

from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.models import place

PAD, EOS = 0, 2


@dataclass(frozen=True)
class Task:
    """What is drawn.

    Args:
        prompts: number of prompts.
        draws: replies a prompt.
        lengths: shortest and longest prompt in tokens.
        new_tokens: limit of a reply.
        end_chance: chance of the end token at every place; the mean reply has 1 / chance tokens.
    """

    prompts: int
    draws: int
    lengths: tuple[int, int]
    new_tokens: int
    end_chance: float


TASKS = {
    "tiny": Task(120, 8, (8, 12), 64, 1 / 20),
    "30m": Task(16, 4, (20, 200), 64, 1 / 40),
    "125m": Task(16, 4, (20, 200), 64, 1 / 40),
    "1b": Task(64, 8, (20, 400), 256, 1 / 128),
}


def ending_model(size: str, task: Task, device: str) -> Any:
    """A random model whose replies end by chance, as a trained one's do."""
    model: AutoModelForCausalLM = place(new_model(SIZES[size], device), torch.device(device)).eval()
    odds = float(np.log(task.end_chance / (1 - task.end_chance)))

    def end_by_chance(module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        others = torch.cat([logits[..., :EOS], logits[..., EOS + 1 :]], -1)
        end = others.float().logsumexp(-1, keepdim=True) + odds
        return torch.cat([logits[..., :EOS], end.to(logits.dtype), logits[..., EOS + 1 :]], -1)

    model.get_output_embeddings().register_forward_hook(end_by_chance)
    return model


def by_library(model: Any, prompts: Ragged, task: Task, seed: int) -> list[list[int]]:
    """One padded batch through ``model.generate``."""
    torch.manual_seed(seed)
    width = int(prompts.lengths.max())
    ids = np.full((len(prompts), width), PAD, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row in range(len(prompts)):
        ids[row, width - len(prompts[row]) :] = prompts[row]
        mask[row, width - len(prompts[row]) :] = 1
    out = model.generate(
        input_ids=torch.from_numpy(ids).to(model.device),
        attention_mask=torch.from_numpy(mask).to(model.device),
        do_sample=True,
        top_k=0,
        num_return_sequences=task.draws,
        max_new_tokens=task.new_tokens,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    replies = out[:, width:].tolist()
    return [r[: r.index(EOS)] if EOS in r else r for r in replies]


def by_paretune(model: Any, prompts: Ragged, task: Task, seed: int) -> list[list[int]]:
    """The same through paretune."""
    decoding = Decoding(task.new_tokens, seed=seed, rows=len(prompts) * task.draws)
    replies = generate(model, prompts, EOS, PAD, decoding, draws=task.draws)
    return [reply for of_prompt in replies for reply in of_prompt]


def now(device: str) -> float:
    """Seconds: CPU time, or wall time once the GPU has finished its queue."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


Draw = Callable[[Any, Ragged, Task, int], list[list[int]]]


def rate(draw: Draw, model: Any, prompts: Ragged, task: Task, seed: int, device: str) -> float:
    """Useful tokens per second."""
    start = now(device)
    replies = draw(model, prompts, task, seed)
    took = now(device) - start
    return sum(min(len(r) + 1, task.new_tokens) for r in replies) / took


def total_variation(draw: Draw, model: Any, prompt: Ragged) -> tuple[float, float]:
    """Distance of first tokens from the model's probabilities, and what chance alone gives."""
    n = 20_000
    ids = torch.from_numpy(prompt[0].astype(np.int64))[None].to(model.device)
    with torch.no_grad():
        exact = model(input_ids=ids).logits[0, -1].double().softmax(-1).cpu().numpy()
    first = [r[0] if r else EOS for r in draw(model, prompt, Task(1, n, (0, 0), 1, 0.0), 0)]
    found = np.bincount(first, minlength=len(exact)) / n
    rng = np.random.default_rng(0)
    chance = [np.abs(rng.multinomial(n, exact) / n - exact).sum() / 2 for _ in range(20)]
    return float(np.abs(found - exact).sum() / 2), float(np.max(chance))


def measure(size: str, rounds: int, device: str) -> list[str]:
    """Lines of the table for one size."""
    task = TASKS[size]
    model = ending_model(size, task, device)
    rng = np.random.default_rng(0)
    prompts = Ragged.of(
        [
            rng.integers(3, SIZES[size].vocabulary, rng.integers(*task.lengths))
            for _ in range(task.prompts)
        ]
    )
    rates: dict[str, list[float]] = {"library": [], "paretune": []}
    for number in range(rounds):
        for name, draw in (("library", by_library), ("paretune", by_paretune)):
            # The library's own default attention for it, ours for us.
            model.set_attn_implementation("sdpa" if name == "library" else _ours(device))
            rates[name].append(rate(draw, model, prompts, task, number, device))
        said = ", ".join(f"{n} {r[-1]:.0f}" for n, r in rates.items())
        print(f"{size} round {number + 1}/{rounds}: {said} tokens/s", file=sys.stderr)
    middle = {n: statistics.median(r) for n, r in rates.items()}
    lines = []
    for name, draw in (("library", by_library), ("paretune", by_paretune)):
        agrees = "-"
        # A large vocabulary would need more draws than fit in memory; the code is the same.
        if SIZES[size].vocabulary < 1000:
            distance, chance = total_variation(draw, model, Ragged.of([prompts[0]]))
            agrees = f"{distance:.4f} (chance alone: up to {chance:.4f})"
        label = "Hugging Face `generate`, one padded batch" if name == "library" else "paretune"
        spread = 100 * (max(rates[name]) - min(rates[name])) / middle[name]
        lines.append(
            f"| {size}, {task.prompts} prompts x {task.draws} | {label} | {middle[name]:,.0f} "
            f"| {spread:.0f} % | {middle[name] / middle['library']:.2f} "
            f"| {agrees} |"
        )
    return lines


def _ours(device: str) -> str:
    return "eager" if device == "cpu" else "sdpa"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="tiny,30m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| size | | tokens a second | spread | ratio | first tokens: distance from the model |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size in asked.sizes.split(","):
        lines += measure(size, asked.rounds, asked.device)
    table = "\n".join([*lines, "", machine_note(asked.device)])
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n")


if __name__ == "__main__":
    main()
