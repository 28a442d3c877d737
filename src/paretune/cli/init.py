"""init: a commented run.yaml that runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli.console import tell
from paretune.errors import ConfigError


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write run.yaml.")] = Path(),
    method: Annotated[str, typer.Option(help="A method of `paretune ls methods`.")] = (
        "pareto_hqd"
    ),
) -> None:
    """Write a commented run.yaml that runs as it is, on the embedded world."""
    from paretune.cli.template import run_yaml

    path = folder / "run.yaml"
    if path.exists():
        raise ConfigError(f"{path}: found a file, expected none: nothing is written over")
    text = run_yaml(method)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    tell(f"result: {path}")
    tell(f"next:   paretune check {path}   then   paretune run {path}")
