"""Speed of the exact constrained optimum against scipy's SLSQP, in one run.

    OMP_NUM_THREADS=1 python benchmarks/mopo.py [--quick] [--out FILE]

One primary objective, floors for the others, reverse KL. Tables are solved (a) as one problem whose
multipliers all contexts share and (b) as one independent problem per context. SLSQP solves a sample
of the problems of (b) in the primal, with analytic gradients, and is extrapolated; its optima are
compared with ours. SLSQP cannot hold (a): its working memory grows with the square of the number
of cells.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import machine_note
from scipy.optimize import minimize
from torch import Tensor

from paretune.functional.constrained import ConstrainedOptimum, constrained_optimum

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """Random contexts, with floors between what the reference and the best policy reach."""

    ref: Tensor
    primary: Tensor
    secondary: Tensor
    floors: Tensor

    @classmethod
    def draw(cls, n_contexts: int, n_actions: int, n_objectives: int, seed: int) -> Tables:
        """Contexts that are independent problems, each with floors that one policy keeps."""
        generator = torch.Generator().manual_seed(seed)
        shape = (n_contexts, n_actions)
        ref = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)
        values = torch.rand(*shape, n_objectives, generator=generator, dtype=torch.float64)
        primary, secondary = values[..., 0], values[..., 1:]
        even = (ref + 4 * secondary.sum(-1)).softmax(-1)
        floors = (even[..., None] * secondary).sum(-2)
        return cls(ref, primary, secondary, floors)

    def solve_together(self, tau: float) -> ConstrainedOptimum:
        """(a): floors on the average over contexts."""
        return constrained_optimum(self.ref, self.primary, self.secondary, self.floors.mean(0), tau)

    def solve_each(self, tau: float) -> ConstrainedOptimum:
        """(b): floors in every context."""
        return constrained_optimum(
            self.ref[:, None], self.primary[:, None], self.secondary[:, None], self.floors, tau
        )

    def solve_by_slsqp(self, row: int, tau: float) -> float:
        """Value of one context's optimum by scipy; ``-inf`` where it gives up or misses a floor."""
        ref, floors = self.ref[row].exp().numpy(), self.floors[row].numpy()
        primary, secondary = self.primary[row].numpy(), self.secondary[row].numpy()
        log_ref = self.ref[row].numpy()

        def loss(policy: Floats) -> tuple[float, Floats]:
            log_ratio = np.log(policy) - log_ref
            return -(policy @ (primary - tau * log_ratio)), -(primary - tau * (log_ratio + 1))

        constraints = [
            {"type": "eq", "fun": lambda x: x.sum() - 1, "jac": lambda x: x * 0 + 1},
            {"type": "ineq", "fun": lambda x: x @ secondary - floors, "jac": lambda x: secondary.T},
        ]
        found = minimize(
            loss,
            ref,
            jac=True,
            method="SLSQP",
            bounds=[(1e-12, 1)] * len(ref),
            constraints=constraints,
            options={"ftol": 1e-12, "maxiter": 1000},
        )
        missed = (floors - found.x @ secondary).max()
        return float(-found.fun) if found.success and missed <= 1e-8 else -np.inf


def best_of(turns: int, run: Callable[[], ConstrainedOptimum]) -> tuple[float, ConstrainedOptimum]:
    """CPU seconds of the best turn, and what it returned."""
    seconds = []
    for _ in range(turns):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def measure(tables: Tables, tau: float, turns: int, sample: int) -> list[str]:
    """Two rows of the table.

    Raises:
        AssertionError: if an optimum is not one, or SLSQP finds a better one.
    """
    together, shared = best_of(turns, lambda: tables.solve_together(tau))
    each, own = best_of(turns, lambda: tables.solve_each(tau))
    for found, floors in ((shared, tables.floors.mean(0)), (own, tables.floors)):
        assert found.gap.abs().max() <= 1e-12
        assert (found.constraints - floors).min() >= -1e-12
        assert (found.multipliers * (found.constraints - floors)).abs().max() <= 1e-12
    start = time.process_time()
    values = [tables.solve_by_slsqp(row, tau) for row in range(sample)]
    one = (time.process_time() - start) / sample
    is_solved = np.isfinite(values)
    lost = (own.value[:sample].numpy() - np.array(values))[is_solved]
    assert lost.min() >= -1e-6, lost.min()
    n_contexts, n_actions, n_secondary = tables.secondary.shape
    size = f"{n_contexts:,} x {n_actions} x {n_secondary + 1}"
    peer = one * n_contexts
    return [
        f"| {size} | {tau:g} | one, shared multipliers | {together:.3f} | - | - | - | - |",
        f"| {size} | {tau:g} | {n_contexts:,}, batched | {each:.3f} | {peer:.1f} | "
        f"{peer / each:.0f}x | {lost.max():.0e} | {sample - is_solved.sum()} |",
    ]


def table(quick: bool, turns: int, sample: int) -> str:
    """The Markdown table, with what it was measured on."""
    lines = [
        f"Command: `python {' '.join(sys.argv)}`. CPU seconds, best of {turns} turns; scipy "
        f"{version('scipy')} SLSQP on {sample} of the problems, extrapolated to all.",
        "",
        "| contexts x actions x objectives | tau | problems | paretune | SLSQP, extrapolated "
        "| ratio | most value SLSQP lost | SLSQP failed |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    sizes = [(100, 64, 4)] if quick else [(1000, 16, 3), (1000, 64, 4)]
    for size in sizes:
        tables = Tables.draw(*size, seed=0)
        for tau in (0.3, 0.08, 0.01):
            lines += measure(tables, tau, turns, sample)
            print(f"{size} tau={tau} done", file=sys.stderr)
    return "\n".join([*lines, "", machine_note("cpu")]) + "\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 contexts, one turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each contender (3)")
    parser.add_argument("--sample", type=int, default=50, help="problems that SLSQP solves (50)")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = table(options.quick, 1 if options.quick else options.turns, options.sample)
    print(result, end="")
    if options.out:
        options.out.write_text(result, encoding="utf-8")


if __name__ == "__main__":
    main()
