"""Forward and backward of every scalarizer against the plain weighted sum, in one run.

    OMP_NUM_THREADS=1 python benchmarks/scalarize.py [--quick] [--out FILE]

Prints a Markdown table of milliseconds. Contenders take turns on the same losses and the best turn
counts. Losses are logistic with signed labels, margins as early in a training; weights are one
trade-off for all pairs. Combining gradients is timed with its inner products given.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from machine import machine_note

from paretune.functional.build_scalarizer import SCALARIZERS, build_scalarizer
from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.scalarized_loss import ScalarizedLoss

SIZES = (64, 512)
OBJECTIVES = (2, 4, 6)
OPTIONS = {"loghv": {"reference": 60.0}}
LIMIT = 10.0
"""Milliseconds that ``pareto_hv`` may take with 64 pairs and four objectives."""


def contender(name: str, n_pairs: int, n_objectives: int) -> Callable[[], torch.Tensor]:
    """A function that runs one forward and one backward, from margins."""
    generator = torch.Generator().manual_seed(0)
    margins = torch.randn(n_pairs, generator=generator) / 10
    labels = 2 * torch.rand(n_pairs, n_objectives, generator=generator) - 1
    scalarizer = build_scalarizer(name, OPTIONS.get(name))
    weights = tuple((torch.arange(n_objectives) + 1.0).tolist())
    loss = ScalarizedLoss(scalarizer, weights)
    state = scalarizer.start(n_objectives)
    if not scalarizer.needs_gradients:
        return lambda: loss.cotangents(margins, labels, None, state)
    rows = loss.objective_cotangents(margins, labels).double()
    gramian, mean = rows @ rows.T, torch.tensor(weights) / sum(weights)
    return lambda: loss.cotangents(margins, labels, None, scalarizer.combine(gramian, mean))


def on_the_front(n_pairs: int, n_objectives: int) -> Callable[[], object]:
    """The hardest case of a hypervolume: every pair is on the front."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(n_pairs, n_objectives, dtype=torch.float64, generator=generator).abs()
    values = (points / points.norm(dim=1, keepdim=True)).numpy()
    return lambda: contributions_and_facets(values, values.min(0) - 1, max_front=64)


def best_of(turns: int, contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each contender's best turn."""
    found = dict.fromkeys(contenders, float("inf"))
    for _ in range(turns):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            found[name] = min(found[name], 1e3 * (time.perf_counter() - start))
    return found


def measure(turns: int) -> list[dict[str, float]]:
    """Milliseconds of every contender, for each number of pairs and objectives."""
    columns = []
    for n_pairs in SIZES:
        for n_objectives in OBJECTIVES:
            contenders: dict[str, Callable[[], object]] = {
                name: contender(name, n_pairs, n_objectives) for name in SCALARIZERS
            }
            contenders["facets, all 64 on the front"] = on_the_front(n_pairs, n_objectives)
            columns.append(best_of(turns, contenders))
            print(f"B={n_pairs} M={n_objectives} done", file=sys.stderr)
    return columns


def table(turns: int) -> str:
    """The Markdown table, with what it was measured on.

    Raises:
        AssertionError: if ``pareto_hv`` takes more than its limit.
    """
    columns = measure(turns)
    assert columns[OBJECTIVES.index(4)]["pareto_hv"] < LIMIT
    head = ["scalarizer", *(f"B={b}, M={m}" for b in SIZES for m in OBJECTIVES)]
    lines = [
        f"Command: `python {' '.join(sys.argv)}`. Milliseconds of one forward and backward from "
        f"margins, best of {turns} turns; in brackets times the weighted sum. "
        f"{machine_note('cpu')} moocore {version('moocore')}, torchjd {version('torchjd')}.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- " * len(head) + "|",
    ]
    for name in columns[0]:
        cells = [f"{c[name]:.2f} ({c[name] / c['linear']:.1f}x)" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three turns instead of fifty")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    result = table(3 if options.quick else 50)
    print(result, end="")
    if options.out:
        options.out.write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
