"""Drawings of trainings: small panels of curves, one line a policy, colored by its trade-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.axes import Axes

from paretune.core.traces import Curve, FloorTrace, TrainingTrace
from paretune.reporting import look
from paretune.reporting.figure import on_page, settings, stacked
from paretune.reporting.plain import one_line
from paretune.reporting.wording import number, weights

QUANTITIES = {
    "reward": ("mean reward", "Mean reward of the replies that the policy learns from, its own."),
    "gain": (
        "gain over the reference",
        "Log-likelihood that the policy gained over the reference, nats a response, weighed by the "
        "reward; running mean.",
    ),
    "accuracy": (
        "pair accuracy",
        "Share of labelled pairs of which the policy made the preferred response more likely; at "
        "0.5 (dashed) it guesses. Of the batches it trains on, before each step.",
    ),
    "margin": (
        "log-ratio margin",
        "How much more likely than under the reference the preferred response became, less the "
        "same of the other one, in nats.",
    ),
    "loss": ("loss", "What is minimized."),
    "weight": (
        "weight in the step",
        "What the loss gains when every loss of the objective grows by one: how much it drives the "
        "step.",
    ),
    "ess": (
        "effective sample size",
        "Share of the responses of a step that carry the weights of a constrained policy.",
    ),
    "description": (
        "loss of descriptions",
        "Of the words that a policy says of its user, a token.",
    ),
    "validation": ("validation", "Share of held-out pairs that the policy orders as its user."),
    "skipped_steps": ("skipped steps", "So far, because a loss or gradient was not finite."),
    "kl": ("distance from the reference", "KL divergence in nats a reply."),
    "hypervolume": ("hypervolume", "Of the policies together, in the frame of the training."),
}
"""Quantity of a log to its name and meaning, in the order of the panels."""

_LEVELS = {"accuracy": 0.5, "margin": 0.0, "gain": 0.0}
"""Where a dashed line tells better from worse."""
_WIDTH, _HEIGHTS, _POINTS = 2.05, (1.2, 0.7), 160


@final
@dataclass(frozen=True)
class Drawn:
    """One drawing with its words.

    Args:
        title: what it shows.
        svg: markup.
        sentence: what it comes to; may be empty.
    """

    title: str
    svg: str
    sentence: str = ""


def mixture(tradeoff: Sequence[float] | None) -> tuple[str, str]:
    """Color of a trade-off: those of its objectives, mixed by weight.

    Args:
        tradeoff: ``(M,)`` weights; ``None`` for several or any: ink.

    Returns:
        The color on a light page, and the value of CSS that follows the reader's color scheme.

    Example:
        >>> mixture(None), mixture((0.0, 1.0))[1]
        (('#1d2733', '--ink'), '--m1')
        >>> mixture((0.25, 0.75))
        ('#995836', 'color-mix(in srgb, var(--m0) 25.0%, var(--m1))')
    """
    if tradeoff is None:
        return look.INK, "--ink"
    mixed, css, total = np.zeros(3), "", 0.0
    for i, weight in enumerate(tradeoff):
        if weight > 0:
            total += weight
            color = look.color(i)
            share, name = weight / total, look.VARIABLES[color]
            mixed = (1 - share) * mixed + share * np.array(list(bytes.fromhex(color[1:])))
            was = f"var({css})" if css.startswith("--") else css
            css = (
                f"color-mix(in srgb, {was} {100 * (1 - share):.1f}%, var({name}))" if css else name
            )
    return "#" + bytes(mixed.round().astype(np.uint8)).hex(), css


def curve_drawings(
    traces: Sequence[TrainingTrace], objectives: Sequence[str], prefix: str
) -> list[Drawn]:
    """A panel for each quantity and objective that any of some policies logged.

    Args:
        traces: of one method.
        objectives: of the run.
        prefix: of ids on the page.
    """
    found = []
    for quantity, (name, _) in QUANTITIES.items():
        named = [o for o in objectives if any((quantity, o) in t.curves for t in traces)]
        # The margin of pairs in whatever order a job has them says less than that of labels.
        shown = named if named and quantity == "margin" else (*named, "")
        for place in ((quantity, objective) for objective in shown):
            lines = [t for t in traces if place in t.curves]
            if lines:
                title = f"{place[1]}: {name}" if place[1] else name
                figure_prefix = f"{prefix}{'-'.join(place)}-"
                with settings():
                    figure, (axes,) = stacked(_WIDTH, _HEIGHTS[:1])
                    tooltips, colors = _curves(axes, lines, place, objectives, figure_prefix)
                    # Objectives are compared by eye.
                    axes.set_ylim(*_reach(traces, quantity, bool(place[1])))
                    label = f"{title} along the training"
                    svg = on_page(figure, figure_prefix, label, tooltips, colors)
                found.append(Drawn(title, svg))
    return found


def floor_drawings(traces: Sequence[TrainingTrace], prefix: str) -> list[Drawn]:
    """For each floor the constraint's value above, the multiplier below, refreshes marked.

    Args:
        traces: of one method.
        prefix: of ids on the page.
    """
    return [
        _floor(trace, floor, f"{prefix}floor-{t}-{f}-")
        for t, trace in enumerate(traces)
        for f, floor in enumerate(trace.floors)
        if floor.value.steps and floor.floor.steps and floor.multiplier.steps
    ]


def _curves(
    axes: Axes,
    traces: Sequence[TrainingTrace],
    place: tuple[str, str],
    objectives: Sequence[str],
    prefix: str,
) -> tuple[dict[str, str], dict[str, str]]:
    """Draws a line a policy; tooltips, and what the page puts in place of colors."""
    colors, tooltips = dict(look.VARIABLES), {}
    for n, trace in enumerate(traces):
        color, css = mixture(trace.tradeoff)
        colors[color] = css
        curve = trace.curves[place].thinned(_POINTS)
        tooltips[f"{prefix}{n}"] = _tooltip(trace, objectives, curve)
        _line(axes, curve, color=color, lw=1.3, gid=f"{prefix}{n}")
    if place[0] in _LEVELS:
        axes.axhline(_LEVELS[place[0]], color=look.LIMIT, lw=1, ls=(0, (4, 3)), zorder=1)
    _frame(axes)
    return tooltips, colors


def _reach(
    traces: Sequence[TrainingTrace], quantity: str, is_of_objective: bool
) -> tuple[float, float]:
    """Lowest and highest of a quantity, with some air: the same for all objectives."""
    values = [_LEVELS[quantity]] if quantity in _LEVELS else []
    for trace in traces:
        for (name, objective), curve in trace.curves.items():
            if name == quantity and bool(objective) == is_of_objective:
                values += [min(curve.values), max(curve.values)]
    air = 0.06 * (max(values) - min(values)) or 0.5
    return min(values) - air, max(values) + air


def _floor(trace: TrainingTrace, floor: FloorTrace, prefix: str) -> Drawn:
    color, css = mixture(trace.tradeoff)
    objective, is_averaged = one_line(floor.objective, 24), bool(floor.average.steps)
    last = floor.average if is_averaged else floor.value
    measured = "preferred to the reference" if floor.unit == "preference" else "mean reward"
    title = f"{one_line(trace.policy, 40)}: {objective} ≥ {number(floor.floor.values[-1])}"
    sentence = (
        f"In the end {number(last.values[-1])} on the training prompts, at a multiplier of "
        f"{number(floor.multiplier.values[-1])}."
    )
    with settings():
        figure, (above, below) = stacked(_WIDTH, _HEIGHTS)
        pale = 0.25 if is_averaged else 1
        _line(above, floor.value.thinned(_POINTS), color=color, lw=1, alpha=pale)
        if is_averaged:
            _line(above, floor.average.thinned(_POINTS), color=color, lw=1.7)
        _line(above, floor.floor.thinned(_POINTS), color=look.INK, lw=1.2, ls=(0, (4, 3)))
        _line(below, floor.multiplier.thinned(_POINTS), color=color, lw=1.5)
        for axes in (above, below):
            for step in floor.refreshes:
                axes.axvline(step, color=look.LIMIT, lw=1, ls=(0, (1, 2)), zorder=1)
        above.set(ylabel=objective)
        if is_averaged:
            above.set_ylim(*_most(floor))
        above.tick_params(labelbottom=False)
        below.set(ylabel="multiplier")
        below.set_ylim(bottom=0, top=max(1e-3, 1.2 * max(floor.multiplier.values)))
        _frame(below)
        below.locator_params(axis="y", nbins=3)
        above.set_xlim(below.get_xlim())
        label = f"{title}: {measured}, and the multiplier, along the training"
        svg = on_page(figure, prefix, label, {}, {**look.VARIABLES, color: css})
    return Drawn(title, svg, sentence)


def _most(floor: FloorTrace) -> tuple[float, float]:
    """The average and the floor as a whole, of single batches the middle: they vary far more."""
    batches = np.quantile(floor.value.values, (0.1, 0.9))
    values = [*floor.average.values, *floor.floor.values, *batches]
    air = 0.08 * (max(values) - min(values)) or 0.05
    return min(values) - air, max(values) + air


def _line(axes: Axes, curve: Curve, **style: Any) -> None:
    # One row is a dot, or it would not be seen.
    marker = "o" if len(curve.steps) == 1 else ""
    axes.plot(curve.steps, curve.values, **{"marker": marker, "ms": 4, "zorder": 3, **style})


def _frame(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    axes.locator_params(axis="both", nbins=5)


def _tooltip(trace: TrainingTrace, objectives: Sequence[str], curve: Curve) -> str:
    asked = "" if trace.tradeoff is None else f" · {weights(objectives, trace.tradeoff)}"
    return one_line(f"{trace.policy}{asked}: {number(curve.values[-1])} in the end", 160)
