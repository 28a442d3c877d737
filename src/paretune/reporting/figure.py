"""Figures of one or several runs: PNG for a README, inline SVG for the page.

Matplotlib's objects are used directly, without ``pyplot``: no window, no global figure, and the
same input gives the same bytes.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paretune.core.results import RunResult
from paretune.errors import InputError
from paretune.reporting import look, panels
from paretune.reporting.atomic import write_atomic
from paretune.reporting.plain import one_line
from paretune.reporting.svg import inline_svg

Handle = Line2D | Patch

_DOTS = 200
_CROSS: dict[str, Any] = {"ls": "none", "marker": "x", "ms": 7, "mew": 2}
_PANEL = 4.0
"""Side of a panel in inches."""


def front_figure(results: Sequence[RunResult]) -> Figure:
    """The fronts of one or several runs side by side, with one legend below.

    Args:
        results: runs; two objectives make one panel a run, more make a row of panels a run, one
            for every two objectives.

    Returns:
        A figure that is not attached to any window.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    grid = _grid(results)
    with settings():
        styles = look.looks(results)
        figure, cells = _sheet([len(row) for row in grid], _PANEL, *_handles(results, styles))
        for row, cell_row in zip(grid, cells, strict=True):
            for place, ((result, pair), axes) in enumerate(zip(row, cell_row, strict=True)):
                panels.draw_front(axes, result, pair, styles, "")
                if place == 0 or len(result.objectives) == 2:
                    axes.set_title(panels.title(result))
    return figure


def tradeoff_figure(results: Sequence[RunResult]) -> Figure:
    """Trade-off against reward: a row a run, a panel an objective.

    Args:
        results: at least one run.

    Returns:
        A figure that is not attached to any window.

    Raises:
        InputError: if there is no run, or a run has fewer than two objectives.
    """
    _grid(results)
    with settings():
        styles = look.looks(results)
        widths = [len(result.objectives) for result in results]
        figure, cells = _sheet(widths, 2.7, *_handles(results, styles, tradeoffs=True))
        for result, row in zip(results, cells, strict=True):
            for i, axes in enumerate(row):
                panels.draw_tradeoff(axes, result, i, styles, "")
            row[0].set_title(panels.title(result))
    return figure


def front_svgs(results: Sequence[RunResult]) -> list[list[str]]:
    """One inline SVG for every two objectives of every run; the page draws the legend."""
    styles = look.looks(results)
    return [
        [
            _panel_svg(
                lambda axes, prefix, r=result, p=pair: panels.draw_front(
                    axes, r, p, styles, prefix
                ),
                _PANEL,
                f"front-{n}-{k}-",
                f"Front of {panels.title(result)}",
            )
            for k, pair in enumerate(panels.pairs(result))
        ]
        for n, result in enumerate(results)
    ]


def tradeoff_svgs(results: Sequence[RunResult]) -> list[list[str]]:
    """One inline SVG for every objective of every run."""
    styles = look.looks(results)
    return [
        [
            _panel_svg(
                lambda axes, prefix, r=result, i=i: panels.draw_tradeoff(
                    axes, r, i, styles, prefix
                ),
                2.7,
                f"tradeoff-{n}-{i}-",
                f"Reward against weight: {one_line(name, 40)}",
            )
            for i, name in enumerate(result.objectives)
        ]
        for n, result in enumerate(results)
    ]


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without a date or a version in it."""
    with settings():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DOTS, metadata={"Software": None})
    return buffer.getvalue()


def write_figure(results: Sequence[RunResult], path: str | os.PathLike[str]) -> Path:
    """Write the fronts of one or several runs as a PNG, in full or not at all.

    Args:
        results: at least one run.
        path: where to.

    Returns:
        The path.

    Raises:
        InputError: if there is nothing to draw.
    """
    return write_atomic(path, png(front_figure(results)))


def _panel_svg(draw: Callable[..., panels.Tooltips], height: float, prefix: str, label: str) -> str:
    with settings():
        figure, (axes,) = stacked(_PANEL, (height,))
        tooltips = draw(axes, prefix)
        return on_page(figure, prefix, label, tooltips)


def stacked(width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Panels below one another with room for labels: to the left, and below the last.

    Args:
        width: of every panel, inches.
        heights: of each, from the top, inches.
    """
    wide, gap, foot = width + 0.72, 0.16, 0.53
    high = sum(heights) + gap * (len(heights) - 1) + foot + 0.07
    figure, axes, top = Figure(figsize=(wide, high)), [], high - 0.07
    for height in heights:
        axes.append(figure.add_axes((0.62 / wide, (top - height) / high, width / wide,
                                     height / high)))  # fmt: skip
        top -= height + gap
    return figure, axes


