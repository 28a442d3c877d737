"""A drawing of matplotlib as part of a page: its colors, ids and tooltips belong to the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree  # nosec B405  # reads matplotlib's own drawings alone

from markupsafe import Markup

_COLOR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(
    drawing: bytes, prefix: str, label: str, tooltips: Mapping[str, str], colors: Mapping[str, str]
) -> Markup:
    """An SVG file as an element of an HTML page.

    Args:
        drawing: the SVG file, text kept as text.
        prefix: put before every id, so that several drawings share a page.
        label: what the drawing shows, for readers who cannot see it.
        tooltips: id of an element to the text shown on pointing at it.
        colors: ``#rrggbb`` of the drawing to the CSS variable (``--ink``), or other value of
            CSS, that replaces it.

    Returns:
        Markup: every text in it is escaped.
    """
    root = ElementTree.fromstring(drawing)  # nosec B314  # drawn a moment ago
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
        gid = element.get("id", "")
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            element.set(name.rpartition("}")[2], _adapted(name, value, prefix, colors))
        if gid in tooltips:
            title = ElementTree.Element("title")
            title.text = tooltips[gid]
            element.insert(0, title)
            element.set("class", "point")
    for unused in ("metadata", "style"):
        for parent in root.iter():
            for child in [c for c in parent if c.tag == unused]:
                parent.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    escaped = ElementTree.tostring(root, encoding="unicode")
    return Markup(escaped)  # nosec B704


def _adapted(name: str, value: str, prefix: str, colors: Mapping[str, str]) -> str:
    if name == "id":
        return value if value.startswith(prefix) else prefix + value
    if name.endswith("href"):
        return "#" + prefix + value.removeprefix("#")
    value = _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
    if name == "style":
        value = re.sub(r"(font-family|font):[^;]*(;|$)", _font, value)
        value = _COLOR.sub(lambda found: _variable(found[0], colors), value)
    return value


def _variable(color: str, colors: Mapping[str, str]) -> str:
    found = colors.get(color, color)
    return f"var({found})" if found.startswith("--") else found


def _font(found: re.Match[str]) -> str:
    """Keep size and weight, drop the family: the page has its own."""
    size = re.search(r"([\d.]+px)", found[0])
    weight = re.search(r"\b(bold|[5-9]00)\b", found[0])
    kept = ([f"font-size: {size[1]}"] if size else []) + (["font-weight: 600"] if weight else [])
    return "; ".join(kept) + (";" if kept else "")
