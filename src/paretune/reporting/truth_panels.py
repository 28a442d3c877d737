"""Panels of exact problems: one method against the exact answers, a color for each trade-off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from paretune.core.truth import MethodTruth, ProblemTruth, TruthPoint
from paretune.reporting import look
from paretune.reporting.plain import one_line
from paretune.reporting.wording import number, weights

Floats = npt.NDArray[np.float64]
Tooltips = dict[str, str]
Draw = Callable[[Axes, ProblemTruth, MethodTruth, str], Tooltips]

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
_MANY_REPLIES = 40
_VISIBLE = 1e-3
"""Probabilities that differ by less look the same."""


def panel_of(problem: ProblemTruth) -> Draw:
    """How the methods of a problem are drawn: the whole policy where it fits a triangle."""
    n_contexts, n_actions = len(problem.reference), len(problem.reference[0])
    if (n_contexts, n_actions) == (1, 3):
        return draw_simplex
    return draw_front if len(problem.objectives) == 2 else draw_parallel


def color_of(tradeoff: Sequence[float]) -> str:
    """Color of a trade-off: the colors of its objectives, mixed by its weights.

    Example:
        >>> color_of((1.0, 0.0)), color_of((0.5, 0.5))
        ('#0b6fb8', '#6a6061')
    """
    base = np.array([_rgb(look.color(i)) for i in range(len(tradeoff))], dtype=np.float64)
    mixed = np.round(np.asarray(tradeoff) @ base).astype(int)
    return "#" + "".join(f"{part:02x}" for part in mixed)


def draw_simplex(axes: Axes, problem: ProblemTruth, method: MethodTruth, prefix: str) -> Tooltips:
    """Policies over three actions as points of a triangle, the corners being the actions.

    The exact optima of the trade-offs are the gray path; dashed lines are where a floor is just
    kept, on the side that is shaded both are.

    Args:
        axes: where to draw.
        problem: one context, three actions.
        method: whose points are drawn.
        prefix: start of the ids of drawn points.

    Returns:
        Tooltips of the points.
    """
    border = np.concatenate([_CORNERS, _CORNERS[:1]])
    _draw_floors(axes, problem)
    axes.plot(*border.T, color=look.LIMIT, lw=1.0, zorder=1)
    for corner, name, align in zip(_CORNERS, "123", ("right", "left", "center"), strict=True):
        lift = 0.05 if align == "center" else -0.02
        axes.text(corner[0], corner[1] + lift, f" {name} ", ha=align, va="bottom" if lift > 0 else
                  "top", color=look.MUTED)  # fmt: skip
    path = np.array([policy[0] for policy in problem.optimum]) @ _CORNERS
    _draw_optima(axes, path, np.array(problem.reference[0]) @ _CORNERS)
    places = np.array([point.policy[0] for point in method.points]) @ _CORNERS
    aims = [point.aim[0] for point in method.points if point.aim is not None]
    _draw_aims(axes, np.array(aims).reshape(-1, 3) @ _CORNERS)
    tooltips = _draw_points(axes, problem, method, places, prefix)
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.16, 1.02), aspect="equal")
    axes.set_axis_off()
    return tooltips


def draw_front(axes: Axes, problem: ProblemTruth, method: MethodTruth, prefix: str) -> Tooltips:
    """Expected values on two objectives, in front of what is attainable.

    Args:
        axes: where to draw.
        problem: with two objectives.
        method: whose points are drawn.
        prefix: start of the ids of drawn points.

    Returns:
        Tooltips of the points.
    """
    places = np.array([point.values for point in method.points])
    hull, replies = np.array(problem.known.hull), np.array(problem.known.replies)
    optimum, reference = np.array(problem.optimum_values), np.array(problem.reference_values)
    shown = [np.array(m.points[k].values) for m in problem.methods for k in range(len(m.points))]
    everything = np.stack([*hull, *optimum, reference, *shown])
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = np.where(high > low, high - low, 1.0)
    low, high = low - 0.06 * room, high + 0.06 * room
    hull = hull[np.argsort(hull[:, 0])]
    area = np.array([[low[0], hull[0, 1]], *hull, [hull[-1, 0], low[1]], low])
    axes.fill(area[:, 0], area[:, 1], color=look.AREA, lw=0, zorder=0)
    axes.plot(*area[:-1].T, color=look.LIMIT, lw=1.0, zorder=1)
    replies = replies[np.argsort(replies[:, 0])]
    if len(replies) > _MANY_REPLIES:
        axes.plot(*replies.T, color=look.LIMIT, lw=1.0, ls=(0, (1, 1.5)), zorder=1.5)
    else:
        axes.plot(*replies.T, "o", mfc=look.PAPER, mec=look.LIMIT, mew=0.9, ms=4, zorder=1.5)
    _draw_optima(axes, optimum, reference)
    aims = [point.aim_values for point in method.points if point.aim_values is not None]
    _draw_aims(axes, np.array(aims).reshape(-1, 2))
    tooltips = _draw_points(axes, problem, method, places, prefix)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_box_aspect(1)
    axes.locator_params(nbins=4)
    axes.set_xlabel(f"{one_line(problem.objectives[0], 24)} →", color=look.color(0))
    axes.set_ylabel(f"{one_line(problem.objectives[1], 24)} →", color=look.color(1))
    return tooltips


def draw_parallel(axes: Axes, problem: ProblemTruth, method: MethodTruth, prefix: str) -> Tooltips:
    """Expected values on three objectives or more: a line a policy, from axis to axis.

    Every axis runs from the worst to the best of the front of expected values; the thick gray
    lines are the exact optima of the same trade-offs.

    Args:
        axes: where to draw.
        problem: with any number of objectives.
        method: whose points are drawn.
        prefix: start of the ids of drawn points.

    Returns:
        Tooltips of the points.
    """
    hull = np.array(problem.known.hull)
    low, high = hull.min(axis=0), hull.max(axis=0)
    room = np.where(high > low, high - low, 1.0)
    x = np.arange(len(problem.objectives))
    for optimum in problem.optimum_values:
        axes.plot(x, (np.array(optimum) - low) / room, color=look.LIMIT, lw=3, alpha=0.25, zorder=1)
    colors, tooltips = _colors(method), {}
    for k, point in enumerate(method.points):
        gid = f"{prefix}point-{k}"
        tooltips[gid] = _tooltip(problem, point)
        axes.plot(x, (np.array(point.values) - low) / room, color=colors[k], lw=1.2,
                  marker="o", ms=3.5, zorder=3, gid=gid)  # fmt: skip
    reference = (np.array(problem.reference_values) - low) / room
    axes.plot(x, reference, color=look.INK, lw=1.1, ls=(0, (4, 3)), zorder=2)
    # Side by side more than three names are too wide: every second one is a line lower.
    drop = "\n" if len(x) > 3 else ""
    names = [one_line(name, 14) for name in problem.objectives]
    axes.set_xticks(x, [(drop if i % 2 else "") + name for i, name in enumerate(names)])
    for i, label in enumerate(axes.get_xticklabels()):
        label.set_color(look.color(i))
        label.set_fontsize(7.5)
    axes.set(xlim=(-0.3, x[-1] + 0.3), ylabel="worst to best of the front →")
    return tooltips


def _draw_optima(axes: Axes, path: Floats, reference: Floats) -> None:
    # With a mark of the same width, a path of a single place is seen as well.
    axes.plot(*path[[0, -1]].T, "o", color=look.LIMIT, ms=4, mew=0, zorder=2)
    axes.plot(*path.T, color=look.LIMIT, lw=4, alpha=0.45, solid_capstyle="round", zorder=2)
    # Above everything: a method that does not move away would hide it.
    axes.plot(*reference, "x", color=look.INK, ms=6, mew=1.6, zorder=6)


def _draw_aims(axes: Axes, places: Floats) -> None:
    axes.plot(*places.T, "o", ls="none", mfc="none", mec=look.INK, mew=0.8, ms=9, zorder=4,
              clip_on=False)  # fmt: skip


def _draw_points(
    axes: Axes, problem: ProblemTruth, method: MethodTruth, places: Floats, prefix: str
) -> Tooltips:
    axes.plot(*places.T, color=look.INK, lw=0.7, alpha=0.5, zorder=4)
    colors, tooltips = _colors(method), {}
    # Corners last: where policies coincide, they are the ones to see.
    for k in sorted(range(len(places)), key=lambda k: max(method.points[k].tradeoff)):
        point, place, gid = method.points[k], places[k], f"{prefix}point-{k}"
        tooltips[gid] = _tooltip(problem, point)
        axes.plot(*place, "o", mfc=colors[k], mec=look.PAPER, mew=0.6, ms=5.5,
                  zorder=5, gid=gid, clip_on=False)  # fmt: skip
    return tooltips


def _draw_floors(axes: Axes, problem: ProblemTruth) -> None:
    """Lines of the simplex on which a floor is just kept, and the part that keeps all of them."""
    if not problem.floors:
        return
    table, region = np.array(problem.preferences[0]), np.eye(3)
    for i, floor in enumerate(problem.floors):
        slack = table[:, i] - floor
        region = _clipped(region, slack)
        ends = _crossings(np.eye(3), slack)
        if len(ends) == 2:
            axes.plot(*(ends @ _CORNERS).T, color=look.color(i), lw=1.0, ls=(0, (4, 2)), zorder=1.5)
    if len(region) > 2:
        axes.fill(*(region @ _CORNERS).T, color=look.AREA, lw=0, zorder=0)


def _clipped(polygon: Floats, slack: Floats) -> Floats:
    """The part of a convex polygon of policies on which a linear function is not negative.

    Example:
        >>> _clipped(np.eye(3), np.array([1.0, 1.0, -1.0])).round(1).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]]
    """
    kept: list[Floats] = []
    for here, after in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        a, b = float(here @ slack), float(after @ slack)
        if a >= 0:
            kept.append(here)
        if a * b < 0:
            kept.append(here + a / (a - b) * (after - here))
    return np.array(kept).reshape(-1, 3)


def _crossings(polygon: Floats, slack: Floats) -> Floats:
    """Where the border of a polygon meets the line on which a linear function is 0."""
    found = []
    for here, after in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        a, b = float(here @ slack), float(after @ slack)
        if a != b and min(a, b) <= 0 <= max(a, b):
            found.append(here + a / (a - b) * (after - here))
    return np.unique(np.array(found).reshape(-1, 3).round(9), axis=0)


def _colors(method: MethodTruth) -> list[str]:
    """A color for each point; a single one where every trade-off gets the same policy."""
    policies = np.array([point.policy for point in method.points])
    if np.ptp(policies, axis=0).max() < _VISIBLE:
        return [look.INK] * len(method.points)
    return [color_of(point.tradeoff) for point in method.points]


def _tooltip(problem: ProblemTruth, point: TruthPoint) -> str:
    lines = [weights(problem.objectives, point.tradeoff)]
    lines += [f"{n}: {number(v)}" for n, v in zip(problem.objectives, point.values, strict=True)]
    return "\n".join([*lines, f"{point.to_optimum:.3f} from the optimum"])


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
