"""run, data, train, eval: everything up to a stage; the same command starts and continues."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
from paretune.cli.options import (
    RUNS,
    AllowChangeOption,
    AtLeastOption,
    ConfigArg,
    DryRunOption,
    JsonOption,
    PrimaryOption,
    QuietOption,
    RunsOption,
    SetOption,
)
from paretune.errors import ConfigError

if TYPE_CHECKING:
    from paretune.pipeline.config import RunConfig
    from paretune.pipeline.run import Until

Wish = tuple[str, tuple[str, ...]]
"""Primary objective and floors, as they were typed."""


def run(
    config: ConfigArg,
    set_: SetOption = None,
    primary: PrimaryOption = None,
    at_least: AtLeastOption = None,
    runs: RunsOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    allow_change: AllowChangeOption = None,
) -> None:
    """Data, policies, replies, front, report: a whole run, or what is missing of it."""
    _go(config, set_, runs, json, quiet, dry_run, _wish(primary, at_least), "report", allow_change)


def data(
    config: ConfigArg,
    set_: SetOption = None,
    runs: RunsOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    allow_change: AllowChangeOption = None,
) -> None:
    """Read, split, reward and compare the records of a run."""
    _go(config, set_, runs, json, quiet, dry_run, None, "data", allow_change)


def train(
    config: ConfigArg,
    set_: SetOption = None,
    primary: PrimaryOption = None,
    at_least: AtLeastOption = None,
    runs: RunsOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    allow_change: AllowChangeOption = None,
) -> None:
    """Train every policy of a run."""
    _go(config, set_, runs, json, quiet, dry_run, _wish(primary, at_least), "train", allow_change)


def evaluate(
    config: ConfigArg,
    set_: SetOption = None,
    primary: PrimaryOption = None,
    at_least: AtLeastOption = None,
    runs: RunsOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    allow_change: AllowChangeOption = None,
) -> None:
    """Let every policy reply, judge the replies and measure the fronts."""
    _go(config, set_, runs, json, quiet, dry_run, _wish(primary, at_least), "eval", allow_change)


def _wish(primary: str | None, at_least: list[str] | None) -> Wish | None:
    if primary is None:
        if at_least:
            raise ConfigError("--at-least: found it alone, expected --primary OBJECTIVE with it")
        return None
    return primary, tuple(at_least or ())


def load(path: Path, overrides: list[str] | None, runs: Path) -> tuple[RunConfig, Path]:
    """A configuration and the folder of its run, from a file or from the folder itself."""
    from paretune.pipeline.config import load_config

    if path.is_dir():
        from paretune.pipeline.folder import open_run
        from paretune.pipeline.run import stored_config

        if overrides:
            raise ConfigError("--set: expected a run.yaml with it, found the folder of a run")
        return stored_config(open_run(path)), path
    config = load_config(path, overrides or [])
    return config, runs / config.name


def _go(
    path: Path, overrides: list[str] | None, runs: Path, json: bool, quiet: bool, dry_run: bool,
    wish: Wish | None, until: Until, allow_change: list[str] | None,
) -> None:  # fmt: skip
    prepare()
    config, folder = load(path, overrides, runs)
    if wish is not None:
        from paretune.pipeline.wish import with_wish

        config = with_wish(config, *wish)
        # What comes next is asked of the wish's own folder: the file knows nothing of it.
        path = folder = folder.parent / config.name
    if not quiet and any(method.search for method in config.methods):
        tell("paretune: search is not read here: paretune compare chooses by it", sys.stderr)
    if dry_run:
        from paretune.pipeline.forecast import forecast

        tell(forecast(config, folder))
        return
    # Imported last: a mistake in the file is told without waiting for transformers.
    from paretune.pipeline.run import execute

    with Console(quiet).closing() as console:
        names = [n.strip() for given in allow_change or () for n in given.split(",") if n.strip()]
        finished = execute(config, folder, until, console.voice(), names)
    show_result(finished, json)
    say_failures(finished.failed)
    if json and finished.result is None:
        tell_json({"run": str(folder), "until": until, "failed": finished.failed})
    if not json:
        tell(f"\n{_where(finished.report or folder, until, path, folder)}")
    if finished.failed:
        raise typer.Exit(1)


def _where(made: Path, until: Until, path: Path, folder: Path) -> str:
    """The last lines of every verb: where the result is, and what to type next."""
    following = {
        "data": f"paretune train {path}",
        "train": f"paretune eval {path}",
        "eval": f"paretune report {relative(folder)}",
        "report": f"paretune report {relative(folder)} --open, paretune serve {relative(folder)}",
    }
    return f"result: {relative(made)}\nnext:   {following[until]}"
