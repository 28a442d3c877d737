"""The report: one self-contained page about one or several runs."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata, resources
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from paretune.core.results import RunResult, Sample, to_json
from paretune.core.traces import TrainingTrace
from paretune.errors import InputError
from paretune.reporting import look, shares
from paretune.reporting.atomic import write_atomic
from paretune.reporting.cells import bar_percent, method_cells
from paretune.reporting.explorer import (
    explorer_data,
    explorer_scripts,
    explorer_style,
    script_hash,
)
from paretune.reporting.figure import front_svgs, tradeoff_svgs
from paretune.reporting.glossary import COSTS, GLOSSARY
from paretune.reporting.look import Look
from paretune.reporting.personalization import (
    column_meaning,
    meanings_shown,
    personalization_cells,
    personalization_sentence,
    user_panels,
)
from paretune.reporting.plain import printable
from paretune.reporting.table import cost_table, floor_table
from paretune.reporting.training import training_blocks
from paretune.reporting.training_figure import QUANTITIES
from paretune.reporting.verdict import agreement, verdicts, what_was_run
from paretune.reporting.wording import number, weights

_PROMPTS, _REPLIES = 6, 5
"""Shown side by side: prompts, and replies of a method to each."""

Traces = Sequence[Sequence[TrainingTrace]]
"""Of each run, what its trainings logged."""

Stepped = Sequence[Collection[str]]
"""Of each run, the methods that answer with measured policies only, not between them."""


def write_report(
    results: Sequence[RunResult],
    path: str | os.PathLike[str],
    *,
    command: str = "",
    traces: Traces = (),
    stepped: Stepped = (),
) -> Path:
    """Write the report page, in full or not at all.

    Args:
        results: at least one run; several are shown side by side, a method with one color in all.
        path: where to.
        command: the command that repeats the run, shown as text.
        traces: of each run, in the same order; may be empty.
        stepped: likewise.

    Returns:
        The path.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    page = render_report(results, command=command, traces=traces, stepped=stepped)
    return write_atomic(path, page.encode("utf-8"))


