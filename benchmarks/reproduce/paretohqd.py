"""The reproduction page of ParetoHqD: every claim of the paper, measured.

    OMP_NUM_THREADS=1 python benchmarks/reproduce/paretohqd.py --comparison runs \\
        --out docs/reproduce/paretohqd.md

Claims about selected data take a minute. Those about language models run on the embedded world,
two scenarios a seed of about a minute each on one core, and are kept in ``--runs``; ``--finished``
reads what is there and makes nothing. Tuned baselines come from the finished seeds of
``compare-a`` and ``compare-b`` below ``--comparison`` (``paretune compare recipes/compare_a.yaml
recipes/compare_b.yaml``).
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import torch
from paretohqd_answer import answer
from paretohqd_budget import Budget
from paretohqd_page import page, sections
from paretohqd_scores import comparison_runs
from paretohqd_world import World, world_runs

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine_note


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--seeds", type=int, default=5, help="of everything random (5)")
    parser.add_argument("--no-world", action="store_true", help="no language models")
    parser.add_argument("--finished", action="store_true", help="only runs that are finished")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce-paretohqd"))
    parser.add_argument("--comparison", type=Path, help="folder that holds compare-a, compare-b")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    budget, world = Budget(seeds=options.seeds), World()
    if not options.no_world:
        world = world_runs(options.seeds, options.runs, is_made=not options.finished)
        print(f"world: read after {time.process_time() - start:.0f} s", file=sys.stderr)
    comparison = comparison_runs(options.comparison)
    found = sections(budget, world, comparison, options.comparison)
    short = answer(found, world, comparison)
    # Without folders of runs: where they lie is the machine's.
    words = ["--finished" if options.finished else "", f"--seeds {options.seeds}",
             "--runs RUNS", "--comparison RUNS" if comparison else "",
             f"--out {options.out}" if options.out else ""]  # fmt: skip
    command = " ".join(
        ["OMP_NUM_THREADS=1 python benchmarks/reproduce/paretohqd.py", *filter(None, words)]
    )
    made = f"Made by `{command}` on {date.today().isoformat()}. {machine_note('cpu')}"
    text = page(found, short, budget, made)
    print(text, end="")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    print(f"done after {time.process_time() - start:.0f} CPU s", file=sys.stderr)


if __name__ == "__main__":
    main()
