"""The page of the truth bench: every exact problem with its figure and its table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from paretune.core.truth import ProblemTruth
from paretune.errors import InputError
from paretune.reporting.atomic import write_atomic
from paretune.reporting.plain import printable
from paretune.reporting.report import resource, style_sheet
from paretune.reporting.truth_figure import TruthFigure, truth_figure
from paretune.reporting.truth_table import COLUMNS, tally, truth_table
from paretune.reporting.wording import listing, number, several


def write_truth_page(
    problems: Sequence[ProblemTruth], folder: str | os.PathLike[str], *, command: str = ""
) -> Path:
    """Write ``tables.html``, and every figure by itself as ``<problem>.png``.

    Args:
        problems: at least one, each with at least one method.
        folder: where to.
        command: that repeats the measurement, shown as text.

    Returns:
        The path of the page.

    Raises:
        InputError: if there is nothing to show.
    """
    figures = [truth_figure(problem) for problem in problems]
    page = render_truth_page(problems, figures, command=command)
    for figure in figures:
        write_atomic(Path(folder) / f"{figure.name}.png", figure.png())
    return write_atomic(Path(folder) / "tables.html", page.encode("utf-8"))


def render_truth_page(
    problems: Sequence[ProblemTruth], figures: Sequence[TruthFigure], *, command: str = ""
) -> str:
    """The page as HTML; it holds no script and loads nothing.

    Args:
        problems: at least one.
        figures: of the problems.
        command: that repeats the measurement.

    Raises:
        InputError: if there is nothing to show.
    """
    if not problems:
        raise InputError("page: found no problem, expected at least one")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(resource("truth.html.jinja")).render(
        css=style_sheet(),
        sentence=summary(problems),
        problems=[_problem(p, f) for p, f in zip(problems, figures, strict=True)],
        claims=_claims(problems),
        glossary=COLUMNS,
        command=printable(command),
        version=metadata.version("paretune"),
    )


def summary(problems: Sequence[ProblemTruth]) -> str:
    """What was measured, in a sentence."""
    held, claimed = tally(problems)
    names = {method.name for problem in problems for method in problem.methods}
    return (
        f"{several(len(names), 'method')} on {several(len(problems), 'problem')}: {held} of "
        f"{several(claimed, 'claim')} held."
    )


def _problem(problem: ProblemTruth, figure: TruthFigure) -> dict[str, Any]:
    table = truth_table(problem)
    n_contexts, n_actions = len(problem.reference), len(problem.reference[0])
    facts = [
        several(n_contexts, "context"),
        several(n_actions, "action"),
        f"objectives {listing(problem.objectives)}, measured in {problem.measured_in}s",
    ]
    if problem.floors:
        facts.append(f"floors {', '.join(number(floor) for floor in problem.floors)}")
    return {
        "name": problem.name,
        "about": problem.about,
        "facts": "; ".join(facts) + ".",
        "drawing": figure.svg(),
        "columns": table.columns,
        "rows": table.rows,
        "notes": table.notes,
    }


def _claims(problems: Sequence[ProblemTruth]) -> list[dict[str, str]]:
    """A row a method: its claim, and on how many problems it held."""
    names = dict.fromkeys(method.name for problem in problems for method in problem.methods)
    rows = []
    for name in names:
        found = [m for problem in problems for m in problem.methods if m.name == name]
        claimed = [m for m in found if m.is_claimed]
        held = sum(not m.broken for m in claimed)
        text = f"{held} of {len(claimed)}" if claimed else "nothing to hold"
        rows.append({"name": name, "says": found[0].claim, "held": text})
    return rows
