"""compare: every method of a recipe on the same base, data, prompts and budget, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretune.cli.console import Console, prepare, relative, say_failures, tell, tell_json
from paretune.cli.options import (
    RUNS,
    DryRunOption,
    JsonOption,
    QuietOption,
    RunsOption,
    SetOption,
)
from paretune.errors import ConfigError, InputError

if TYPE_CHECKING:
    from paretune.pipeline.compare import Compared
    from paretune.pipeline.config import RunConfig


def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(help="One or more run.yaml, with what to search below each method."),
    ],
    set_: SetOption = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Runs of everything; default compare.seeds.")
    ] = None,
    runs: RunsOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Compare all methods of a recipe over seeds, each at the best of as many settings.

    Every method tries the combinations of its `search` values on validation prompts and a seed of
    their own (at most `compare.settings` each), then runs on every seed. The same command goes on
    with what is there.
    """
    prepare()
    configs = _load(recipes, set_ or [], seeds)
    if dry_run:
        from paretune.pipeline.compare import plan_text

        tell("\n\n".join(plan_text(config, runs / config.name) for config in configs))
        return
    # Imported last: a mistake in a file is told without waiting for transformers.
    from paretune.pipeline.compare import check_comparison
    from paretune.pipeline.compare import compare as run_comparison

    with Console(quiet).closing() as console:
        console.say("checking data and methods")
        _all([(config.name, lambda c=config: check_comparison(c)) for config in configs])
        done = []
        for config in configs:
            console.say(f"comparison {config.name}")
            done.append(run_comparison(config, runs / config.name, console.voice()))
    _show(done, json)
    if any(compared.failed for compared in done):
        raise typer.Exit(1)


def _load(recipes: list[Path], overrides: list[str], seeds: int | None) -> list[RunConfig]:
    """Every recipe, checked; all problems of all of them at once."""
    from paretune.pipeline.config import load_config, with_seeds

    found: list[RunConfig] = []
    _all(
        [
            (str(path), lambda p=path: found.append(with_seeds(load_config(p, overrides), seeds)))
            for path in recipes
        ]
    )
    names = [config.name for config in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"recipes: found the name {twice[0]!r} twice, expected each once: it is the folder"
        )
    return found


def _all(attempts: list) -> None:
    """Make every attempt; what they refuse is told together."""
    problems = []
    for _, attempt in attempts:
        try:
            attempt()
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def _show(done: list[Compared], as_json: bool) -> None:
    """Tables or JSON on stdout, failures, and where to look next."""
    from paretune.core.comparison_results import comparison_to_json
    from paretune.reporting.comparison_tables import cost_table, quality_table
    from paretune.reporting.comparison_words import findings

    if as_json:
        rows = [comparison_to_json(compared.result) for compared in done]
        tell_json(rows)
    for compared in done:
        if not as_json:
            name = compared.result.name
            tell(f"\n{name}: quality\n\n{quality_table(compared.result).markdown()}")
            tell(f"{name}: cost\n\n{cost_table(compared.result).markdown()}")
            tell("\n".join(findings(compared.result)))
        say_failures(compared.failed)
    if not as_json:
        tell()
        for compared in done:
            tell(f"result: {relative(compared.page)}")
        first = done[0]
        tell(f"next:   paretune report {relative(first.folder / first.result.runs[0])} --open")
