"""Panels of the figures: one front, or one objective against its weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from paretune.core.results import MethodResult, PointResult, RunResult
from paretune.functional.indicators import non_dominated
from paretune.reporting import look
from paretune.reporting.look import Look
from paretune.reporting.plain import one_line
from paretune.reporting.wording import estimate, weights

Tooltips = dict[str, str]
"""Id of a drawn element to the text a reader sees on pointing at it."""

_TITLE_WIDTH, _LABEL_WIDTH = 40, 28


def pairs(result: RunResult) -> list[tuple[int, int]]:
    """Every two objectives, as (horizontal, vertical)."""
    return list(combinations(range(len(result.objectives)), 2))


def draw_front(
    axes: Axes, result: RunResult, pair: tuple[int, int], styles: Mapping[str, Look], prefix: str
) -> Tooltips:
    """Mean rewards of every method on two objectives, in front of what is attainable.

    Args:
        axes: where to draw.
        result: a measured run.
        pair: the objectives on the horizontal and the vertical axis.
        styles: a look for each method.
        prefix: start of the ids of drawn points.

    Returns:
        Tooltips of the points.
    """
    tooltips: Tooltips = {}
    draw_known(axes, result, pair)
    for m, method in enumerate(result.methods):
        _front_line(axes, method, pair, styles[method.name])
        for k, point in enumerate(method.points):
            gid = f"{prefix}point-{m}-{k}"
            tooltips[gid] = tooltip(result, method.name, point)
            _point(axes, point, pair, styles[method.name], gid)
    if result.reference is not None:
        gid = f"{prefix}reference"
        point = result.reference.points[0]
        tooltips[gid] = tooltip(result, "reference policy", point, asked=False)
        x, y = (point.means[i].value for i in pair)
        axes.plot(x, y, "x", color=look.INK, ms=8, mew=2.2, zorder=6, gid=gid)
    across, up = (one_line(result.objectives[i], _LABEL_WIDTH) for i in pair)
    axes.set(xlabel=f"{across} →", ylabel=f"{up} →")
    _frame(axes, result, pair)
    return tooltips


def draw_tradeoff(
    axes: Axes, result: RunResult, objective: int, styles: Mapping[str, Look], prefix: str
) -> Tooltips:
    """Mean reward on one objective against its weight; a band is the interval.

    Args:
        axes: where to draw.
        result: a measured run.
        objective: which one.
        styles: a look for each method.
        prefix: start of the ids of drawn points.

    Returns:
        Tooltips of the points.
    """
    tooltips: Tooltips = {}
    for m, method in enumerate(result.methods):
        style = styles[method.name]
        line = _by_weight(method, objective)
        if len(line) > 1:
            axes.fill_between(
                line[:, 0], line[:, 2], line[:, 3], color=style.color, alpha=0.14, lw=0
            )
            axes.plot(line[:, 0], line[:, 1], color=style.color, lw=1.6, zorder=3)
        for k, point in enumerate(method.points):
            gid = f"{prefix}weight-{m}-{k}"
            tooltips[gid] = tooltip(result, method.name, point)
            x, y = point.tradeoff[objective], point.means[objective].value
            axes.plot(x, y, style.marker, color=style.color, ms=5, mec=look.PAPER, mew=0.6,
                      zorder=4, gid=gid)  # fmt: skip
    if result.reference is not None:
        level = result.reference.points[0].means[objective].value
        axes.axhline(level, color=look.INK, lw=1.1, ls=(0, (4, 3)), zorder=2)
    name = one_line(result.objectives[objective], _LABEL_WIDTH)
    axes.set(xlabel=f"weight on {name}", ylabel=f"mean {name} →", xlim=(-0.04, 1.04))
    return tooltips


def tooltip(result: RunResult, name: str, point: PointResult, asked: bool = True) -> str:
    """What a reader sees on pointing at a point."""
    lines = [f"{name} · {weights(result.objectives, point.tradeoff)}" if asked else name]
    lines += [
        f"{objective}: {estimate(mean)}"
        for objective, mean in zip(result.objectives, point.means, strict=True)
    ]
    if point.dominated:
        lines.append("dominated by another point of this method")
    return "\n".join(one_line(line, 120) for line in [*lines, point.policy])


def title(result: RunResult) -> str:
    """Name of the run, short enough for a panel."""
    return one_line(result.name, _TITLE_WIDTH)


def draw_known(axes: Axes, result: RunResult, pair: tuple[int, int], mark: float = 6) -> None:
    """What mixtures of replies attain as an area, and the best single replies as hollow marks.

    Args:
        axes: where to draw.
        result: a measured run; nothing is drawn where its front is not known.
        pair: the objectives on the horizontal and the vertical axis.
        mark: size of the marks, in points.
    """
    if result.known is None:
        return
    edge = _upper_right(np.array(result.known.hull, dtype=np.float64)[:, list(pair)])
    x, y = pair
    # What is dominated by an attainable point counts as reached: down to the corner of the box.
    corners = [
        [edge[-1, 0], result.low[y]], [result.low[x], result.low[y]], [result.low[x], edge[0, 1]],
    ]  # fmt: skip
    area = np.array([*edge, *corners])
    axes.fill(area[:, 0], area[:, 1], color=look.AREA, lw=0, zorder=0)
    axes.plot(edge[:, 0], edge[:, 1], color=look.LIMIT, lw=1.3, zorder=1)
    single = np.array(result.known.replies, dtype=np.float64)[:, list(pair)]
    single = single[non_dominated(single)]
    axes.plot(single[:, 0], single[:, 1], "o", mfc=look.PAPER, mec=look.LIMIT, mew=1.2, ms=mark,
              ls="none", zorder=1.5)  # fmt: skip


def _upper_right(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vertices of the upper right border of the convex hull, from left to right.

    Example:
        >>> _upper_right(np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0], [0.8, 0.7]])).tolist()
        [[0.0, 1.0], [0.8, 0.7], [1.0, 0.0]]
    """
    front = points[non_dominated(points)]
    chain: list[npt.NDArray[np.float64]] = []
    for point in front[np.argsort(front[:, 0], kind="stable")]:
        while len(chain) > 1 and _turns_left(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return np.array(chain)


def _turns_left(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], c: npt.NDArray[np.float64]
) -> bool:
    return bool((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0)


def _front_line(axes: Axes, method: MethodResult, pair: tuple[int, int], style: Look) -> None:
    """Non-dominated points joined: answering by one or the other policy reaches the line."""
    points = [[p.means[i].value for i in pair] for p in method.points if not p.dominated]
    if len(points) > 1 and len(method.points[0].means) == 2:
        line = np.array(sorted(points))
        axes.plot(line[:, 0], line[:, 1], color=style.color, lw=1.3, alpha=0.55, zorder=2)


def _point(axes: Axes, point: PointResult, pair: tuple[int, int], style: Look, gid: str) -> None:
    (x, y) = (point.means[i] for i in pair)
    axes.plot([x.low, x.high], [y.value] * 2, color=style.color, lw=1, alpha=0.55, zorder=3)
    axes.plot([x.value] * 2, [y.low, y.high], color=style.color, lw=1, alpha=0.55, zorder=3)
    fill, edge = (look.PAPER, style.color) if point.dominated else (style.color, look.PAPER)
    axes.plot(x.value, y.value, style.marker, mfc=fill, mec=edge, ms=6.5,
              mew=1.2 if point.dominated else 0.7, zorder=5, gid=gid)  # fmt: skip


def _frame(axes: Axes, result: RunResult, pair: tuple[int, int]) -> None:
    """The box of the run where the front is known in it, else the data with some air."""
    axes.set_box_aspect(1)
    if result.known is None:
        axes.margins(0.08)
        return
    across, up = (_reach(result, i) for i in pair)
    axes.set(xlim=across, ylim=up)


def _reach(result: RunResult, objective: int) -> tuple[float, float]:
    """From a little below to a little above the box and everything measured."""
    seen = [p.means[objective] for method in result.methods for p in method.points]
    low = min([result.low[objective], *(mean.low for mean in seen)])
    high = max([result.high[objective], *(mean.high for mean in seen)])
    return low - 0.03 * (high - low), high + 0.05 * (high - low)


def _by_weight(method: MethodResult, objective: int) -> npt.NDArray[np.float64]:
    """``(W, 4)`` weight, value, low, high; points that share a weight are averaged."""
    return np.array(list(_averages(method, objective))).reshape(-1, 4)


def _averages(method: MethodResult, objective: int) -> Iterator[list[float]]:
    groups: dict[float, list[list[float]]] = {}
    for point in method.points:
        mean = point.means[objective]
        groups.setdefault(round(point.tradeoff[objective], 6), []).append(
            [mean.value, mean.low, mean.high]
        )
    for weight in sorted(groups):
        yield [weight, *np.mean(groups[weight], axis=0)]
