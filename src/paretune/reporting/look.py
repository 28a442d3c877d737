"""Colors, markers and type of every figure and page: told apart without color, on light and dark.

Figures are drawn with the light colors. On the page each of them becomes a CSS variable, so that
the same figure follows the reader's color scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from paretune.core.results import RunResult
from paretune.web import palette

INK, MUTED, GRID, PAPER, AREA, LIMIT = (
    palette.INK, palette.MUTED, palette.GRID, palette.PAPER, palette.AREA, palette.LIMIT,
)  # fmt: skip
_LIGHT, _DARK = palette.METHODS_LIGHT, palette.METHODS_DARK
LIGHT, DARK = palette.LIGHT, palette.DARK
_MARKERS = tuple(zip("os^DvPXp", palette.MARKS, strict=True))
"""Marker of matplotlib, and the same shape as SVG."""

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    AREA: "--area",
    LIMIT: "--limit",
    **{color: f"--m{i}" for i, color in enumerate(_LIGHT)},
}
"""Color of a figure to the variable of the page that replaces it."""

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": PAPER,
    "axes.unicode_minus": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelpad": 7,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "paretune",
}
"""Settings of matplotlib, on top of its own defaults; the user's settings do not enter."""


@final
@dataclass(frozen=True)
class Look:
    """How one method is drawn, the same in every figure of a report.

    Args:
        color: on a light page.
        variable: CSS variable that holds its color on the page.
        marker: marker of matplotlib.
        path: the marker as an SVG path in a box from -5 to 5.
    """

    color: str
    variable: str
    marker: str
    path: str


def color(i: int) -> str:
    """The i-th color on a light page; they repeat."""
    return _LIGHT[i % len(_LIGHT)]


def looks(results: Sequence[RunResult]) -> dict[str, Look]:
    """A look for each method name, in order of appearance over all runs.

    Eight colors repeat after eight methods; their markers are then shifted by one, so that 64
    methods stay distinct.
    """
    return named_looks([m.name for result in results for m in result.methods])


def named_looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name, in order; see :func:`looks`."""
    found = {}
    for i, name in enumerate(dict.fromkeys(names)):
        color = i % len(_LIGHT)
        marker, path = _MARKERS[(i + i // len(_LIGHT)) % len(_MARKERS)]
        found[name] = Look(_LIGHT[color], f"--m{color}", marker, path)
    return found
