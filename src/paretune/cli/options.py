"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigArg = Annotated[Path, typer.Argument(help="A run.yaml, or the folder of a run.")]
RunArg = Annotated[Path, typer.Argument(help="Folder of a run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value on top of the file, e.g. seed=1.")
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where the folders of runs lie.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")]

RUNS = Path("runs")
