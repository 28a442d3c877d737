"""The front in a browser: dragged with a mouse, a finger and keys, whatever was measured."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from tests.serving.conftest import Client
from tests.web.conftest import Tab

from paretune.core.interval import Interval
from paretune.core.results import Collapse, PointResult, RunResult
from paretune.functional.simplex import lattice


def test_a_hand_drags_the_trade_off_along_the_front(tab: Tab) -> None:
    page = tab.open().page
    assert tab.tradeoff == [0.5, 0.5]
    tab.drag(40, 60)
    first, second = tab.tradeoff
    assert first > 0.55 and first + second == pytest.approx(1)
    assert tab.fragment == f"tab=chat&method=soups&t={first:g},{second:g}"
    slider = page.locator("pareto-front").get_by_label("Weight of helpful")
    assert float(slider.input_value()) == pytest.approx(100 * first, abs=0.51)
    assert "between two measured points" in page.locator(".pf-place").inner_text()
    tab.drag(400, 400)
    assert tab.tradeoff == [1, 0]
    assert "a measured point" in page.locator(".pf-place").inner_text()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert tab.tradeoff == [0.99, 0.01]
    # A click on a measured point goes there, and a hand that comes near one holds to it.
    points = page.locator(".pf-own .pf-point > path")
    points.nth(0).click(force=True)
    assert tab.tradeoff == [0, 1]
    start, middle = (points.nth(n).bounding_box() for n in (0, 1))
    across, up = (middle[k] - start[k] for k in ("x", "y"))
    tab.drag(across - 4, up - 1)
    assert tab.tradeoff == [0.5, 0.5]


def test_a_method_that_answers_by_the_nearest_policy_shows_that_one(tab: Tab) -> None:
    page = tab.show(tab.client.service.result, serves="measured").page
    page.locator("pareto-front").get_by_label("Weight of helpful").fill("30")
    assert tab.tradeoff == [0.3, 0.7]
    said = page.locator(".pf-place").inner_text().replace("\u00a0", " ")
    assert said == "soups · answered by the nearest point: helpful 50 %, harmless 50 %"
    point = page.locator(".pf-own .pf-point").nth(1).get_attribute("transform")
    assert point == tab.handle.get_attribute("transform")


def test_a_finger_drags_it_too(browser: Any, client: Client) -> None:
    tab = Tab(browser, client, has_touch=True).open()
    box = tab.page.locator(".pf-ring").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    line = tab.context.new_cdp_session(tab.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        line.send("Input.dispatchTouchEvent",
                  {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})  # fmt: skip

    touch("touchStart", (x, y))
    touch("touchMove", (x - 50, y - 10))
    touch("touchMove", (x - 500, y - 300))
    touch("touchEnd")
    assert tab.tradeoff == [0, 1]
    tab.context.close()
    assert tab.complaints == []


def test_keys_move_the_handle_and_it_says_where_it_is(tab: Tab) -> None:
    page = tab.open().page
    tab.handle.focus()
    for key, wanted in (
        ("ArrowRight", [0.51, 0.49]), ("ArrowUp", [0.5, 0.5]), ("Shift+ArrowRight", [0.6, 0.4]),
        ("PageUp", [0.5, 0.5]), ("End", [1, 0]), ("ArrowRight", [1, 0]), ("Home", [0, 1]),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert tab.tradeoff == pytest.approx(wanted)
    said = tab.handle.get_attribute("aria-valuetext").replace("\u00a0", " ")
    assert said.startswith("helpful 0 %, harmless 100 %; mean reward helpful 0.000, harmless 1.000")
    assert tab.handle.get_attribute("role") == "slider"
    assert tab.handle.get_attribute("aria-valuenow") == "0"


def made_of(
    result: RunResult, names: tuple[str, ...], steps: int, scale: float = 1.0, shift: float = 0.0
) -> RunResult:
    """Two methods on a grid of trade-offs; means that are any numbers."""
    some = Interval(0.5, 0.4, 0.6)

    def point(weights: tuple[float, ...], share: float, is_beaten: bool) -> PointResult:
        means = [shift + scale * share * w**0.5 for w in weights]
        around = tuple(Interval(m, m - 0.06 * scale, m + 0.04 * scale) for m in means)
        return PointResult(weights, "p", around, some, some, Collapse(0, 0, 0), 10, is_beaten)

    grid = [t.weights for t in lattice(len(names), steps)]
    methods = [
        dataclasses.replace(
            result.methods[0], name=name,
            points=tuple(point(w, share, n % 4 == 3) for n, w in enumerate(grid)),
        )
        for name, share in (("soups", 0.7), ("a_method_with_quite_a_long_name", 0.95))
    ]  # fmt: skip
    failed = dataclasses.replace(methods[0], name="failed", points=(), failed="RunError: nan")
    size = len(names)
    middle = point((1 / size,) * size, 0.4, False)
    return dataclasses.replace(
        result, objectives=names, methods=(*methods, failed), known=None, samples=(),
        reference=dataclasses.replace(methods[0], name="reference", points=(middle,)),
        low=(shift,) * size, high=(shift + scale,) * size,
    )  # fmt: skip


LONG = "an_objective_with_a_very_long_nam"
SHAPES = {
    "two": (("helpful", "harmless"), 8, 1.0, 0.0),
    "two, negative": (("helpful", "harmless"), 4, 3.7, -5.2),
    "two, huge": ((f"{LONG}1", f"{LONG}2"), 6, 1e7, -1e6),
    "two, tiny": (("helpful", "harmless"), 6, 1e-9, 0.0),
    "two, equal": (("helpful", "harmless"), 1, 0.0, 3.0),
    "three": (("helpful", "harmless", "humor"), 6, 1.0, 0.0),
    "three, long": ((f"{LONG}1", f"{LONG}2", f"{LONG}3"), 4, 250.0, -100.0),
    "five": (("helpful", "harmless", "concise", "humor", "polite"), 3, 1.0, 0.0),
    "eight": (tuple(f"{LONG}{n}" for n in range(8)), 1, 1.0, -1.0),
}
OVERLAPS = """() => {
  const texts = [...document.querySelectorAll('.pf-drawing svg text')];
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  const isCrossed = (p, q) => p.left < q.right && q.left < p.right
    && p.top < q.bottom - 1 && q.top < p.bottom - 1;
  return boxes.flatMap(([a, p], i) =>
    boxes.slice(i + 1).filter(([b, q]) => isCrossed(p, q)).map(([b]) => [a, b]));
}"""
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.mark.parametrize("name", SHAPES)
def test_any_front_fits_a_phone_and_a_screen(browser: Any, client: Client, name: str) -> None:
    tab = Tab(browser, client, color_scheme="dark")
    page = tab.page
    page.set_viewport_size({"width": 360, "height": 740})
    tab.show(made_of(client.service.result, *SHAPES[name]))
    names = SHAPES[name][0]
    for width in (360, 640, 1200):
        page.set_viewport_size({"width": width, "height": 740})
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.evaluate(OVERLAPS) == [], width
        drawn = page.locator("pareto-front").evaluate("front => front.outerHTML")
        assert not re.search("NaN|Infinity|undefined", drawn)
    sliders = page.locator("pareto-front .pf-row input")
    assert sliders.count() == len(names)
    page.get_by_label("answered by").select_option("a_method_with_quite_a_long_name")
    sliders.nth(0).fill("40")
    assert tab.tradeoff[0] == 0.4 and sum(tab.tradeoff) == pytest.approx(1, abs=1e-9)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(15, 19, 24)"
    tab.context.close()
    assert tab.complaints == []


def test_a_triangle_of_three_weights(tab: Tab) -> None:
    page = tab.show(made_of(tab.client.service.result, *SHAPES["three"])).page
    assert tab.tradeoff == pytest.approx([1 / 3] * 3, abs=1e-4)
    tab.drag(0, -600)
    assert tab.tradeoff == [1, 0, 0]
    tab.drag(-600, 600)
    assert tab.tradeoff == [0, 1, 0]
    tab.handle.focus()
    for key, wanted in (
        ("ArrowRight", [0, 0.99, 0.01]), ("Shift+ArrowUp", [0.1, 0.891, 0.009]),
        ("End", [0, 1, 0]), ("Home", [1 / 3] * 3),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert tab.tradeoff == pytest.approx(wanted, abs=2e-4)
    assert page.locator(".pf-point").count() == 28
