"""The reproduction page of the baselines: headline claims of seven methods, measured.

    OMP_NUM_THREADS=1 python benchmarks/reproduce/baselines.py --comparison runs \\
        --out docs/reproduce/baselines.md

Tables take half a minute. Language models are read: the seeds that are measured of
``paretune compare recipes/compare_a.yaml``, of b and of c, and the runs of ``baselines_world.py``.
A comparison without enough seeds is left out; what no comparison has is told as not decided.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import torch
from baselines_fronts import decidable, read_comparisons
from baselines_page import page, sections
from baselines_world import read_runs
from budget import Budget

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine_note

COMPARISONS = ("compare-a", "compare-b", "compare-c")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument(
        "--comparison", type=Path, default=Path("runs"), help="folder that holds comparisons (runs)"
    )
    parser.add_argument("--names", nargs="+", default=COMPARISONS, help="of the comparisons")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, budget = time.process_time(), Budget()
    found = decidable(read_comparisons([options.comparison / name for name in options.names]))
    parts = sections(budget, found, decidable(read_runs(options.comparison)))
    # Without --comparison: where the runs lie is the machine's.
    out = f" --out {options.out}" if options.out else ""
    command = f"OMP_NUM_THREADS=1 python benchmarks/reproduce/baselines.py{out}"
    made = f"Made by `{command}` on {date.today().isoformat()}. {machine_note('cpu')}"
    text = page(made, parts, budget, found)
    print(text, end="")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    print(f"done after {time.process_time() - start:.0f} CPU s", file=sys.stderr)


if __name__ == "__main__":
    main()
