"""The files that a browser reads: none is ever looked up by a name from outside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import final

from paretune.web.palette import palette_style

_FRONT = ("nodes", "measures", "handle", "plot", "triangle", "sliders", "element")
"""Scripts of ``<pareto-front>``, each after those it needs."""

_MODULES = ("page", "state", "server", "parts", "chat", "compare", "column", "ask", "users")


@final
@dataclass(frozen=True)
class Asset:
    """One file of the page.

    Args:
        content: its bytes.
        media_type: what they are.
    """

    content: bytes
    media_type: str

    @property
    def tag(self) -> str:
        """Changes with the content.

        Example:
            >>> Asset(b"a", "text/css").tag != Asset(b"b", "text/css").tag
            True
        """
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def front_script() -> str:
    """The element ``<pareto-front>`` as one classic script, which defines it where it runs.

    Example:
        >>> 'customElements.define("pareto-front"' in front_script()
        True
    """
    return "\n".join(_read(f"front/{name}.js") for name in _FRONT)


def front_style() -> str:
    """The style sheet of the element; its colors are the variables of the palette."""
    return _read("front/front.css")


def page() -> Asset:
    """The page itself."""
    return Asset(_read("page/page.html").encode(), "text/html; charset=utf-8")


@cache
def page_assets() -> Mapping[str, Asset]:
    """Everything that the page loads, by name.

    Example:
        >>> page_assets()["palette.css"].media_type
        'text/css; charset=utf-8'
    """
    styles = {
        "palette.css": palette_style(),
        "front.css": front_style(),
        "page.css": _read("page/page.css"),
    }
    scripts = {"front.js": front_script()}
    scripts |= {f"{name}.js": _read(f"page/{name}.js") for name in _MODULES}
    return {
        **{k: Asset(v.encode(), "text/css; charset=utf-8") for k, v in styles.items()},
        **{k: Asset(v.encode(), "text/javascript; charset=utf-8") for k, v in scripts.items()},
    }


@cache
def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
