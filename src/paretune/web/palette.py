"""Colors and marks of every figure and page: told apart without color, on light and on dark."""

from __future__ import annotations

INK = "#1d2733"
MUTED = "#5f6b78"
GRID = "#e3e7eb"
PAPER = "#ffffff"
AREA = "#eef2f6"
LIMIT = "#8b97a4"

# After Okabe and Ito 2008, darkened for thin lines on white; brightened for dark pages.
METHODS_LIGHT = (
    "#0b6fb8", "#c8500a", "#0a8f68", "#a3478f", "#b27d00", "#2e9bc6", "#7a5c3e", "#5b6470",
)  # fmt: skip
METHODS_DARK = (
    "#5cb3f5", "#ff9254", "#3fcf9f", "#e08fd0", "#ecbd4a", "#7fd3f2", "#c9a27c", "#b4bec9",
)  # fmt: skip

MARKS = (
    "M0-4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.4L4.4 3.8H-4.4z",
    "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    "M0 4.4L4.4-3.8H-4.4z",
    "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "M-4.4-2.4L-2.4-4.4L0-2L2.4-4.4L4.4-2.4L2 0L4.4 2.4L2.4 4.4L0 2L-2.4 4.4L-4.4 2.4L-2 0z",
    "M0-4.6L4.5-1.3L2.8 4H-2.8L-4.5-1.3z",
)
"""SVG paths in a box from -5 to 5, one a method; ``front/measures.js`` holds the same."""

_PAGE_LIGHT = {
    "--back": "#f6f7f9", "--accent": "#0b6fb8", "--on-accent": "#ffffff", "--line": "#dfe4e9",
    "--edge": "#7d8995", "--bad": "#b3261e",
}  # fmt: skip
_PAGE_DARK = {
    "--back": "#0f1318", "--accent": "#5cb3f5", "--on-accent": "#0b1016", "--line": "#2a323c",
    "--edge": "#74818f", "--bad": "#ff8a7a",
}  # fmt: skip

LIGHT = {
    "--ink": INK, "--muted": MUTED, "--grid": GRID, "--paper": PAPER, "--area": AREA,
    "--limit": LIMIT, **{f"--m{i}": color for i, color in enumerate(METHODS_LIGHT)}, **_PAGE_LIGHT,
}  # fmt: skip
"""Variables of a light page."""

DARK = {
    "--ink": "#e7ebf0", "--muted": "#9aa7b4", "--grid": "#2a323c", "--paper": "#171c23",
    "--area": "#212933", "--limit": "#7f8d9b",
    **{f"--m{i}": color for i, color in enumerate(METHODS_DARK)}, **_PAGE_DARK,
}  # fmt: skip
"""Variables of a dark page."""


def palette_style() -> str:
    """The variables as a style sheet that follows the reader's color scheme.

    Example:
        >>> palette_style().splitlines()[0][:38]
        ':root { color-scheme: light dark; --in'
    """
    light, dark = (
        " ".join(f"{name}: {color};" for name, color in colors.items()) for colors in (LIGHT, DARK)
    )
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )
