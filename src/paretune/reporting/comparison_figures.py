"""Figures of a comparison: fronts over seeds, both yardsticks, and what quality costs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paretune.core.comparison_results import ComparisonResult, MethodComparison
from paretune.core.interval import Interval
from paretune.core.results import RunResult
from paretune.reporting import look, panels
from paretune.reporting.comparison_tables import YARDSTICKS, shown_measure
from paretune.reporting.figure import png
from paretune.reporting.look import Look
from paretune.reporting.plain import one_line
from paretune.reporting.svg import inline_svg

_SIDE = 1.95
_GAP_LEFT, _GAP_RIGHT, _GAP_TOP, _GAP_BOTTOM, _FOOT = 0.56, 0.12, 0.36, 0.44, 0.5
_TITLES = {"hypervolume": "hypervolume", "utility_min": "E[min] of single replies"}


def figures(result: ComparisonResult, runs: Sequence[RunResult]) -> dict[str, Figure]:
    """Every figure of a comparison by name: ``fronts``, ``quality``, ``cost``.

    Args:
        result: with at least one method that did not fail.
        runs: results of its seeds.
    """
    styles = _styles(result)
    with _settings():
        return {
            "fronts": _fronts(result, runs, styles),
            "quality": _quality(result, runs, styles),
            "cost": _cost(result, styles),
        }


def as_png(figure: Figure) -> bytes:
    """The figure as PNG bytes."""
    return png(figure)


def as_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an element of a page."""
    with _settings():
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return inline_svg(buffer.getvalue(), f"{name}-", label, {}, look.VARIABLES)


def _styles(result: ComparisonResult) -> dict[str, Look]:
    """A look for each method, failed ones too, so that the others keep theirs."""
    return look.named_looks([m.name for m in result.methods])


def _fronts(
    result: ComparisonResult, runs: Sequence[RunResult], styles: Mapping[str, Look]
) -> Figure:
    """A panel for every method and every two objectives: all seeds, and their mean in front."""
    pairs = panels.pairs(runs[0])
    shown = [m for m in result.methods if m.failed is None] or list(result.methods)
    columns = min(4, len(shown)) if len(pairs) == 1 else 2 * len(pairs)
    cells = [(m, pair) for m in shown for pair in pairs]
    figure, axes = _sheet(len(cells), columns)
    for n, ((method, pair), place) in enumerate(zip(cells, axes, strict=True)):
        _front(place, runs, method, pair, styles[method.name])
        if pair == pairs[0]:
            place.set_title(one_line(method.name, 26), fontsize=9.5)
        if len(pairs) == 1 and n % columns:
            place.set_ylabel("")
    handles: list[Line2D | Patch] = [
        Line2D([], [], ls="none", marker="o", color=look.MUTED, alpha=0.4, ms=4, label="a seed"),
        Line2D([], [], marker="o", color=look.MUTED, ms=5.5, lw=1.3, label="mean over seeds"),
        Line2D([], [], ls="none", marker="x", color=look.INK, label="reference policy"),
    ]
    if runs[0].known is not None:
        handles += [
            Patch(fc=look.AREA, ec=look.LIMIT, lw=1.2, label="attainable on average"),
            Line2D([], [], ls="none", marker="o", mfc=look.PAPER, mec=look.LIMIT, ms=5,
                   label="best single replies"),
        ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8.5)
    return figure


def _front(
    axes: Axes,
    runs: Sequence[RunResult],
    method: MethodComparison,
    pair: tuple[int, int],
    mine: Look,
) -> None:
    panels.draw_known(axes, runs[0], pair, mark=3.5)
    found = [next((m for m in run.methods if m.name == method.name), None) for run in runs]
    clouds = [
        np.array([[p.means[i].value for i in pair] for p in m.points])
        for m in found
        if m is not None and m.points
    ]
    for cloud in clouds:
        axes.plot(*cloud.T, "o", color=mine.color, alpha=0.28, ms=2.8, mec="none", zorder=3)
    if clouds and len({c.shape for c in clouds}) == 1:
        mean = np.mean(clouds, axis=0)
        if len(runs[0].objectives) == 2:
            axes.plot(*mean.T, color=mine.color, lw=1.2, alpha=0.7, zorder=4)
        axes.plot(*mean.T, mine.marker, ls="none", color=mine.color, mec=look.PAPER, mew=0.5,
                  ms=5, zorder=5)  # fmt: skip
    references = [run.reference.points[0].means for run in runs if run.reference]
    if references:
        x, y = (float(np.mean([means[i].value for means in references])) for i in pair)
        axes.plot(x, y, "x", color=look.INK, ms=5.5, mew=1.6, zorder=6)
    across, up = (one_line(runs[0].objectives[i], 20) for i in pair)
    axes.set(xlabel=f"{across} →", ylabel=f"{up} →")
    axes.tick_params(labelsize=7.5)
    axes.set_box_aspect(1)
    if runs[0].known is not None:
        for limits, i in ((axes.set_xlim, pair[0]), (axes.set_ylim, pair[1])):
            low, high = runs[0].low[i], runs[0].high[i]
            limits(low - 0.03 * (high - low), high + 0.05 * (high - low))


