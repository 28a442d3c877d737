from __future__ import annotations

import dataclasses
import json

import pytest

from paretune.core.results import (
    Collapse,
    Cost,
    Difference,
    Interval,
    KnownFront,
    MethodResult,
    PointResult,
    RunResult,
    Sample,
    to_json,
)

CI = Interval(0.5, 0.4, 0.6)


@pytest.fixture
def result() -> RunResult:
    point = PointResult(
        tradeoff=(0.25, 0.75),
        policy="merge(a:0.25, b:0.75)",
        means=(CI, Interval(1.0, 0.9, 1.1)),
        utility_min=CI,
        utility_chebyshev=CI,
        collapse=Collapse(short=0.1, loop=0.2, repeats=0.3),
        n_replies=7,
        dominated=False,
    )
    method = MethodResult(
        name="dpo",
        points=(point, dataclasses.replace(point, dominated=True)),
        hypervolume=CI,
        utility_min=CI,
        utility_chebyshev=CI,
        controllability=(1.0, None),
        distance=None,
        cost=Cost(1.5, 10, 2.5, 20, policies=2, tradeoffs=2),
        largest_gap=0.25,
    )
    failed = dataclasses.replace(
        method, points=(), hypervolume=None, utility_min=None, utility_chebyshev=None, failed="why"
    )
    return RunResult(
        name="run",
        objectives=("a", "b"),
        low=(0.0, -1.0),
        high=(1.0, 2.0),
        box_from="the training rewards",
        reference=method,
        methods=(method, failed),
        known=KnownFront(
            ((0.0, 1.0), (1.0, 0.0)),
            ((0.0, 1.0),),
            0.75,
            {11: 0.5},
            0.25,
            best_chebyshev=(((0.5, 0.5), 0.7),),
        ),
        samples=(Sample("dpo", "q", ("r <b>",), ((0.5, 0.25),), ((1.0, 0.0),)),),
        notes=("a note",),
        facts={"seed": "0"},
        differences=(Difference("hypervolume", "dpo", "sft", CI, 0.9),),
        n_prompts=3,
    )


def test_json_round_trip(result: RunResult) -> None:
    back = RunResult.from_json(json.loads(json.dumps(to_json(result))))
    assert back == result
    assert back.methods[0].points[0].collapse.total == pytest.approx(0.6)
    assert back.known is not None and back.known.ceilings == {11: 0.5}


def test_json_round_trip_of_the_smallest_result() -> None:
    empty = RunResult("run", ("a",), (0.0,), (1.0,), "nothing", None, ())
    assert RunResult.from_json(json.loads(json.dumps(to_json(empty)))) == empty
