"""The report: one self-contained page about one or several runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from itertools import groupby
from pathlib import Path
from typing import Any, final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from paretune.core.results import Interval, MethodResult, RunResult, Sample, to_json
from paretune.errors import InputError
from paretune.reporting import look, shares
from paretune.reporting.atomic import write_atomic
from paretune.reporting.figure import front_svgs, tradeoff_svgs
from paretune.reporting.glossary import GLOSSARY
from paretune.reporting.look import Look
from paretune.reporting.plain import printable
from paretune.reporting.table import cost_table
from paretune.reporting.verdict import agreement, verdicts, what_was_run
from paretune.reporting.wording import NOTHING, between, number, percent, weights


def write_report(
    results: Sequence[RunResult], path: str | os.PathLike[str], *, command: str = ""
) -> Path:
    """Write the report page, in full or not at all.

    Args:
        results: at least one run; several are shown side by side, a method with one color in all.
        path: where to.
        command: the command that repeats the run, shown as text.

    Returns:
        The path.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    return write_atomic(path, render_report(results, command=command).encode("utf-8"))


def render_report(results: Sequence[RunResult], *, command: str = "") -> str:
    """The report page as HTML.

    It holds no script and loads nothing; its policy (CSP) forbids both. Names, prompts and replies
    are untrusted: control characters are dropped and everything is escaped.

    Args:
        results: at least one run.
        command: the command that repeats the run.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    if not results:
        raise InputError("report: found no run, expected at least one")
    shown = [RunResult.from_json(_printable(to_json(result))) for result in results]
    styles = look.looks(shown)
    fronts, tradeoffs = front_svgs(shown), tradeoff_svgs(shown)
    runs = [
        {"fronts": fronts[i], "tradeoffs": tradeoffs[i], **_run(result, styles)}
        for i, result in enumerate(shown)
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    columns = {column for run in runs for column in run["columns"]}
    return environment.from_string(_resource("report.html.jinja")).render(
        title=" · ".join(dict.fromkeys(result.name for result in shown)),
        css=_style_sheet(),
        runs=runs,
        styles=styles,
        glossary=GLOSSARY,
        glossary_shown=[column for column in GLOSSARY if column in columns],
        has_known=any(result.known for result in shown),
        has_reference=any(result.reference for result in shown),
        has_samples=any(result.samples for result in shown),
        command=printable(command),
        version=metadata.version("paretune"),
    )


@final
@dataclass(frozen=True)
class Bar:
    """A bar from 0 to 1 with its interval, in percent of its width.

    Args:
        value: end of the bar.
        low: start of the interval.
        width: length of the interval.
        limit: the best possible, if known.
    """

    value: float
    low: float
    width: float
    limit: float | None


@final
@dataclass(frozen=True)
class Cell:
    """One cell of the table of methods.

    Args:
        text: the number.
        below: a second, smaller line.
        bar: for a number with an interval.
        is_best: whether no method of the run has a better one.
    """

    text: str
    below: str = ""
    bar: Bar | None = None
    is_best: bool = False


def _run(result: RunResult, styles: Mapping[str, Look]) -> dict[str, Any]:
    """Everything the template shows of one run, as text."""
    methods = [] if result.reference is None else [("reference policy", result.reference)]
    methods += [(method.name, method) for method in result.methods]
    rows = [
        {
            "name": name,
            "failed": method.failed or "",
            "variable": styles[name].variable if name in styles else "--muted",
            "is_possible": False,
            "cells": _cells(result, method),
        }
        for name, method in methods
    ]
    rows += [
        {"name": name, "failed": "", "variable": "--muted", "is_possible": True, "cells": cells}
        for name, cells in _possible(result)
    ]
    # A column where no row has anything to say is left out.
    kept = [
        c
        for c in GLOSSARY
        if any(row["cells"].get(c, Cell(NOTHING)).text != NOTHING for row in rows)
    ]
    for row in rows:
        row["cells"] = [row["cells"][column] for column in kept]
    return {
        "name": result.name,
        "objectives": result.objectives,
        "sentence": what_was_run(result),
        "verdicts": verdicts(result),
        "agreement": agreement(result),
        "columns": kept,
        "rows": rows,
        "cost": cost_table(result),
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


def _cells(result: RunResult, method: MethodResult) -> dict[str, Cell]:
    known = result.known
    steers = [NOTHING if rho is None else f"{rho:.2f}" for rho in method.controllability]
    ceiling = shares.of_ceiling(result, method)
    malformed = shares.malformed(method)
    limit = shares.ceiling(result, method) or (known.hypervolume if known else None)
    return {
        "points": Cell(str(len(method.points))),
        "hypervolume": _measured(result, method, "hypervolume", limit),
        "of limit": Cell(
            percent(shares.of_attainable(result, method)),
            "" if ceiling is None else f"of {len(method.points)}: {percent(ceiling)}",
        ),
        "E[min]": _measured(result, method, "utility_min", known.utility_min if known else None),
        "of best": Cell(percent(shares.of_best_reply(result, method))),
        "Chebyshev": _measured(
            result, method, "utility_chebyshev", known.utility_chebyshev if known else None
        ),
        "steers": Cell(NOTHING if set(steers) == {NOTHING} else "\n".join(steers)),
        "distance": Cell(number(method.distance.value if method.distance else None)),
        "gap": Cell(percent(method.largest_gap if method is not result.reference else None)),
        "collapsed": Cell(
            percent(shares.collapsed(method)),
            "" if malformed is None else f"malformed {percent(malformed)}",
        ),
    }


def _possible(result: RunResult) -> list[tuple[str, dict[str, Cell]]]:
    """What no method can exceed: with as many policies as were measured, and with any number."""
    known, blank = result.known, dict.fromkeys(GLOSSARY, Cell(NOTHING))
    if known is None:
        return []
    sizes = sorted({len(m.points) for m in result.methods} & set(known.ceilings))
    finite = [
        (
            f"best {k} policies",
            blank
            | {
                "points": Cell(str(k)),
                "hypervolume": Cell(number(known.ceilings[k])),
                "of limit": Cell(percent(known.ceilings[k] / known.hypervolume)),
            },
        )
        for k in sizes
    ]
    any_number = blank | {
        "hypervolume": Cell(number(known.hypervolume)),
        "of limit": Cell("100 %"),
        "E[min]": Cell(number(known.utility_min)),
        "Chebyshev": Cell(number(known.utility_chebyshev)),
    }
    return [*finite, ("best possible", any_number)]


def _measured(result: RunResult, method: MethodResult, name: str, limit: float | None) -> Cell:
    found: Interval | None = getattr(method, name)
    if found is None:
        return Cell(NOTHING)
    others = [getattr(m, name).value for m in result.methods if getattr(m, name) is not None]
    low, value, high = (_percent_of_bar(v) for v in (found.low, found.value, found.high))
    end = None if limit is None else _percent_of_bar(limit)
    return Cell(
        number(found.value),
        between(found),
        Bar(value, low, round(max(high - low, 0.8), 2), end),
        found.value == max(others, default=None) and method in result.methods,
    )


def _samples(result: RunResult, styles: Mapping[str, Look]) -> list[dict[str, Any]]:
    """Samples by prompt, in their order."""
    return [
        {"prompt": prompt, "methods": [_said(result, sample, styles) for sample in found]}
        for prompt, found in groupby(result.samples, key=lambda sample: sample.prompt)
    ]


def _said(result: RunResult, sample: Sample, styles: Mapping[str, Look]) -> dict[str, Any]:
    return {
        "name": sample.method,
        "variable": styles[sample.method].variable if sample.method in styles else "--muted",
        "replies": [
            {
                "tradeoff": weights(result.objectives, tradeoff),
                "text": text,
                "bars": [
                    {"name": name, "text": number(reward), "value": _percent_of_bar(unit)}
                    for name, reward, unit in zip(
                        result.objectives, rewards, shares.unit(result, rewards), strict=True
                    )
                ],
            }
            for tradeoff, text, rewards in zip(
                sample.tradeoffs, sample.replies, sample.rewards, strict=True
            )
        ],
    }


def _percent_of_bar(value: float) -> float:
    return round(100 * min(max(value, 0.0), 1.0), 2)


def _printable(value: Any) -> Any:
    """Plain values with every text in them printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_printable(k): _printable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(v) for v in value]
    return value


def _style_sheet() -> Markup:
    """The style sheet with the colors of the figures."""
    css = _resource("report.css")
    for name, colors in (("light", look.LIGHT), ("dark", look.DARK)):
        css = css.replace(f"{{{{ {name} }}}}", " ".join(f"{k}: {v};" for k, v in colors.items()))
    return Markup(css)


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
