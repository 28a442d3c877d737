"""Drawings of trainings on the page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markupsafe import escape

from paretune.core.results import RunResult
from paretune.core.traces import Curve, FloorTrace, TrainingTrace
from paretune.reporting.report import render_report
from paretune.reporting.training import training_blocks
from paretune.reporting.training_figure import mixture

AXES = ("helpful", "concise")


def curve(*values: float) -> Curve:
    return Curve(tuple(range(1, len(values) + 1)), values)


def trace(policy: str, tradeoff: tuple[float, ...] | None, **more: object) -> TrainingTrace:
    curves = {("accuracy", "concise"): curve(0.4, 0.7), ("loss", ""): curve(0.7, 0.5, 0.25)}
    return TrainingTrace("dpo", policy, tradeoff, curves, **more)


def floor(average: Curve) -> FloorTrace:
    values, price = curve(0.4, 0.45, 0.52), curve(0.0, 0.1, 0.3)
    return FloorTrace("concise", "preference", curve(0.5, 0.5, 0.5), values, average, price, (3,))


def test_a_panel_a_quantity_and_a_line_a_policy(runs: list[RunResult]) -> None:
    traces = [trace("a", (1.0, 0.0)), trace("b", (0.5, 0.5)), trace("c", None)]
    other = replace(traces[0], method="unknown to the results")
    first, last = training_blocks(runs[0], [other, *traces], "run-0-")
    assert (first.name, first.sentence) == ("dpo", "2 policies, 3 steps")
    assert (last.name, last.sentence) == ("unknown to the results", "1 policy, 3 steps")
    accuracy, loss = first.curves
    assert (accuracy.title, loss.title) == ("concise: pair accuracy", "loss")
    told = re.findall(r"<title>(.*?)</title>", loss.svg)
    assert told == [
        "a · helpful 1, concise 0: 0.250 in the end",
        "b · helpful 0.5, concise 0.5: 0.250 in the end",
        "c: 0.250 in the end",
    ]
    assert "stroke: color-mix(in srgb, var(--m0) 50.0%, var(--m1))" in loss.svg
    assert not re.search(r"#[0-9a-f]{6}", loss.svg), "a color that no reader's scheme can change"


def test_lines_of_thousands_of_steps_are_thinned(runs: list[RunResult]) -> None:
    sizes = []
    for n in (100, 20_000):
        # Up and down, so that the library cannot drop points that lie on a line.
        curves = {("loss", ""): curve(*(float(i % 2) for i in range(n)))}
        (block,) = training_blocks(runs[0], [TrainingTrace("dpo", "a", None, curves)], "x")
        sizes.append(len(block.curves[0].svg))
    assert sizes[1] < 2 * sizes[0]


@pytest.mark.parametrize(
    ("average", "end"), [(curve(0.4, 0.42, 0.51), "0.510"), (curve(), "0.520")]
)
def test_a_floor_shows_value_price_and_refreshes(
    runs: list[RunResult], average: Curve, end: str
) -> None:
    traces = [trace("primary-0", (1.0, 0.0), floors=(floor(average),))]
    (block,) = training_blocks(runs[0], traces, "x")
    (drawn,) = block.floors
    assert drawn.title == "primary-0: concise ≥ 0.500"
    assert drawn.sentence == (
        f"In the end {end} on the training prompts, at a multiplier of 0.300."
    )
    dotted = re.findall(
        r"stroke-dasharray: 1, *2", drawn.svg.replace("1.0", "1").replace("2.0", "2")
    )
    assert len(dotted) == 2, "the refresh is marked in both panels"


def test_a_floor_without_its_price_is_left_out(runs: list[RunResult]) -> None:
    """In a log of another version."""
    bare = replace(floor(curve()), multiplier=curve())
    (block,) = training_blocks(runs[0], [trace("a", None, floors=(bare,))], "x")
    assert block.floors == []


def test_a_mixture_follows_the_weights() -> None:
    assert mixture((1.0, 0.0, 0.0))[1] == "--m0"
    even = mixture((1 / 3, 1 / 3, 1 / 3))[1]
    assert even == (
        "color-mix(in srgb, color-mix(in srgb, var(--m0) 50.0%, var(--m1)) 66.7%, var(--m2))"
    )


def test_the_page_has_training_where_there_are_logs(runs: list[RunResult]) -> None:
    traces = [trace("a", (1.0, 0.0), floors=(floor(curve(0.5)),))]
    page = render_report(runs, traces=[traces, []])
    section = page[page.index('<section id="training">') :]
    section = section[: section.index("</section>")]
    assert section.count("<figure>") == 3
    assert "1 policy, 3 steps" in section and "concise: pair accuracy" in section
    assert "<dt>pair accuracy</dt>" in section and "<dt>log-ratio margin</dt>" not in section
    assert 'href="#training"' in page
    without = render_report(runs, traces=[[], []])
    assert 'id="training"' not in without and 'href="#training"' not in without


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><svg onload=alert(1)>', "{{7*7}}"]
)
def test_names_of_logs_stay_text(runs: list[RunResult], text: str) -> None:
    pages = [
        render_report(
            runs[:1],
            traces=[[replace(trace(name, None, floors=(floor(curve(0.5)),)), method=name)]],
        )
        for name in ("harmless", text)
    ]
    counts = [re.sub(r"<(?!/?[a-z])", "", page).count("<") for page in pages]
    assert counts[0] == counts[1]
    assert f"<b>{escape(text)}</b>" in pages[1]
