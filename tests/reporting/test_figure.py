"""Figures: what is drawn, and that the same input gives the same bytes."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from paretune.errors import InputError
from paretune.reporting import look
from paretune.reporting.figure import (
    front_figure,
    front_svgs,
    png,
    tradeoff_figure,
    tradeoff_svgs,
    write_figure,
)


def test_a_panel_a_run_with_every_point_where_it_was_measured(runs) -> None:
    figure = front_figure(runs)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["brevity", "caution"]
    style = look.looks(runs)["pareto_hqd"]
    axes = figure.axes[0]
    drawn = {tuple(p) for line in axes.get_lines() if line.get_marker() == style.marker
             for p in line.get_xydata().round(9)}  # fmt: skip
    wanted = {tuple(round(mean.value, 9) for mean in p.means) for p in runs[0].methods[3].points}
    assert drawn == wanted
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("helpful →", "concise →")


def test_dominated_points_are_hollow(runs) -> None:
    method = next(m for m in runs[0].methods if any(p.dominated for p in m.points))
    style = look.looks(runs)[method.name]
    points = [li for li in front_figure(runs).axes[0].get_lines() if "point" in str(li.get_gid())]
    marks = [line for line in points if line.get_marker() == style.marker]
    hollow = [line.get_markerfacecolor() == look.PAPER for line in marks]
    assert hollow == [p.dominated for p in method.points]


def test_the_known_front_is_drawn_through_its_vertices(runs) -> None:
    border = [li for li in front_figure(runs).axes[1].get_lines() if li.get_color() == look.LIMIT]
    np.testing.assert_allclose(border[0].get_xydata(), [[0, 1], [0.97, 0.12], [1, 0]])


def test_everything_measured_is_inside_the_frame(runs, run_of_three) -> None:
    for result in [*runs, run_of_three]:
        for axes in front_figure([result]).axes:
            (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
            for line in axes.get_lines():
                x, y = line.get_xydata().T
                assert left <= x.min() and x.max() <= right
                assert bottom <= y.min() and y.max() <= top


def test_the_legend_does_not_cover_a_panel(runs, run_of_three) -> None:
    for figure in (front_figure(runs), front_figure([run_of_three]), tradeoff_figure(runs[:1])):
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width
        assert not any(legend.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_three_objectives_make_pairwise_panels(run_of_three) -> None:
    labels = [(a.get_xlabel(), a.get_ylabel()) for a in front_figure([run_of_three]).axes]
    assert labels == [
        ("helpful →", "concise →"), ("helpful →", "humour →"), ("concise →", "humour →"),
    ]  # fmt: skip
    assert len(tradeoff_figure([run_of_three]).axes) == 3


def test_one_look_a_method_in_all_runs(runs) -> None:
    swapped = replace(runs[1], methods=runs[1].methods[::-1])
    assert look.looks([runs[0], swapped]) == look.looks(runs)
    many = replace(
        runs[0], methods=tuple(replace(runs[0].methods[0], name=str(i)) for i in range(20))
    )
    found = list(look.looks([many]).values())
    assert len({(style.color, style.marker) for style in found}) == 20


def test_colors_differ_for_readers_who_see_no_red_or_green() -> None:
    """Deuteranopia after Machado et al. 2009, severity 1; distance in linear RGB."""
    blind = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    )  # fmt: skip
    for palette in (look._LIGHT[:6], look._DARK[:6]):
        rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in palette])
        seen = (rgb**2.2) @ blind.T
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert apart[~np.eye(len(palette), dtype=bool)].min() > 0.04


def test_the_same_run_gives_the_same_bytes(runs, tmp_path: Path) -> None:
    one, other = (write_figure(runs[:1], tmp_path / f"{i}.png").read_bytes() for i in range(2))
    assert one == other
    assert front_svgs(runs[:1]) == front_svgs(runs[:1])
    image = Image.open(io.BytesIO(one))
    assert min(image.size) > 900


def settings() -> dict:
    # Reading the backend would load pyplot.
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}


def test_no_window_and_no_global_state(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    before = settings()
    png(tradeoff_figure(runs[:1]))
    tradeoff_svgs(runs[:1])
    assert settings() == before


def test_drawings_follow_the_page(runs) -> None:
    for drawing in front_svgs(runs)[0] + tradeoff_svgs(runs)[0]:
        root = ElementTree.fromstring(drawing)
        styles = " ".join(e.get("style", "") for e in root.iter())
        assert "var(--m0)" in styles and "var(--ink)" in styles
        assert not re.search(r"#[0-9a-f]{6}|font-family", styles)
        assert root.get("width") is None and root.get("viewBox")


def test_ids_are_unique_over_all_drawings_and_every_reference_resolves(runs) -> None:
    drawings = [d for rows in (front_svgs(runs), tradeoff_svgs(runs)) for row in rows for d in row]
    page = "".join(drawings)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used and used <= set(ids)
    assert "http" not in page


def test_every_point_has_a_tooltip(runs) -> None:
    root = ElementTree.fromstring(front_svgs(runs)[0][0])
    titles = [e.text for e in root.iter("title")]
    assert len(titles) == 4 * 11 + 1
    assert any(t.startswith("pareto_hqd · helpful 0.7, concise 0.3\nhelpful: 0.") for t in titles)


def test_names_are_text_never_markup_or_mathematics(runs) -> None:
    name = "$\\alpha$ <script>alert(1)</script> _x"
    hostile = replace(
        runs[0], name=name, objectives=("a</text><script>", "$x^2$"),
        methods=tuple(replace(m, name=f"_{name}{i}") for i, m in enumerate(runs[0].methods)),
    )  # fmt: skip
    figure = front_figure([hostile])
    png(figure)
    labels = [t.get_text() for t in figure.legends[0].get_texts()]
    assert labels[0].startswith("_$\\alpha$ <script>")
    drawings = front_svgs([hostile])[0] + tradeoff_svgs([hostile])[0]
    assert not any("<script" in drawing for drawing in drawings)
    texts = [e.text for d in drawings for e in ElementTree.fromstring(d).iter("text")]
    assert {"a</text><script> →", "$x^2$ →", "weight on $x^2$"} <= set(texts)


def test_signs_outside_the_bundled_font_do_not_fail(runs) -> None:
    png(front_figure([replace(runs[0], name="对齐 👍")]))


def test_bare_runs_can_be_drawn(runs) -> None:
    bare = replace(runs[0], known=None, reference=None)
    single = replace(bare, methods=tuple(replace(m, points=m.points[:1]) for m in bare.methods))
    failed = replace(bare, methods=(replace(bare.methods[0], points=(), failed="x"),))
    for result in (bare, single, failed):
        front_figure([result]).draw_without_rendering()
        tradeoff_figure([result]).draw_without_rendering()


def test_nothing_to_draw_is_an_error(runs, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run"):
        write_figure([], tmp_path / "x.png")
    with pytest.raises(InputError, match="at least two"):
        front_figure([replace(runs[0], objectives=("helpful",))])
    assert not list(tmp_path.iterdir())
