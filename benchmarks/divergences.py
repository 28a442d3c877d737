"""Time of combining two policies over a vocabulary, for every divergence, in one run.

    OMP_NUM_THREADS=1 python benchmarks/divergences.py [--device cuda] [--out FILE]

Prints a Markdown table of wall time per batch, and its ratio to `mix_logps`, the closed form of the
reverse KL, which needs neither the reference nor a normalizer. Contenders take turns on the same
policies, the best turn counts. Each divergence combines policies that are optimal for it; the
answer is checked against the optimum of the averaged scores. The total variation defines no
combination, so its row is `tilt`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import machine_note
from torch import Tensor

from paretune.core.constrained import DIVERGENCES
from paretune.functional.divergences import combine, tilt
from paretune.functional.mixing import mix_logps

WEIGHTS = (0.3, 0.7)
CLOSED = "mix_logps"


def contenders(
    rows: int, vocabulary: int, dtype: torch.dtype, device: str
) -> dict[str, Callable[[], Tensor]]:
    """What is timed, by divergence.

    Raises:
        AssertionError: if a combination is not the optimum of the averaged scores.
    """
    source = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, rows, vocabulary, generator=source, dtype=torch.float64)
    # About as uneven as next-token distributions: a few nats of entropy.
    ref = (4 * draw()).log_softmax(-1).to(device, dtype)
    scores = [draw().to(device, dtype) for _ in WEIGHTS]
    average = sum(w * s for w, s in zip(WEIGHTS, scores, strict=True))
    found: dict[str, Callable[[], Tensor]] = {}
    for name in DIVERGENCES:
        if name == "total_variation":
            found[name] = partial(tilt, ref, average, name)
            continue
        # Chi-squared keeps mass everywhere only where scores differ little.
        scale = 0.1 if name == "chi_squared" else 1.0
        policies = torch.stack([tilt(ref, scale * s, name) for s in scores])
        found[name] = partial(combine, ref, policies, WEIGHTS, name)
        if name == "reverse_kl":
            found[CLOSED] = partial(mix_logps, policies, WEIGHTS)
        error = (found[name]().exp() - tilt(ref, scale * average, name).exp()).abs().max()
        assert error < (1e-12 if dtype == torch.float64 else 1e-4), (name, error)
    return found


def best_of(turns: int, run: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Seconds of each contender's best turn."""
    best = dict.fromkeys(run, float("inf"))
    for _ in range(turns):
        for name, contender in run.items():
            start = time.perf_counter()
            # Reading a number waits for the device.
            contender()[0, 0].item()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def table(rows: int, vocabulary: int, turns: int, device: str) -> str:
    """The Markdown table, with what it was measured on."""
    best = {
        dtype: best_of(turns, contenders(rows, vocabulary, dtype, device))
        for dtype in (torch.float32, torch.float64)
    }
    lines = [
        f"Command: `python {' '.join(sys.argv)}`. {rows} rows x {vocabulary:,} actions, 2 "
        f"policies; milliseconds a batch, best of {turns} turns. {machine_note(device)}",
        "",
        "| divergence | float32 | ratio | float64 | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in (CLOSED, *DIVERGENCES):
        cells = [f"{name} (tilt)" if name == "total_variation" else name]
        for seconds in best.values():
            cells += [f"{1e3 * seconds[name]:.1f}", f"{seconds[name] / seconds[CLOSED]:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64, help="rows of the batch (64)")
    parser.add_argument("--vocabulary", type=int, default=51_200, help="actions (51,200)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each contender (5)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    result = table(options.rows, options.vocabulary, options.turns, options.device)
    print(result, end="")
    if options.out:
        options.out.write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
