"""The reproduction page of multi-objective FSPO: every claim of the report, measured.

    OMP_NUM_THREADS=1 python benchmarks/reproduce/fspo.py --out docs/reproduce/fspo.md

Claims that need no language model take about five minutes. Those about language models run on the
embedded world, four scenarios a seed of about four minutes each on two cores, and are kept in
``--runs``; ``--no-world`` leaves them out. Few-shot users of language models are read from
``--runs`` where they are finished (``fspo_users.py`` makes them).
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import torch
from fspo_answer import answer
from fspo_budget import Budget
from fspo_page import page, sections
from fspo_scores import World
from fspo_users import users_runs
from fspo_world import AXES, n_parameters, world_runs

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine_note


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--seeds", type=int, default=5, help="of everything random (5)")
    parser.add_argument("--no-world", action="store_true", help="no language models")
    parser.add_argument("--scenarios", default="".join(AXES), help="of the world (ABCD)")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce-fspo"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    budget = Budget(seeds=options.seeds)
    world, users = None, {}
    if not options.no_world:
        world = World(world_runs(options.seeds, options.runs, tuple(options.scenarios)))
        users = users_runs(options.seeds, options.runs)
        print(f"world: read after {time.process_time() - start:.0f} s", file=sys.stderr)
    found = sections(budget, world, users)
    short = answer(budget, world, users, n_parameters(options.runs))
    # Without --runs: where the runs lie is the machine's, and the default makes the same ones.
    words = [f"--seeds {options.seeds}", f"--out {options.out}" if options.out else ""]
    command = " ".join(
        ["OMP_NUM_THREADS=1 python benchmarks/reproduce/fspo.py", *filter(None, words)]
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
