"""bench: exact problems with a known front."""

from __future__ import annotations

import json as json_
from typing import Annotated

import typer

from paretune.cli.options import JsonOption


def bench(
    scenario: Annotated[str, typer.Argument(help="Scenario of the embedded world: A, B, C, D.")] = (
        "A"
    ),
    grid: Annotated[int, typer.Option(min=1, help="Trade-offs are multiples of 1/grid.")] = 10,
    json: JsonOption = False,
) -> None:
    """Print the exactly known front of a scenario: what any method can reach at most."""
    from dataclasses import asdict

    from paretune.bench.handy import Handy
    from paretune.functional.simplex import lattice

    world = Handy(scenario)  # type: ignore[arg-type]
    front = world.known_front(tuple(lattice(len(world.objectives), grid)))
    if json:
        print(json_.dumps(asdict(front)))
        return
    print(f"scenario {scenario}: {', '.join(world.objectives)}; every reward in [0, 1]\n")
    print(f"attainable hypervolume            {front.hypervolume:.4f}")
    for n, value in sorted(front.ceilings.items()):
        print(f"  with {n:>2} policies at most         {value:.4f}")
    if front.utility_min is not None:
        print(f"best per-reply E[min]             {front.utility_min:.4f}")
    if front.utility_chebyshev is not None:
        print(f"best per-reply Chebyshev, mean    {front.utility_chebyshev:.4f}")
    print(f"\nnon-dominated single replies ({len(front.replies)}):")
    for row in front.replies:
        print("  " + "  ".join(f"{value:.3f}" for value in row))
    print("\nnext: paretune quickstart   (trains methods against this front)")
