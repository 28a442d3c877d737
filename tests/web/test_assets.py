"""The files of the page: complete, without an address of others, readable in both schemes."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import paretune.web
from paretune.web import palette
from paretune.web.assets import front_script, front_style, page, page_assets

FOLDER = Path(paretune.web.__file__).parent
FILES = sorted(p for p in FOLDER.rglob("*") if p.suffix in (".js", ".css", ".html"))
TEXTS = {str(p.relative_to(FOLDER)): p.read_text("utf-8") for p in FILES}
SVG = "http://www.w3.org/2000/svg"
"""A name, not an address: nothing is loaded from it."""


def luminance(color: str) -> float:
    """Of WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("colors", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_text_can_be_read_in_both_schemes(colors: dict[str, str]) -> None:
    texts = ("--ink", "--muted", "--accent", "--bad")
    for text, back in itertools.product(texts, ("--paper", "--back", "--area")):
        assert contrast(colors[text], colors[back]) >= 4.5, (text, back)
    assert contrast(colors["--on-accent"], colors["--accent"]) >= 4.5
    # What is no text, but has to be seen: marks, edges of fields, sliders.
    for name in ("--edge", *(f"--m{i}" for i in range(8))):
        assert contrast(colors[name], colors["--paper"]) >= 3, name


def test_both_schemes_name_the_same_variables() -> None:
    assert list(palette.LIGHT) == list(palette.DARK)
    used = set(re.findall(r"var\((--[\w-]+)", " ".join(TEXTS.values())))
    made_here = {name for name in used if name.startswith("--pf-")}
    assert used - made_here <= set(palette.LIGHT)


def test_no_color_but_those_of_the_palette() -> None:
    for name, text in TEXTS.items():
        if not name.endswith(".css"):
            continue
        found = re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)|(?:rgb|hsl)a?\([^)]*\)", text)
        assert all(color.startswith("rgb(0 0 0 / ") for color in found), (name, found)


@pytest.mark.parametrize("name", [*TEXTS, "palette.css"])
def test_nothing_is_loaded_from_others(name: str) -> None:
    text = TEXTS.get(name, palette.palette_style()).replace(SVG, "")
    assert not re.search(r"\b(?:https?|wss?)://|@import|url\(|[\"'(=]//", text)


@pytest.mark.parametrize("name", [n for n in TEXTS if n.endswith(".js")])
def test_no_script_makes_markup_or_code_out_of_text(name: str) -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    more = r"DOMParser|createContextual|setAttribute\(.style."
    assert not re.search(f"{sinks}|{more}", TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_is_one_idea(name: str) -> None:
    assert len(TEXTS[name].splitlines()) < 400


class Loaded(HTMLParser):
    """What a page loads, and what is written into it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [v for k in ("src", "href") if (v := given.get(k)) and v[0] != "#"]
        self.inline += [k for k in given if k.startswith("on") or k == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


def test_the_page_loads_files_that_there_are_and_holds_no_script() -> None:
    found = Loaded(page().content.decode())
    assert found.inline == []
    names = {a.removeprefix("page/") for a in found.addresses} - {"data:,"}
    assert names and names <= set(page_assets())
    for name, text in TEXTS.items():
        for wanted in re.findall(r'^import .* from "(.*)";$', text, re.M):
            assert wanted.startswith("./") and wanted[2:] in page_assets(), (name, wanted)


def test_every_file_of_the_folder_is_served() -> None:
    served = "\n".join(asset.content.decode() for asset in (page(), *page_assets().values()))
    for name, text in TEXTS.items():
        assert text in served, name


def test_marks_are_those_of_the_figures() -> None:
    script = TEXTS["front/measures.js"]
    listed = re.search(r"const MARKS = \[(.*?)\];", script, re.S)
    assert listed and tuple(re.findall(r'"(M[^"]+)"', listed[1])) == palette.MARKS


def test_an_asset_is_named_by_its_content() -> None:
    tags = [asset.tag for asset in page_assets().values()]
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to read the script with")
def test_the_element_is_a_classic_script() -> None:
    """It must run where modules do not: in a page that is opened from a file."""
    done = subprocess.run(
        ["node", "--input-type=commonjs", "--check", "-"],
        input=front_script(), text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^\s*(import|export)\b", front_script(), re.M)
    assert "pareto-front {" in front_style()
