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
PrimaryOption = Annotated[
    str | None,
    typer.Option(
        "--primary",
        help="Train one policy in place of the file's methods: this objective as good as possible.",
    ),
]
AtLeastOption = Annotated[
    list[str] | None,
    typer.Option(
        "--at-least",
        help="A floor for another objective, with --primary: harmless=0.6 (preferred to the "
        "reference's reply in 60 % of cases) or harmless=reward:4.5. Repeatable.",
    ),
]
AllowChangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-change",
        help="Go on although these settings of trainings are others now, e.g. learning_rate,epochs "
        "or versions: finished policies are kept as they are, stopped ones take them over.",
    ),
]

RUNS = Path("runs")
