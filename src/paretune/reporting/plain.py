"""Text that others wrote, made safe to print: no control character, no broken Unicode."""

from __future__ import annotations

import re
import unicodedata

# Whole terminal sequences, so that no "[31m" is left behind: CSI, then OSC up to its end.
_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_MARKS = re.compile(r"([\\`*<>|]|^[#+=~-])")
_BRACKETS = re.compile(r"([\[\]])")
_LINK = re.compile(r"!\[|\[\^|\]\s*[(\[:]|^\[[ xX]?\]")
"""Where brackets can be a link, a note or a box to tick: E[min] is none."""
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


def markdown(text: str) -> str:
    r"""Text on one line that Markdown shows as it is: no tag, link, cell or heading comes of it.

    Example:
        >>> print(markdown("a|b <i>*c*</i>"))
        a\|b \<i\>\*c\*\</i\>
        >>> print(markdown("[a](b)"), markdown("E[min]"))
        \[a\](b) E[min]
    """
    line = _MARKS.sub(r"\\\1", one_line(text))
    return _BRACKETS.sub(r"\\\1", line) if _LINK.search(line) else line


def markdown_code(text: str) -> str:
    """Text on one line as code: nothing in it ends the code.

    Example:
        >>> markdown_code("a `b")
        "`a 'b`"
    """
    return "`" + one_line(text).replace("`", "'") + "`"