def _quality(
    result: ComparisonResult, runs: Sequence[RunResult], styles: Mapping[str, Look]
) -> Figure:
    """A row a method, best first: interval, mean and every seed, on both yardsticks."""
    measures = {y: shown_measure(result, y) for y in YARDSTICKS}
    shown = [m for m in result.methods if all(x in m.intervals for x in measures.values())]
    shown.sort(key=lambda m: sum(m.intervals[x].value for x in measures.values()))
    wide, left, right, between = 8.6, 1.75, 0.15, 0.25
    rows = 0.3 * max(2, len(shown))
    high = rows + 1.1
    figure = Figure(figsize=(wide, high))
    side = (wide - left - right - between) / 2
    for n, (yardstick, measure) in enumerate(measures.items()):
        place = (
            (left + n * (side + between)) / wide, 0.95 / high, side / wide, rows / high
        )  # fmt: skip
        axes = figure.add_axes(place)
        for row, method in enumerate(shown):
            _dots(axes, row, method, measure, styles[method.name])
            if yardstick == "hypervolume" and (most := _ceiling(method)) is not None:
                axes.plot([most] * 2, [row - 0.32, row + 0.32], color=look.LIMIT, lw=1.4)
        if (level := _reference_level(runs, yardstick, measure)) is not None:
            axes.axvline(level, color=look.INK, lw=1.0, ls=(0, (4, 3)))
        axes.set_ylim(-0.6, len(shown) - 0.4)
        start, end = _window([m.intervals[measure] for m in shown])
        axes.set_xlim(start, 1.02 if measure.endswith("_share") else end)
        if measure.endswith("_share"):
            axes.axvline(1.0, color=look.LIMIT, lw=1.2)
        axes.set_yticks(range(len(shown)))
        axes.set_yticklabels([one_line(m.name, 24) for m in shown] if n == 0 else [])
        axes.tick_params(axis="y", length=0, labelcolor=look.INK)
        axes.grid(axis="y", visible=False)
        share = "share of what is possible" if measure.endswith("_share") else "in the unit box"
        axes.set_xlabel(f"{_TITLES[yardstick]}, {share} →", fontsize=8.5)
    handles: list[Line2D] = [
        Line2D([], [], color=look.MUTED, marker="o", ms=6, lw=2, label="mean, 95 % t interval"),
        Line2D([], [], ls="none", marker="o", color=look.MUTED, alpha=0.4, ms=4, label="a seed"),
        Line2D([], [], color=look.INK, lw=1, ls=(0, (4, 3)), label="reference policy"),
    ]
    if any(_ceiling(m) is not None for m in shown):
        handles.append(
            Line2D([], [], ls="none", marker="|", color=look.LIMIT, ms=9, mew=1.4,
                   label="best possible with K policies")
        )  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=8.5)
    return figure


def _dots(axes: Axes, row: int, method: MethodComparison, measure: str, mine: Look) -> None:
    found = method.intervals[measure]
    seeds = [v for v in method.values[measure] if v is not None]
    axes.plot([found.low, found.high], [row, row], color=mine.color, lw=2, alpha=0.55, zorder=3)
    axes.plot(seeds, [row] * len(seeds), "o", color=mine.color, ms=3.4, alpha=0.4, mec="none",
              zorder=4)  # fmt: skip
    axes.plot(found.value, row, mine.marker, color=mine.color, ms=7, mec=look.PAPER, mew=0.7,
              zorder=5)  # fmt: skip