def on_page(
    figure: Figure,
    prefix: str,
    label: str,
    tooltips: Mapping[str, str],
    colors: Mapping[str, str] = look.VARIABLES,
) -> str:
    """A figure as inline SVG; see :func:`paretune.reporting.svg.inline_svg`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline_svg(buffer.getvalue(), prefix, label, tooltips, colors)


def _grid(results: Sequence[RunResult]) -> list[list[tuple[RunResult, tuple[int, int]]]]:
    """Panels in rows: runs of two objectives share rows of up to three."""
    if not results:
        raise InputError("figure: found no run, expected at least one")
    for result in results:
        if len(result.objectives) < 2:
            raise InputError(
                f"figure: run {result.name!r} has {len(result.objectives)} objective, "
                "expected at least two to draw a front"
            )
    flat = [(result, (0, 1)) for result in results if len(result.objectives) == 2]
    rows = [flat[i : i + 3] for i in range(0, len(flat), 3)]
    for result in results:
        if len(result.objectives) > 2:
            found = [(result, pair) for pair in panels.pairs(result)]
            rows += [found[i : i + 3] for i in range(0, len(found), 3)]
    return rows


def _sheet(
    widths: Sequence[int], height: float, methods: list[Handle], others: list[Handle]
) -> tuple[Figure, list[list[Axes]]]:
    """Panels of fixed size in rows, the legend in lines of its own below.

    The places are set in inches: automatic layouts either cut titles off square panels or let
    them shrink with long tick labels.

    Args:
        widths: panels in each row.
        height: of a panel, inches.
        methods: first lines of the legend.
        others: last lines of the legend.
    """
    left, right, top, bottom = 0.72, 0.13, 0.42, 0.62
    wide = max(widths) * (left + _PANEL + right)
    lines = _lines(methods, others, wide)
    foot = 0.24 * len(lines) + 0.22
    high = len(widths) * (top + height + bottom) + foot
    figure = Figure(figsize=(wide, high))
    cells = [
        [
            figure.add_axes(
                (
                    (column * (left + _PANEL + right) + left) / wide,
                    1 - ((row + 1) * (top + height + bottom) - bottom) / high,
                    _PANEL / wide,
                    height / high,
                )
            )
            for column in range(width)
        ]
        for row, width in enumerate(widths)
    ]
    # A legend is filled column by column.
    handles = [line[column] for column in range(len(lines[0])) for line in lines]
    # Labels are given apart: one that starts with "_" would be skipped otherwise.
    labels = [str(handle.get_label()) for handle in handles]
    figure.legend(handles, labels, loc="lower center", ncols=len(lines[0]), handlelength=1.8,
                  columnspacing=2.2, borderaxespad=0.7)  # fmt: skip
    return figure, cells


def _lines(methods: list[Handle], others: list[Handle], wide: float) -> list[list[Handle]]:
    """Handles in lines of equal length, as many as fit side by side in so many inches."""
    longest = max(len(str(handle.get_label())) for handle in methods + others)
    fits = max(1, int(wide / (0.085 * (longest + 8))))
    columns = min(fits, max(len(methods), len(others)))
    blank: Handle = Line2D([], [], ls="none", label="")
    return [
        group[i : i + columns] + [blank] * (columns - len(group[i : i + columns]))
        for group in (methods, others)
        for i in range(0, len(group), columns)
    ]


def _handles(
    results: Sequence[RunResult], styles: dict[str, look.Look], tradeoffs: bool = False
) -> tuple[list[Handle], list[Handle]]:
    """Of the methods, and of what they are compared with."""
    methods: list[Handle] = [
        Line2D([], [], color=s.color, marker=s.marker, mec=look.PAPER, ms=7, lw=1.4,
               label=one_line(name, 28))
        for name, s in styles.items()
    ]  # fmt: skip
    others: list[Handle] = []
    if any(result.reference for result in results):
        mark = {"ls": (0, (4, 3)), "lw": 1.1} if tradeoffs else _CROSS
        others.append(Line2D([], [], color=look.INK, label="reference policy", **mark))
    if not tradeoffs and any(result.known for result in results):
        others += [
            Patch(fc=look.AREA, ec=look.LIMIT, lw=1.2, label="attainable on average"),
            Line2D([], [], ls="none", marker="o", mfc=look.PAPER, mec=look.LIMIT, mew=1.2, ms=6,
                   label="best single replies"),
        ]  # fmt: skip
    return methods, others


@contextmanager
def settings() -> Iterator[None]:
    """The library's own defaults and ours while a figure is drawn and written."""
    with style.context(["default", look.RC]), warnings.catch_warnings():
        # A name may hold signs the bundled font lacks; they are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield
