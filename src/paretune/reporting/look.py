"""Colors, markers and type of every figure and page: told apart without color, on light and dark.

Figures are drawn with the light colors. On the page each of them becomes a CSS variable, so that
the same figure follows the reader's color scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from paretune.core.results import RunResult

INK = "#1d2733"
MUTED = "#66727f"
GRID = "#e3e7eb"
PAPER = "#ffffff"
AREA = "#eef2f6"
LIMIT = "#8b97a4"

# After Okabe and Ito 2008, darkened for thin lines on white; brightened for dark pages.
_LIGHT = ("#0b6fb8", "#c8500a", "#0a8f68", "#a3478f", "#b27d00", "#2e9bc6", "#7a5c3e", "#5b6470")
_DARK = ("#5cb3f5", "#ff9254", "#3fcf9f", "#e08fd0", "#ecbd4a", "#7fd3f2", "#c9a27c", "#b4bec9")
# Marker of matplotlib, and the same shape as SVG in a box from -5 to 5.
_MARKERS = (
    ("o", "M0-4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z"),
    ("s", "M-3.6-3.6h7.2v7.2h-7.2z"),
    ("^", "M0-4.4L4.4 3.8H-4.4z"),
    ("D", "M0-4.8L4.8 0L0 4.8L-4.8 0z"),
    ("v", "M0 4.4L4.4-3.8H-4.4z"),
    ("P", "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z"),
    ("X", "M-4.4-2.4L-2.4-4.4L0-2L2.4-4.4L4.4-2.4L2 0L4.4 2.4L2.4 4.4L0 2L-2.4 4.4L-4.4 2.4L-2 0z"),
    ("p", "M0-4.6L4.5-1.3L2.8 4H-2.8L-4.5-1.3z"),
)

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

LIGHT = {variable: color for color, variable in VARIABLES.items()}
"""Variables of a light page."""

DARK = {
    "--ink": "#e7ebf0",
    "--muted": "#9aa7b4",
    "--grid": "#2a323c",
    "--paper": "#171c23",
    "--area": "#212933",
    "--limit": "#7f8d9b",
    **{f"--m{i}": color for i, color in enumerate(_DARK)},
}
"""Variables of a dark page."""

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
