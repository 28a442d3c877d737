"""The part of the report that moves: its scripts, their hashes and the data they read."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from importlib import resources

from markupsafe import Markup

from paretune.core.results import RunResult, to_json
from paretune.reporting.look import Look
from paretune.web import assets

_SIGNS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""What could end a script, or a line of one, wherever it stands in a text."""


def explorer_scripts() -> list[Markup]:
    """The scripts of the page in their order: the front, then what is read beside it."""
    texts = (assets.front_script(), _resource("explorer.js"))
    return [Markup(text) for text in texts]  # nosec B704  # files of this package


def explorer_style() -> Markup:
    """Their style sheets."""
    return Markup(assets.front_style() + _resource("explorer.css"))  # nosec B704  # our files


def script_hash(script: str) -> str:
    """What a content security policy calls a script that stands on its page.

    Example:
        >>> script_hash("")
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def explorer_data(
    result: RunResult, styles: Mapping[str, Look], stepped: Iterable[str] = ()
) -> Markup:
    """What the explorer of one run reads, as JSON that no HTML comes of.

    Args:
        result: texts printable.
        styles: a look for each method.
        stepped: names of methods that answer with measured policies only, not between them.
    """
    shown = replace(result, personalization=(), differences=(), notes=(), facts={})
    looks = {name: asdict(style) for name, style in styles.items()}
    data = {"result": to_json(shown), "looks": looks, "stepped": list(stepped)}
    text = json.dumps(data, ensure_ascii=False)
    return Markup(text.translate(_SIGNS))  # nosec B704  # no sign of markup is left in it


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