def render_report(
    results: Sequence[RunResult],
    *,
    command: str = "",
    traces: Traces = (),
    stepped: Stepped = (),
) -> str:
    """The report page as HTML.

    It loads nothing and runs two scripts of this package; its policy (CSP) forbids all others and
    every request. Without scripts it shows all but the explorer. Names, prompts and replies are
    untrusted: control characters are dropped and everything is escaped.

    Args:
        results: at least one run.
        command: the command that repeats the run.
        traces: of each run, in the same order; may be empty.
        stepped: likewise.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    if not results:
        raise InputError("report: found no run, expected at least one")
    shown = [RunResult.from_json(_printable(to_json(result))) for result in results]
    styles = look.looks(shown)
    fronts, tradeoffs = front_svgs(shown), tradeoff_svgs(shown)
    runs = [
        {
            "fronts": fronts[i],
            "tradeoffs": tradeoffs[i],
            "training": training_blocks(result, traces[i] if traces else (), f"run-{i}-"),
            "data": explorer_data(result, styles, _printable([*stepped[i]]) if stepped else ()),
            **_run(result, styles),
        }
        for i, result in enumerate(shown)
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = explorer_scripts()
    columns = {column for run in runs for column in run["columns"]}
    logged = {q for one in traces for trace in one for q, _ in trace.curves}
    return environment.from_string(resource("report.html.jinja")).render(
        title=" · ".join(dict.fromkeys(result.name for result in shown)),
        css=style_sheet() + explorer_style(),
        scripts=scripts,
        script_hashes=" ".join(map(script_hash, scripts)),
        runs=runs,
        styles=styles,
        glossary=GLOSSARY,
        costs={c: COSTS[c] for c in COSTS if any(c in run["cost_columns"] for run in runs)},
        glossary_shown=[column for column in GLOSSARY if column in columns],
        quantities={name: words for q, (name, words) in QUANTITIES.items() if q in logged},
        has_known=any(result.known for result in shown),
        has_reference=any(result.reference for result in shown),
        has_samples=any(result.samples for result in shown),
        color_of=lambda i: look.VARIABLES[look.color(i)],
        command=printable(command),
        version=metadata.version("paretune"),
    )


def _run(result: RunResult, styles: Mapping[str, Look]) -> dict[str, Any]:
    """Everything the template shows of one run, as text."""
    columns, rows, limits = method_cells(result)
    cost = cost_table(result)
    return {
        "name": result.name,
        "objectives": result.objectives,
        "sentence": what_was_run(result),
        "verdicts": verdicts(result),
        "agreement": agreement(result),
        "columns": columns,
        "rows": [
            {
                "name": row.name,
                "failed": row.failed,
                "variable": styles[row.name].variable if row.name in styles else "--muted",
                "cells": row.cells,
            }
            for row in rows
        ],
        "limits": limits,
        "cost_columns": cost.columns[1:],
        # The terminal cuts long names; here the row of the same place has it in full.
        "costs": [(row.name, *cells[1:]) for row, cells in zip(rows, cost.rows, strict=True)],
        "floors": floor_table(result),
        "users": _users(result, styles),
        "samples": _samples(result, styles),
        "notes": result.notes,
        "facts": result.facts,
        "box_from": result.box_from,
        "n_prompts": f"{result.n_prompts:,}",
        "box": [
            (name, number(low), number(high))
            for name, low, high in zip(result.objectives, result.low, result.high, strict=True)
        ],
    }


def _users(result: RunResult, styles: Mapping[str, Look]) -> dict[str, Any] | None:
    """What personalization is worth; ``None`` where no method reads its user from the prompt."""
    found = result.personalization
    if not found:
        return None
    columns, rows = personalization_cells(found)
    return {
        "sentences": [personalization_sentence(one) for one in found],
        "columns": [(column, column_meaning(column)) for column in columns],
        "rows": [
            (row, styles[row.name].variable if row.name in styles else "--muted") for row in rows
        ],
        "panels": user_panels(found),
        "notes": list(dict.fromkeys(note for one in found for note in one.notes)),
        "meanings": meanings_shown(found),
        "facts": [(one.name, one.facts) for one in found],
    }


def _samples(result: RunResult, styles: Mapping[str, Look]) -> list[dict[str, Any]]:
    """The first samples by prompt, in their order; the explorer has them all."""
    by_prompt = groupby(result.samples, key=lambda sample: sample.prompt)
    return [
        {"prompt": prompt, "methods": [_said(result, sample, styles) for sample in found]}
        for prompt, found in islice(by_prompt, _PROMPTS)
    ]


def _said(result: RunResult, sample: Sample, styles: Mapping[str, Look]) -> dict[str, Any]:
    n = len(sample.replies)
    spread = sorted({round(i * (n - 1) / (_REPLIES - 1)) for i in range(_REPLIES)})
    return {
        "name": sample.method,
        "variable": styles[sample.method].variable if sample.method in styles else "--muted",
        "replies": [
            {
                "tradeoff": weights(result.objectives, tradeoff),
                "text": text,
                "bars": [
                    {"name": name, "text": number(reward), "value": bar_percent(unit)}
                    for name, reward, unit in zip(
                        result.objectives, rewards, shares.unit(result, rewards), strict=True
                    )
                ],
            }
            for tradeoff, text, rewards in (
                (sample.tradeoffs[i], sample.replies[i], sample.rewards[i]) for i in spread
            )
        ],
    }


def _printable(value: Any) -> Any:
    """Plain values with every text in them printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_printable(k): _printable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(v) for v in value]
    return value


def style_sheet() -> Markup:
    """The style sheet of every page, with the colors of the figures."""
    css = resource("report.css")
    for name, colors in (("light", look.LIGHT), ("dark", look.DARK)):
        css = css.replace(f"{{{{ {name} }}}}", " ".join(f"{k}: {v};" for k, v in colors.items()))
    return Markup(css)  # nosec B704  # a file of this package and its colors


def resource(name: str) -> str:
    """Text of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
