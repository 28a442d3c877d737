"""Markdown that others read in a browser: hostile names add no element to it, and no link."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from paretune.core.results import Cost, MethodResult, RunResult
from paretune.pipeline.card import model_card
from paretune.pipeline.config import parse_config
from paretune.reporting.table import Table

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "a|b|c",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "[x]: http://example.org",
    "<http://example.org>",
    "`code` ``more``",
    "**bold** *it*",
    "\n\n# heading\n\n- item\n\n---\n",
    "```\nfence\n```",
    "{{7*7}} ${7*7} $x^2$",
    "a\u2028b\x1b[31m\x00",
    "\\|\\<b>",
)


def elements(text: str) -> Counter[str]:
    """Tags and attributes that a reader's browser gets."""
    found: Counter[str] = Counter()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.update([tag, *(f"@{a}" for a, _ in attrs)])
    parser.feed(MarkdownIt("commonmark").enable("table").render(text))
    parser.close()
    return found


CONFIG = parse_config(
    {
        "name": "r", "objectives": ["wit", "tact"], "data": {"path": "rows.jsonl"},
        "methods": [{"method": "dpo"}], "base": {"path": "owner/name"},
    }
)  # fmt: skip


def card(text: str) -> str:
    """The card of a run in which every text an outsider may choose is ``text``."""
    cost = Cost(0, 0, 0, 0, 0, 0)
    method = MethodResult(text, (), None, None, None, (None, None), None, cost, failed=text)
    result = RunResult(
        text, (f"a{text}", f"b{text}"), (0.0, 0.0), (1.0, 1.0), text, None,
        (method,), notes=(text, text),
    )  # fmt: skip
    return model_card(CONFIG, result, f"paretune run {text}")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_card_of_a_run_shows_names_as_they_are(text: str) -> None:
    head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card(text), re.S).groups()  # type: ignore[union-attr]
    assert set(yaml.safe_load(head)) == {"library_name", "tags", "base_model"}
    plain = card("harmless").partition("\n---\n")[2]
    assert elements(body) == elements(plain)
    assert "\x1b" not in body and "\x00" not in body


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_cells(text: str) -> None:
    def table(said: str) -> Any:
        rows = (("a", "0.5 [0.4, 0.6]", "**0.7**"), (said, said, said))
        return Table(("method", said, "x"), rows, (said,)).markdown()

    found = elements(table(text))
    assert found == elements(table("harmless"))
    assert (found["table"], found["td"], found["th"]) == (1, 6, 3)
    assert " 0.5 [0.4, 0.6] |" in table(text)
