"""export: one trade-off, or a grid of them, as folders that other servers load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretune.cli.console import prepare, relative, tell, tell_json
from paretune.cli.options import JsonOption, RunArg
from paretune.errors import ConfigError


def export(
    run: RunArg,
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    preference: Annotated[
        str | None,
        typer.Option("--preference", help="Weights in the order of the objectives, as 0.7,0.3."),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option("--grid", min=1, help="Every multiple of 1/N instead, an adapter each."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Of the run; default: of the best front.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="A whole model, also where a policy is an adapter.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write policies that transformers and PEFT load alone, with a model card."""
    if (preference is None) == (grid is None):
        raise ConfigError("export: expected one of --preference and --grid")
    prepare()
    from paretune.core.tradeoff import TradeOff
    from paretune.functional.simplex import lattice
    from paretune.pipeline.export import export_run, vllm_command
    from paretune.pipeline.folder import open_run
    from paretune.pipeline.run import load_result

    opened = open_run(run)
    name, n = opened.name, len(load_result(opened).objectives)
    tradeoffs = [TradeOff(_weights(preference or ""))] if grid is None else lattice(n, grid)
    done = export_run(opened, tradeoffs, out, method=method, is_merged=merge)
    command = vllm_command(done, name) if grid is not None and not merge else ""
    if json:
        tell_json({"out": str(out), "kind": done[0].kind, "n": len(done), "asked": len(tradeoffs),
                   "vllm": command})  # fmt: skip
        return
    tell(f"{len(done)} of kind {done[0].kind}, with model cards")
    if len(done) < len(tradeoffs):
        tell(
            f"{len(tradeoffs)} trade-offs were asked for: each is answered by the nearest of these"
        )
    tell(f"\nresult: {relative(out)}")
    tell(
        f"next:   {command or 'load it with transformers, as ' + relative(out) + '/README.md says'}"
    )


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--preference: found {text!r}, expected numbers between commas, as 0.7,0.3"
        ) from None
