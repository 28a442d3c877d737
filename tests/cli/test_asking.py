"""What a person sees in a terminal: everything that was said, in the room there is, and no more."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from paretune.cli.asking import estimate_text, question_text

LONG = "Wipe the lamp with a soft cloth. " * 12 + "Supercalifragilistic" * 6
TEXTS = {
    "plain": ("Why?", "Oil it.", LONG),
    "lines": ("First line.\n\nThird line.", "- one\n- two", "a\tb\n\n\nc"),
    "wide": ("灯はどう?" * 30, "油を差す。" * 40, "e\u0301" * 90),
    "hostile": (
        "\x1b[31mred\x1b[0m \x9b2J [bold]x[/bold] [link=file:///etc]y[/link]",
        "\x1b]8;;http://x\x07z\x1b]8;;\x07\x00\x08\x08 \u202eabc\u202c \ud800",
        "\r\nover\rwritten\x1b[A" + "[/]" * 5,
    ),
    "empty": ("", "", " "),
}


@pytest.mark.parametrize("width", [20, 80, 99, 100, 180])
@pytest.mark.parametrize("name", TEXTS)
def test_it_fits_and_nothing_is_lost(name: str, width: int) -> None:
    prompt, first, second = TEXTS[name]
    asked = {"prompt": prompt, "first": {"reply": first}, "second": {"reply": second}}
    found = question_text(asked, 3, width)
    lines = found.split("\n")
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("3.")
    if width >= 100:
        assert any(line.startswith("1|") and "2|" in line for line in lines)
    else:
        assert [line[:2] for line in lines if line[1:2] == "|"] == ["1|", "2|"]
    for sign in "\x1b\x9b\x00\x07\x08\r\u202e\u202c":
        assert sign not in found
    found.encode()
    if name == "hostile":
        assert "[bold]x[/bold][link=file:///etc]y[/link]" in "".join(found.split())
    if name == "plain" and width < 100:
        letters = "".join("".join(line[3:] for line in lines).split())
        assert "".join(LONG.split()) in letters


def test_a_bar_shows_the_weight_and_how_sure_it_is() -> None:
    def bar(mean: float, low: float, high: float) -> str:
        known = {"tradeoff": {"a": mean}, "low": {"a": low}, "high": {"a": high}, "loss": 0.5}
        told = {"estimate": known, "served": {"tradeoff": {"a": 1.0}, "method": "dpo"}}
        return estimate_text(told).split("  ")[1]

    assert bar(0.0, 0.0, 0.0) == "#" + "." * 29
    assert bar(1.0, 1.0, 1.0) == "." * 29 + "#"
    assert bar(0.5, 0.0, 1.0) == "=" * 15 + "#" + "=" * 14
    assert bar(0.5, 0.4, 0.6) == "." * 12 + "===#===" + "." * 11


def test_long_names_of_objectives_are_cut() -> None:
    name = "an objective \x1b[31mwith a name that goes on and on"
    known = {"tradeoff": {name: 0.5}, "low": {name: 0.1}, "high": {name: 0.9}, "loss": 0.01}
    text = estimate_text({"estimate": known, "served": {"tradeoff": {name: 1}, "method": "dpo"}})
    assert "\x1b" not in text and all(len(line) < 100 for line in text.splitlines())
