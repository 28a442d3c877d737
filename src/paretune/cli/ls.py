"""ls: what there is, a line each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from paretune.cli.console import tell, tell_json
from paretune.cli.options import JsonOption


class What(StrEnum):
    """Things that can be listed."""

    methods = "methods"
    formats = "formats"
    worlds = "worlds"


def ls(
    what: Annotated[What, typer.Argument(help="methods, formats or worlds.")] = What.methods,
    json: JsonOption = False,
) -> None:
    """List methods (with paper and cost), data formats, or worlds with a known front."""
    rows = {What.methods: _methods, What.formats: _formats, What.worlds: _worlds}[what]()
    if json:
        tell_json(rows)
        return
    names = list(rows[0])
    widths = [max(len(str(row[n])) for row in [dict(zip(names, names)), *rows]) for n in names]  # noqa: B905
    for row in [dict(zip(names, names)), *rows]:  # noqa: B905
        tell("  ".join(str(row[n]).ljust(w) for n, w in zip(names, widths, strict=True)).rstrip())
    tell(f"\nnext: paretune init --method {rows[0].get('method', 'dpo')}")


def _methods() -> list[dict[str, str]]:
    from paretune.functional.simplex import lattice
    from paretune.methods import load_methods

    grid = lattice(2, 10)
    return [
        {
            "method": name,
            "trains": f"{len(cls().plan(2, grid))} for 11 trade-offs",
            "learns from": ", ".join(cls().needs) or "nothing",
            "paper": cls.paper,
            "in short": (cls.__doc__ or "").strip().splitlines()[0],
        }
        for name, cls in load_methods().items()
    ]


def _formats() -> list[dict[str, str]]:
    return [
        {"format": name, "a row is": text}
        for name, text in (
            ("records", "prompt, responses with scores, comparisons with labels"),
            ("pairs", "prompt, response_a, response_b, labels in [-1, 1] for each objective"),
            ("responses", "prompt, response, scores; rows with one prompt are joined"),
            ("ultrafeedback", "instruction, completions with four rated aspects"),
            ("helpsteer2", "prompt, response, five attributes"),
            ("pku_saferlhf", "prompt, response_0, response_1, better and safer id"),
            ("hh_rlhf", "chosen, rejected; one axis a file (data.<objective>)"),
        )
    ]


def _worlds() -> list[dict[str, str]]:
    from paretune.bench.advice.scorers import AXES
    from paretune.bench.handy.world import SCENARIOS

    scenarios = [
        {"world": "handy", "scenario": name, "objectives": ", ".join(axes)}
        for name, axes in SCENARIOS.items()
    ]
    return [*scenarios, {"world": "advice", "scenario": "-", "objectives": ", ".join(AXES)}]
