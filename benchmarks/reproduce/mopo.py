"""The reproduction page of MOPO: every claim of the paper, measured.

    OMP_NUM_THREADS=1 python benchmarks/reproduce/mopo.py --out docs/reproduce/mopo.md

Claims that tables decide take about three minutes. Those about language models run on the embedded
world, take about five minutes a seed on two cores, and are kept in ``--runs``; ``--no-world``
leaves them out.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import torch
from budget import Budget
from mopo_page import page
from mopo_tables import PARTS

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine_note


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--seeds", type=int, default=4, help="of everything random (4)")
    parser.add_argument("--no-world", action="store_true", help="tables only")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce-mopo"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = Budget(seeds=options.seeds)
    start = time.process_time()
    found = []
    for part in PARTS:
        found += part.sections(budget)
        seconds = time.process_time() - start
        print(f"{part.__name__}: done after {seconds:.0f} s", file=sys.stderr)
    if not options.no_world:
        # Loads the training stack, which tables do not need.
        import mopo_world

        found += mopo_world.sections(options.seeds, options.runs)
    command = f"OMP_NUM_THREADS=1 python {' '.join(sys.argv)}"
    made = f"Made by `{command}` on {date.today().isoformat()}. {machine_note('cpu')}"
    text = page(found, budget, made)
    print(text, end="")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    print(f"done after {time.process_time() - start:.0f} CPU s", file=sys.stderr)


if __name__ == "__main__":
    main()
