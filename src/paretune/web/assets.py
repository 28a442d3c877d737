"""The files that a browser reads, as text: none is ever looked up by a name from outside."""

from __future__ import annotations

from functools import cache
from importlib import resources

_FRONT = ("nodes", "measures", "handle", "plot", "triangle", "sliders", "element")
"""Scripts of ``<pareto-front>``, each after those it needs."""


def front_script() -> str:
    """The element ``<pareto-front>`` as one classic script, which defines it where it runs.

    Example:
        >>> 'customElements.define("pareto-front"' in front_script()
        True
    """
    return "\n".join(read(f"front/{name}.js") for name in _FRONT)


def front_style() -> str:
    """The style sheet of the element; its colors are the variables of the palette."""
    return read("front/front.css")


@cache
def read(name: str) -> str:
    """Text of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
