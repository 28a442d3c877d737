"""quickstart: from nothing to measured fronts against the known one."""

from __future__ import annotations

from typing import Annotated

import typer

from paretune.cli.console import (
    Console,
    prepare,
    relative,
    say_failures,
    show_result,
    tell,
    tell_json,
)
from paretune.cli.options import RUNS, JsonOption, QuietOption, RunsOption

SCENARIOS = {"A": ["helpful", "concise"], "B": ["helpful", "harmless"]}
NAMES = {"A": "brevity", "B": "caution"}


def quickstart(
    runs: RunsOption = RUNS,
    grid: Annotated[int, typer.Option(min=2, help="Trade-offs are multiples of 1/grid.")] = 10,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train four methods on a tiny language model and draw their fronts against the known one.

    Builds and trains the base model itself: no download, no account, no GPU. About three minutes
    on two cores.
    """
    prepare()
    from paretune.core.results import to_json
    from paretune.pipeline.config import parse_config
    from paretune.pipeline.run import execute, load_result, stepped_methods
    from paretune.pipeline.traces import read_traces
    from paretune.reporting.figure import write_figure
    from paretune.reporting.report import write_report

    finished = []
    with Console(quiet).closing() as console:
        for scenario in SCENARIOS:
            config = parse_config(quickstart_config(scenario, grid, workers, seed))
            console.say(f"scenario {scenario} ({' against '.join(SCENARIOS[scenario])})")
            finished.append(execute(config, runs / config.name, "report", console.voice()))
    results = [load_result(f.run) for f in finished]
    folder = runs / "quickstart"
    picture = write_figure(results, folder / "front.png")
    traces = [read_traces(f.run, r.objectives) for f, r in zip(finished, results, strict=True)]
    page = write_report(
        results, folder / "report.html", command="paretune quickstart", traces=traces,
        stepped=[stepped_methods(f.run) for f in finished],
    )  # fmt: skip
    if json:
        tell_json([to_json(result) for result in results])
    for one in finished:
        if not json:
            show_result(one, as_json=False)
        say_failures(one.failed)
    if not json:
        tell(f"\nresult: {relative(page)}  (the fronts as a picture: {relative(picture)})")
        tell(
            f"next:   paretune serve {relative(finished[-1].run.path)}   (drag on its front, chat)"
        )
        tell("        paretune init my-run   (a commented run.yaml for your own data and model)")
    if any(one.failed for one in finished):
        raise typer.Exit(1)


def quickstart_config(scenario: str, grid: int, workers: int, seed: int) -> dict[str, object]:
    """The configuration of one scenario, as a ``run.yaml`` would hold it."""
    return {
        "name": f"quickstart-{NAMES[scenario]}",
        "seed": seed,
        "objectives": SCENARIOS[scenario],
        "data": {"world": "handy", "scenario": scenario, "pairs": 2000},
        "tradeoffs": {"grid": grid},
        "methods": [
            # Each method at settings that serve it in both scenarios (docs/log.md): at those of
            # pareto_hqd, preference methods train until a third of their replies are malformed.
            {"method": "rewarded_soups", "beta": 0.5, "train": {"learning_rate": 2e-4}},
            # Every trade-off is a whole training: as many as three minutes hold.
            {
                "method": "dpo",
                "labels": "weighted",
                "beta": 0.25,
                "train": {"learning_rate": 4e-4},
                "tradeoffs": {"grid": max(2, grid // 2)},
            },
            {"method": "pareto_hqd", "stages": 1},
            {
                "method": "front_imitation",
                "k": 50,
                "rows": 655,
                "steps": 450,
                "batch_size": 16,
                "learning_rate": 5e-3,
            },
        ],
        "train": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 32},
        "generate": {"max_new_tokens": 64},
        "evaluate": {"draws": 8 if scenario == "A" else 16},
        "workers": workers,
    }
