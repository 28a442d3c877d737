"""The page of a comparison, as HTML for a browser and as Markdown for a repository."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from paretune.core.comparison_results import ComparisonResult
from paretune.core.results import RunResult
from paretune.reporting.atomic import write_atomic
from paretune.reporting.comparison_figures import as_png, as_svg, figures
from paretune.reporting.comparison_tables import (
    YARDSTICKS,
    broken_table,
    cost_table,
    duel_table,
    quality_table,
    search_table,
)
from paretune.reporting.comparison_words import findings, what_was_compared
from paretune.reporting.plain import markdown, one_line, printable
from paretune.reporting.report import resource, style_sheet
from paretune.reporting.table import Table

TITLES = {"quality": "Both yardsticks", "fronts": "Fronts", "cost": "What quality costs"}
CAPTIONS = {
    "quality": "Mean over seeds with its 95 % t interval, every seed as a dot.",
    "fronts": "Every method by itself: all seeds, and their mean in front.",
    "cost": "CPU seconds of training a trade-off against both yardsticks.",
}
_ABOUT = {
    "quality": "K is the number of trade-offs; the ceiling is the most that K policies can reach. "
    "Steers is the rank correlation of an objective's weight and its mean reward. Best in bold.",
    "cost": "Each method is charged what it would cost alone, also for what methods share; "
    "replies that it learns from count as training. A reply "
    "costs CPU seconds in units of a reply of the reference policy.",
    "duels": "In percent, how surely the method of a row is better than the method of a column.",
}


def write_comparison(
    result: ComparisonResult, runs: Sequence[RunResult], folder: str | os.PathLike[str]
) -> Path:
    """Write ``comparison.html``, ``comparison.md`` and a PNG of each figure.

    Args:
        result: a finished comparison.
        runs: results of its seeds.
        folder: where to.

    Returns:
        The path of the HTML page.
    """
    drawn, place = figures(result, runs), Path(folder)
    pictures = {name: f"{name}.png" for name in drawn}
    for name, figure in drawn.items():
        write_atomic(place / pictures[name], as_png(figure))
    text = f"# {markdown(result.name)}\n\n{comparison_markdown(result, pictures)}"
    write_atomic(place / "comparison.md", text.encode("utf-8"))
    page = render_comparison(result, runs, drawn)
    return write_atomic(place / "comparison.html", page.encode("utf-8"))


def comparison_markdown(
    result: ComparisonResult, pictures: Mapping[str, str], heading: str = "##"
) -> str:
    """Findings, figures and tables of a comparison as Markdown.

    Args:
        result: a finished comparison.
        pictures: name of a figure to its path beside the page.
        heading: signs of the largest heading.
    """
    parts = [markdown(what_was_compared(result))]
    parts.append("\n".join(f"- {markdown(text)}" for text in findings(result)))
    parts += [f"![{CAPTIONS[name]}]({pictures[name]})" for name in CAPTIONS if name in pictures]
    for title, about, table in _tables(result):
        told = f"{about}\n\n" if about else ""
        parts.append(f"{heading} {title}\n\n{told}{table.markdown().rstrip()}")
    said = [*(f"- {markdown(note)}" for note in result.notes)]
    said += [f"- {markdown(name)}: {markdown(value)}" for name, value in result.facts.items()]
    said.append(f"- seeds {', '.join(map(str, result.seeds))}; {_spent(result)}")
    parts.append(f"{heading} How it was measured\n\n" + "\n".join(said))
    return "\n\n".join(parts) + "\n"


def render_comparison(
    result: ComparisonResult, runs: Sequence[RunResult], drawn: Mapping[str, Figure]
) -> str:
    """The comparison as one self-contained HTML page; it holds no script and loads nothing."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(resource("comparison.html.jinja")).render(
        css=style_sheet(),
        title=one_line(result.name),
        sentence=what_was_compared(result),
        findings=findings(result),
        drawings=[
            (name, TITLES[name], CAPTIONS[name], as_svg(drawn[name], name, CAPTIONS[name]))
            for name in CAPTIONS
            if name in drawn
        ],
        tables=[_shown(title, about, table) for title, about, table in _tables(result)],
        notes=[one_line(note) for note in result.notes],
        facts={**result.facts, "seeds": ", ".join(map(str, result.seeds)), "spent": _spent(result)},
        runs=list(zip(result.runs, [run.name for run in runs], strict=True)),
        version=metadata.version("paretune"),
    )
    return printable(page)


def _tables(result: ComparisonResult) -> list[tuple[str, str, Table]]:
    """Title, explanation and rows of every table."""
    found: list[tuple[str, str, Table | None]] = [
        ("Quality", _ABOUT["quality"], quality_table(result)),
        ("Broken replies", "", broken_table(result)),
        ("Cost", _ABOUT["cost"], cost_table(result)),
    ]
    for yardstick, title in YARDSTICKS.items():
        n = len(result.seeds)
        about = (
            f"{_ABOUT['duels']} Bootstrap: {result.duels_from}. Between equals all {n} seeds agree "
            f"in 1 of {2 ** (n - 1)} cases."
        )
        found.append((f"Who is better: {title}", about, duel_table(result, yardstick)))
    about = f"Shares of {result.shares_of}; chosen by {_criterion(result)}."
    found.append(("Settings tried", about, search_table(result)))
    return [(title, about, table) for title, about, table in found if table is not None]


def _criterion(result: ComparisonResult) -> str:
    if result.criterion == "both":
        return "the mean of hypervolume and E[min]"
    return YARDSTICKS[result.criterion]


def _spent(result: ComparisonResult) -> str:
    return "CPU seconds spent: " + ", ".join(
        f"{name} {value:,.0f}" for name, value in result.seconds.items()
    )


def _shown(title: str, about: str, table: Table) -> dict[str, Any]:
    rows = [(row[0], [_bold(cell) for cell in row[1:]]) for row in table.rows]
    return {
        "title": title, "id": re.sub(r"\W+", "-", title.lower()).strip("-"), "about": about,
        "columns": table.columns, "rows": rows, "notes": table.notes,
    }  # fmt: skip


def _bold(cell: str) -> Markup:
    """A cell whose best mark becomes an element."""
    if cell.startswith("**") and cell.endswith("**") and len(cell) > 4:
        return Markup('<b class="best">{}</b>').format(cell[2:-2])  # escapes what it fills in
    return escape(cell)
