"""Text that others wrote, made safe to print: no control character, no broken Unicode."""

from __future__ import annotations

import re
import unicodedata

# Whole terminal sequences, so that no "[31m" is left behind: CSI, then OSC up to its end.
_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
# Marks that turn the writing direction can make a line read as another one.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Text without control characters; line feeds and tabs stay.

    Args:
        text: anything a model or a file may hold.

    Returns:
        The text without terminal sequences, control characters and marks that turn the writing
        direction; lone surrogates become U+FFFD, so that it can be written as UTF-8.

    Example:
        >>> printable("a\\x1b[31mred\\x1b[0m\\x07 cat\\r\\n")
        'ared cat\\n'
    """
    kept = []
    for sign in _SEQUENCE.sub("", text):
        kind = unicodedata.category(sign)
        if kind == "Cs":
            kept.append("\ufffd")
        elif sign in "\n\t" or (kind != "Cc" and sign not in _TURNS):
            kept.append(sign)
    return "".join(kept)


def one_line(text: str, width: int | None = None) -> str:
    """Printable text on one line, cut with an ellipsis after ``width`` characters.

    Example:
        >>> one_line("a\\n b\\tc  d", width=6)
        'a b c…'
    """
    line = " ".join(printable(text).split())
    if width is not None and len(line) > width:
        return line[: width - 1].rstrip() + "…"
    return line