def _window(found: Sequence[Interval]) -> tuple[float, float]:
    """From the lowest to the highest interval, but not beyond what a share can be."""
    low = max(-0.02, min((i.low for i in found), default=0.0) - 0.04)
    high = min(1.04, max((i.high for i in found), default=1.0) + 0.04)
    return (low, high) if low < high else (0.0, 1.0)


def _ceiling(method: MethodComparison) -> float | None:
    """Hypervolume of the best K policies as a share of what is attainable."""
    found = method.intervals.get("ceiling")
    return None if found is None else found.value


def _reference_level(runs: Sequence[RunResult], yardstick: str, measure: str) -> float | None:
    found = []
    for run in runs:
        reached = getattr(run.reference, yardstick, None)
        if reached is None:
            return None
        most = getattr(run.known, yardstick) if measure.endswith("_share") and run.known else 1.0
        found.append(reached.value / most)
    return float(np.mean(found))


def _cost(result: ComparisonResult, styles: Mapping[str, Look]) -> Figure:
    """Seconds of training for each trade-off against both yardsticks."""
    measures = {y: shown_measure(result, y) for y in YARDSTICKS}
    shown = [
        m for m in result.methods
        if "train_seconds_each" in m.intervals and all(x in m.intervals for x in measures.values())
    ]  # fmt: skip
    prices = [m.intervals["train_seconds_each"].value for m in shown]
    paid = [price for price in prices if price > 0] or [1.0]
    free = min(paid) / 3
    columns = 4
    lines = -(-len(shown) // columns)
    side, left, bottom, top = 3.5, 0.75, 0.75 + 0.22 * lines, 0.2
    wide, high = 2 * (left + side) + 0.2, bottom + 2.7 + top
    figure = Figure(figsize=(wide, high))
    for n, (yardstick, measure) in enumerate(measures.items()):
        place = ((left + n * (left + side)) / wide, bottom / high, side / wide, 2.7 / high)
        axes = figure.add_axes(place)
        axes.set_xscale("log")
        for method, price in zip(shown, prices, strict=True):
            found, mine = method.intervals[measure], styles[method.name]
            x = price or free
            axes.plot([x, x], [found.low, found.high], color=mine.color, lw=1.2, alpha=0.55)
            axes.plot(x, found.value, mine.marker, color=mine.color, ms=7, mec=look.PAPER,
                      mew=0.7, zorder=5)  # fmt: skip
        if any(price == 0 for price in prices):
            axes.axvline(free * 1.6, color=look.LIMIT, lw=0.8, ls=(0, (2, 3)))
            axes.text(free * 1.5, 0.02, "no training ", transform=axes.get_xaxis_transform(),
                      ha="right", fontsize=7.5, color=look.MUTED)  # fmt: skip
            axes.set_xlim(left=free / 3)
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        axes.set_ylim(_window([m.intervals[measure] for m in shown]))
        axes.set_xlabel("CPU seconds of training a trade-off", fontsize=8.5)
        axes.set_ylabel(f"{_TITLES[yardstick]} →", fontsize=8.5)
    handles = [
        Line2D([], [], ls="none", marker=styles[m.name].marker, color=styles[m.name].color,
               mec=look.PAPER, ms=7, label=one_line(m.name, 26))
        for m in shown
    ]  # fmt: skip
    labels = [str(handle.get_label()) for handle in handles]
    figure.legend(handles, labels, loc="lower center", ncols=columns, fontsize=8.5)
    return figure


def _sheet(n_panels: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Panels of fixed size in rows; the places are in inches, as nothing else keeps them square."""
    step, rows = _GAP_LEFT + _SIDE + _GAP_RIGHT, -(-n_panels // columns)
    down = _GAP_TOP + _SIDE + _GAP_BOTTOM
    wide, high = max(columns, 3) * step, rows * down + _FOOT
    figure = Figure(figsize=(wide, high))
    axes = []
    for n in range(n_panels):
        row, column = divmod(n, columns)
        bottom = high - (row + 1) * down + _GAP_BOTTOM
        left = column * step + _GAP_LEFT
        place = (left / wide, bottom / high, _SIDE / wide, _SIDE / high)
        axes.append(figure.add_axes(place))
    return figure, axes


@contextmanager
def _settings() -> Iterator[None]:
    with style.context(["default", look.RC]):
        yield
