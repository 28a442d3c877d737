"""Tables, figures and the page of exact problems."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from paretune.core.results import KnownFront
from paretune.core.truth import MethodTruth, ProblemTruth, TruthPoint
from paretune.errors import InputError
from paretune.reporting.truth_figure import truth_figure
from paretune.reporting.truth_page import summary, write_truth_page
from paretune.reporting.truth_panels import (
    _clipped,
    _crossings,
    draw_front,
    draw_parallel,
    draw_simplex,
    panel_of,
)
from paretune.reporting.truth_table import tally, truth_table


def point(weight: float, first: float, **more) -> TruthPoint:
    numbers = {
        "tradeoff": (weight, 1 - weight),
        "policy": ((first, 1 - first, 0.0),),
        "values": (first, 1 - first),
        "to_optimum": 0.25,
        "value_gap": 0.1,
        "aim": None,
        "aim_values": None,
        "to_aim": None,
        "nats": 0.5,
        "utility": 0.5,
        "missed": None,
    }
    return TruthPoint(**{**numbers, **more})


METHOD = MethodTruth(
    "dpo <b>", "a claim & more", (point(0.0, 0.2), point(0.5, 0.4), point(1.0, 0.9, missed=0.125)),
    hypervolume=0.75, utility=0.5,
)  # fmt: skip
PROBLEM = ProblemTruth(
    name="d1",
    about="A chain.",
    objectives=("left", "right"),
    measured_in="preference",
    reference=((0.4, 0.3, 0.3),),
    reference_values=(0.4, 0.3),
    cells=(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),),
    preferences=(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),),
    floors=(0.25, 0.5),
    known=KnownFront(((0.0, 1.0), (1.0, 0.0)), ((0.0, 1.0), (1.0, 0.0)), 0.5),
    optimum=(((0.1, 0.9, 0.0),), ((0.9, 0.1, 0.0),)),
    optimum_values=((0.1, 0.9), (0.9, 0.1)),
    methods=(METHOD,),
    skipped={"sft": "no reason", "mopo": "no reason"},
)


class TestTable:
    def test_a_row_a_method(self) -> None:
        table = truth_table(PROBLEM)
        assert table.columns == (
            "method", "claim", "to the optimum", "values off", "hypervolume", "utility",
            "floor missed",
        )  # fmt: skip
        assert table.rows == (("dpo <b>", "holds", "0.250", "0.100", "75%", "50%", "0.125"),)
        assert table.notes == ("not defined (no reason): sft, mopo",)

    def test_a_broken_claim_is_told(self) -> None:
        broken = dataclasses.replace(METHOD, broken=("found 1, expected 0",))
        silent = dataclasses.replace(METHOD, is_claimed=False)
        problem = dataclasses.replace(PROBLEM, methods=(broken, silent, METHOD))
        table = truth_table(problem)
        assert [row[1] for row in table.rows] == ["broken", "–", "holds"]
        assert table.notes[0] == "dpo <b>: found 1, expected 0"
        assert tally([problem]) == (1, 2)
        assert summary([problem]) == "1 method on 1 problem: 1 of 2 claims held."

    def test_largest_of_the_trade_offs(self) -> None:
        assert (METHOD.to_optimum, METHOD.missed, METHOD.to_aim) == (0.25, 0.125, None)
        aimed = dataclasses.replace(METHOD, points=(point(0, 0, to_aim=0.1), *METHOD.points))
        assert aimed.to_aim == 0.1


class TestFigure:
    def wide(self, n_objectives: int, n_actions: int = 4) -> ProblemTruth:
        values = tuple(np.linspace(0, 1, n_objectives).tolist())
        points = tuple(
            point(0, 0, tradeoff=t, policy=((1 / n_actions,) * n_actions,), values=values)
            for t in np.eye(n_objectives).tolist()
        )
        hull = tuple(map(tuple, np.eye(n_objectives).tolist()))
        return dataclasses.replace(
            PROBLEM,
            objectives=tuple(f"objective {i}" for i in range(n_objectives)),
            reference=((1 / n_actions,) * n_actions,),
            reference_values=values,
            known=KnownFront(hull, hull, 0.5),
            optimum_values=hull,
            methods=(dataclasses.replace(METHOD, points=points),),
        )

    def test_the_panel_that_fits(self) -> None:
        assert panel_of(PROBLEM) is draw_simplex
        assert panel_of(self.wide(2)) is draw_front
        assert panel_of(self.wide(3)) is draw_parallel

    @pytest.mark.parametrize("n_objectives", [0, 2, 3, 4])
    def test_draws_every_point_with_a_tooltip(self, n_objectives: int) -> None:
        problem = self.wide(n_objectives) if n_objectives else PROBLEM
        drawn = truth_figure(problem)
        assert len(drawn.tooltips) == len(problem.methods[0].points)
        svg = str(drawn.svg())
        assert svg.count('class="point"') == len(drawn.tooltips)
        assert "0.250 from the optimum" in svg and "<script" not in svg
        assert drawn.png()[:8] == b"\x89PNG\r\n\x1a\n"

    def test_points_of_one_policy_have_one_color(self) -> None:
        same = dataclasses.replace(METHOD, points=(point(0, 0.4), point(1, 0.4)))
        svgs = [
            str(truth_figure(dataclasses.replace(PROBLEM, methods=(m,))).svg())
            for m in (METHOD, same)
        ]
        marks = [
            set(re.findall(r'class="point".*?fill: (?:var\()?([#\w-]+)', s, re.S)) for s in svgs
        ]
        assert len(marks[0]) == 3 and marks[1] == {"--ink"}

    def test_the_same_input_gives_the_same_bytes(self) -> None:
        assert truth_figure(PROBLEM).png() == truth_figure(PROBLEM).png()

    def test_nothing_to_draw(self) -> None:
        with pytest.raises(InputError, match="found no method on 'd1'"):
            truth_figure(dataclasses.replace(PROBLEM, methods=()))

    def test_floors_by_hand(self) -> None:
        """At least half on action 1: the line from (1/2, 1/2, 0) to (1/2, 0, 1/2)."""
        slack = np.array([0.5, -0.5, -0.5])
        assert _crossings(np.eye(3), slack).tolist() == [[0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
        corners = _clipped(np.eye(3), slack)
        assert len(corners) == 3 and (corners @ slack >= -1e-12).all()
        assert len(_clipped(np.eye(3), np.array([-1.0, -1.0, -1.0]))) == 0
        assert len(_clipped(np.eye(3), np.ones(3))) == 3


class TestPage:
    def test_holds_everything_and_loads_nothing(self, tmp_path) -> None:
        page = write_truth_page([PROBLEM], tmp_path, command="paretune bench tables --problem 'd1'")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["d1.png", "tables.html"]
        text = page.read_text("utf-8")
        assert "1 method on 1 problem: 1 of 1 claim held." in text
        assert "a claim &amp; more" in text and "dpo &lt;b&gt;" in text and "<b>" not in text
        assert "not defined (no reason): sft, mopo" in text
        assert "--problem &#39;d1&#39;" in text
        for word in ("<script", "http://", "https://", '<link rel="style'):
            assert word not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)

    def test_nothing_to_show(self, tmp_path) -> None:
        with pytest.raises(InputError, match="found no problem"):
            write_truth_page([], tmp_path)
