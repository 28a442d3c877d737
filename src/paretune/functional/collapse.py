"""Collapse: replies that broke down - too short, stuck in a loop, or repeating themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from paretune.core.results import Collapse
from paretune.errors import InputError

Cause = Literal["short", "loop", "repeats"]

MIN_WORDS = 3
MAX_PERIOD = 8
MIN_COPIES = 3
MIN_LOOP_TOKENS = 9
MIN_LOOP_SHARE = 0.3
MIN_DOUBLINGS = 3
MIN_TOKENS_FOR_REPEATS = 20
MIN_REPEAT_SHARE = 0.5

# Chinese and Japanese write no spaces: each of their signs counts as a word.
_SIGN = "\u3040-\u30ff\u3400-\u9fff"
_WORD = rf"https?://[^\s)\]>]+|[{_SIGN}]|[^\W{_SIGN}]+(?:['’][^\W{_SIGN}]+)*"
# Rules, banners and table borders repeat by design: a run of such marks is one token.
_MARK = r"[-=*~^#|+_\u2500-\u259f]"
_TOKEN = re.compile(rf"{_MARK}(?:[ \t]*{_MARK})*|(?P<word>{_WORD})|[^\w\s]")


def collapse_cause(text: str) -> Cause | None:
    """Why a reply counts as collapsed, or ``None`` for a sound one.

    Tokens are words and punctuation marks in lower case, where a run of layout marks on one line
    (``| --- | --- |``) is one mark, and an address one word. The first cause that holds is given:

    - ``short``: fewer than 3 words.
    - ``loop``: 3 or more copies in a row of the same 1 to 8 tokens cover at least 9 tokens and 30 %
      of the text; or a word follows itself at 3 or more places and the words concerned are at
      least 30 % of the text ("sorry, i with with with with that").
    - ``repeats``: 20 or more tokens, and at least half of the 4-grams were there before.

    Args:
        text: a reply as a reader sees it, without special tokens. The words of languages written
            without spaces are not found, Chinese and Japanese aside.

    Returns:
        One cause or ``None``.

    Source:
        ParetoHqD, arXiv:2504.16628, names "repetitive phrases or extremely short answers" and no
        threshold; these are ours.

    Example:
        >>> collapse_cause("Yes."), collapse_cause("no way, " * 5), collapse_cause("I do not know.")
        ('short', 'loop', None)
    """
    matches = list(_TOKEN.finditer(text.lower()))
    tokens = [m.group() for m in matches]
    if sum(m.lastgroup == "word" for m in matches) < MIN_WORDS:
        return "short"
    if _loop_length(tokens) >= max(MIN_LOOP_TOKENS, MIN_LOOP_SHARE * len(tokens)):
        return "loop"
    doublings, concerned = _doublings(tokens)
    if doublings >= MIN_DOUBLINGS and concerned >= MIN_LOOP_SHARE * len(tokens):
        return "loop"
    if len(tokens) >= MIN_TOKENS_FOR_REPEATS:
        grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
        if 1 - len(set(grams)) / len(grams) >= MIN_REPEAT_SHARE:
            return "repeats"
    return None


def collapse_shares(texts: Iterable[str], malformed: float | None = None) -> Collapse:
    """Shares of replies that collapsed, by cause.

    Args:
        texts: at least one reply.
        malformed: share of replies that a grammar refuses, where there is a grammar.

    Returns:
        Shares in [0, 1].

    Raises:
        InputError: if there is no reply.

    Example:
        >>> collapse_shares(["Yes.", "That is a fair question."])
        Collapse(short=0.5, loop=0.0, repeats=0.0, malformed=None)
    """
    causes = [collapse_cause(text) for text in texts]
    if not causes:
        raise InputError("collapse: found no reply, expected at least one")
    short, loop, repeats = (causes.count(c) / len(causes) for c in ("short", "loop", "repeats"))
    return Collapse(short, loop, repeats, malformed)


def _loop_length(tokens: list[str]) -> int:
    """Tokens of the longest stretch of at least three copies of 1 to 8 tokens, 0 without one."""
    longest = 0
    for period in range(1, MAX_PERIOD + 1):
        run = 0
        for before, after in zip(tokens, tokens[period:], strict=False):
            run = run + 1 if before == after else 0
            if run >= (MIN_COPIES - 1) * period:
                longest = max(longest, run + period)
    return longest


def _doublings(tokens: list[str]) -> tuple[int, int]:
    """Places where a word follows itself, and how many tokens these words are together."""
    doubled = [
        i for i in range(1, len(tokens)) if tokens[i] == tokens[i - 1] and tokens[i][0].isalpha()
    ]
    return len(doubled), len({j for i in doubled for j in (i - 1, i)})
