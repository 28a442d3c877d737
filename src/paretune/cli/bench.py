"""bench: exact problems whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretune.cli.console import Console, prepare, relative, tell, tell_json
from paretune.cli.options import RUNS, JsonOption, QuietOption

if TYPE_CHECKING:
    from paretune.core.truth import ProblemTruth

app = typer.Typer(
    help="Exact problems: the known front of a world, and every method against exact answers.",
    no_args_is_help=True,
)


@app.command()
def world(
    scenario: Annotated[
        str, typer.Argument(help="Scenario of Handy (A, B, C, D), or 'advice'.")
    ] = "A",
    grid: Annotated[int, typer.Option(min=1, help="Trade-offs are multiples of 1/grid.")] = 10,
    json: JsonOption = False,
) -> None:
    """Print the exactly known front of a scenario: what any method can reach at most."""
    from dataclasses import asdict

    from paretune.bench import Advice, Handy
    from paretune.functional.simplex import lattice

    world = Advice() if scenario == "advice" else Handy(scenario)  # type: ignore[arg-type]
    front = world.known_front(tuple(lattice(len(world.objectives), grid)))
    if json:
        tell_json(asdict(front))
        return
    name = "advice" if scenario == "advice" else f"scenario {scenario}"
    tell(f"{name}: {', '.join(world.objectives)}; every reward in [0, 1]\n")
    tell(f"attainable hypervolume            {front.hypervolume:.4f}")
    for n, value in sorted(front.ceilings.items()):
        tell(f"  with {n:>2} policies at most         {value:.4f}")
    if front.utility_min is not None:
        tell(f"best per-reply E[min]             {front.utility_min:.4f}")
    if front.utility_chebyshev is not None:
        tell(f"best per-reply Chebyshev, mean    {front.utility_chebyshev:.4f}")
    tell(f"\nnon-dominated single replies ({len(front.replies)}):")
    for row in front.replies:
        tell("  " + "  ".join(f"{value:.3f}" for value in row))
    tell("\nnext: paretune quickstart   (trains methods against this front)")


@app.command()
def tables(
    problem: Annotated[
        list[str] | None, typer.Option("--problem", help="Only this one; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Only this one, all modes or one: dpo, 'dpo mixed'."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the page and the figures.")] = (
        RUNS / "bench-tables"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the draws that methods make.")] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure every method on small problems whose optima are known, and draw its policies.

    Fails (exit code 1) if a method does not do what it is known to do: reach its optimum, or stay
    within its documented gap. About a minute for everything.
    """
    prepare()
    from paretune.bench.claims import choose, claims_of
    from paretune.bench.problems import chosen
    from paretune.bench.truth import measure
    from paretune.methods import method_names
    from paretune.reporting.truth_page import write_truth_page
    from paretune.reporting.truth_table import tally

    problems = chosen(problem or ())
    claims = claims_of(method_names())
    if method:
        claims = choose(claims, method)
    with Console(quiet).closing() as console:
        found = measure(problems, claims, console.step, seed)
        drawn = [truth for truth in found if truth.methods]
        if drawn:
            console.say("drawing")
            write_truth_page(drawn, out, command=_command(problem, method, seed))
    if json:
        tell_json([truth.to_json() for truth in found])
    else:
        _show(found, out / "tables.html" if drawn else None)
    held, claimed = tally(found)
    if held < claimed:
        raise typer.Exit(1)


def _show(found: Sequence[ProblemTruth], page: Path | None) -> None:
    from paretune.reporting.truth_page import summary
    from paretune.reporting.truth_table import truth_table

    for truth in found:
        tell(f"\n{truth.name}: {truth.about}\n")
        tell(truth_table(truth).markdown())
    where = "no page: nothing was measured" if page is None else relative(page)
    tell(f"\nresult: {summary(found)} {where}")
    tell("next:   open the page in a browser, or paretune quickstart to train language models")


def _command(problem: Sequence[str] | None, method: Sequence[str] | None, seed: int) -> str:
    import shlex

    words = ["paretune", "bench", "tables"]
    for option, values in (("--problem", problem), ("--method", method)):
        for value in values or ():
            words += [option, value]
    return shlex.join([*words, *(["--seed", str(seed)] if seed else [])])
