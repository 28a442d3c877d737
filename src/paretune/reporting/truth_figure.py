"""Figures of exact problems: a panel for every method, as a PNG and as part of a page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paretune.core.truth import ProblemTruth
from paretune.errors import InputError
from paretune.reporting import look
from paretune.reporting.figure import png
from paretune.reporting.plain import one_line
from paretune.reporting.svg import inline_svg
from paretune.reporting.truth_panels import Tooltips, draw_simplex, panel_of

_COLUMNS = 4
_SIDE = 2.35
_LEFT, _RIGHT, _TOP = 0.62, 0.16, 0.46
_AXIS, _NO_AXIS = 0.56, 0.02
"""Below a panel with and without labels."""
_FOOT = 0.72


@final
@dataclass(frozen=True)
class TruthFigure:
    """The figure of a problem: every method a panel, with one legend below.

    Args:
        figure: not attached to any window.
        tooltips: id of a drawn point to its text.
        name: of the problem; its ids start with it.
    """

    figure: Figure
    tooltips: Tooltips
    name: str

    def png(self) -> bytes:
        """The figure as PNG bytes."""
        return png(self.figure)

    def svg(self) -> Markup:
        """The figure as an element of a page, with tooltips."""
        with _settings():
            buffer = io.BytesIO()
            self.figure.savefig(
                buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        label = f"Methods on {one_line(self.name, 40)}"
        prefix = f"{self.name}-"
        return inline_svg(buffer.getvalue(), prefix, label, self.tooltips, look.VARIABLES)


def truth_figure(problem: ProblemTruth) -> TruthFigure:
    """Draw every method on a problem.

    Args:
        problem: measured with at least one method.

    Raises:
        InputError: if no method was measured.
    """
    if not problem.methods:
        raise InputError(f"figure: found no method on {problem.name!r}, expected at least one")
    draw = panel_of(problem)
    is_simplex = draw is draw_simplex
    tooltips: Tooltips = {}
    with _settings():
        figure, cells = _sheet(len(problem.methods), _NO_AXIS if is_simplex else _AXIS)
        for i, (method, axes) in enumerate(zip(problem.methods, cells, strict=True)):
            tooltips |= draw(axes, problem, method, f"{problem.name}-{i}-")
            axes.set_title(one_line(method.name, 26), fontsize=9.5)
            if i % _COLUMNS and not is_simplex:
                axes.set_ylabel("")
        handles = _handles(problem, is_simplex)
        # Labels are given apart: one that starts with "_" would be skipped otherwise.
        labels = [str(handle.get_label()) for handle in handles]
        figure.legend(
            handles, labels, loc="lower center", ncols=4 if len(cells) > 2 else 2, fontsize=8.5
        )
    return TruthFigure(figure, tooltips, problem.name)


def _sheet(n_panels: int, below: float) -> tuple[Figure, list[Axes]]:
    """Panels of fixed size in rows; the places are in inches, as nothing else keeps them square."""
    columns = min(n_panels, _COLUMNS)
    rows = -(-n_panels // _COLUMNS)
    wide = max(columns, 2) * (_LEFT + _SIDE + _RIGHT)
    high = rows * (_TOP + _SIDE + below) + _FOOT
    figure = Figure(figsize=(wide, high))
    cells = []
    for i in range(n_panels):
        row, column = divmod(i, _COLUMNS)
        left = column * (_LEFT + _SIDE + _RIGHT) + _LEFT
        bottom = high - (row + 1) * (_TOP + _SIDE + below) + below
        place = (left / wide, bottom / high, _SIDE / wide, _SIDE / high)
        cells.append(figure.add_axes(place))
    return figure, cells


def _handles(problem: ProblemTruth, is_simplex: bool) -> list[Line2D | Patch]:
    named = enumerate(one_line(name, 20) for name in problem.objectives)
    handles: list[Line2D | Patch] = [
        Line2D([], [], ls="none", marker="o", color=look.color(i), ms=6, label=f"all on {name}")
        for i, name in named
    ]
    handles.append(
        Line2D([], [], color=look.LIMIT, lw=4, alpha=0.55, label="exact optimum of each trade-off")
    )
    is_parallel = len(problem.objectives) > 2
    mark: dict[str, Any] = (
        {"ls": (0, (4, 3)), "lw": 1.1} if is_parallel else {"ls": "none", "marker": "x"}
    )
    handles.append(Line2D([], [], color=look.INK, label="reference policy", **mark))
    handles.append(
        Line2D([], [], ls="none", marker="o", color=look.INK, ms=6, label="one policy for all")
    )
    if not is_parallel:
        ring: dict[str, Any] = {"mfc": "none", "mec": look.INK, "mew": 0.8, "ms": 9}
        handles.append(Line2D([], [], ls="none", marker="o", label="what it converges to", **ring))
    if is_simplex and problem.floors:
        handles.append(Patch(fc=look.AREA, ec=look.LIMIT, label="keeps every floor"))
    elif not is_parallel:
        handles.append(Patch(fc=look.AREA, ec=look.LIMIT, label="attainable on average"))
    return handles


@contextmanager
def _settings() -> Iterator[None]:
    with style.context(["default", look.RC]):
        yield
