"""Speed of the selection: top layers and rays against moocore's full rank, in one run.

    OMP_NUM_THREADS=1 python benchmarks/selection.py [--quick] [--out FILE]

(Not called select.py: beside other scripts that name would hide a module of the standard library.)
Prints a Markdown table of CPU seconds of this process. Contenders take turns on the same rewards,
the best turn counts, and every result is checked against the full rank.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import numpy.typing as npt

from paretune.core.job import Pool
from paretune.functional.dominance import top_layers
from paretune.functional.select import select_ray

Floats = npt.NDArray[np.float64]

K = 100
LAYERS = 5
SIZES = (10_000, 100_000, 1_000_000)
CLOUDS: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "uniform": lambda rng, n, m: rng.random((n, m)),
    "rounded": lambda rng, n, m: rng.normal(size=(n, m)).round(1),
}


def best_of(turns: int, contenders: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, Any]]:
    """CPU seconds of each contender's best turn, and what it returned."""
    found: dict[str, tuple[float, Any]] = {}
    for _ in range(turns):
        for name, run in contenders.items():
            start = time.process_time()
            result = run()
            seconds = time.process_time() - start
            if name not in found or seconds < found[name][0]:
                found[name] = (seconds, result)
    return found


def measure(cloud: str, n: int, n_objectives: int, turns: int) -> list[str]:
    """One row of the table.

    Raises:
        AssertionError: if a contender disagrees with the full rank.
    """
    rewards = CLOUDS[cloud](np.random.default_rng(0), n, n_objectives)
    pool = Pool(rewards, np.arange(n) // 2, np.arange(n))
    weights = tuple(np.arange(1, n_objectives + 1) / sum(range(1, n_objectives + 1)))
    found = best_of(
        turns,
        {
            "rank": lambda: moocore.pareto_rank(rewards, maximise=True),
            "layers": lambda: top_layers(rewards, n_layers=LAYERS),
            "fewest": lambda: top_layers(rewards, min_rows=K),
            "select": lambda: select_ray(pool, weights=weights, k=K),
        },
    )
    rank = found["rank"][1]
    rows, layer = found["layers"][1]
    assert (rows == np.flatnonzero(rank < LAYERS)).all()
    assert (layer == rank[rows]).all()
    rows, layer = found["fewest"][1]
    assert (rows == np.flatnonzero(rank <= np.partition(rank, K - 1)[K - 1])).all()
    assert np.isin(found["select"][1], rows).all()
    full = found["rank"][0]
    cells = [cloud, f"{n:,}", str(n_objectives), f"{full:.4f}"]
    for name in ("layers", "fewest", "select"):
        cells += [f"{found[name][0]:.4f}", f"{full / found[name][0]:.1f}x"]
    return cells


def table(quick: bool, turns: int) -> str:
    """The Markdown table, with what it was measured on."""
    head = ["rewards", "N", "M", "moocore, all layers", f"{LAYERS} layers", "ratio"]
    head += [f"fewest layers with {K} rows", "ratio", f"`select_ray`, k={K}", "ratio"]
    lines = [
        f"Command: `python {' '.join(sys.argv)}`. CPU seconds, best of {turns} turns. moocore "
        f"{version('moocore')}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- " * len(head) + "|",
    ]
    for cloud in CLOUDS:
        for n_objectives in (2, 3, 4):
            for n in SIZES[:2] if quick else SIZES:
                lines.append("| " + " | ".join(measure(cloud, n, n_objectives, turns)) + " |")
                print(f"{cloud} N={n:,} M={n_objectives} done", file=sys.stderr)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 100,000 rows, one turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each contender (3)")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    result = table(options.quick, 1 if options.quick else options.turns)
    print(result, end="")
    if options.out:
        options.out.write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
