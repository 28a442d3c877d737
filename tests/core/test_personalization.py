from __future__ import annotations

import json
from dataclasses import replace

from paretune.core.personalization import CellResult, PersonalizationResult, WinResult, to_json
from paretune.core.results import Interval

HALF = Interval(0.5, 0.4, 0.6)
FULL = PersonalizationResult(
    "fspo",
    ("a", "b"),
    100,
    Interval(0.87, 0.84, 0.89),
    HALF,
    Interval(0.12, 0.1, 0.14),
    {0: HALF, 8: HALF},
    (CellResult(True, True, Interval(0.8, 0.7, 0.9), 10, 80), CellResult(False, True, HALF, 9, 3)),
    (WinResult("zero-shot", HALF, (HALF, HALF), "users", 10, 80),),
    (0.5, None),
    HALF,
    (0.25, 0.75),
    ("A note.",),
    {"seed": "0"},
)


def test_it_survives_json() -> None:
    text = json.dumps(to_json(FULL), allow_nan=False)
    assert PersonalizationResult.from_json(json.loads(text)) == FULL
    least = PersonalizationResult("fspo", ("a",), 2, HALF)
    assert PersonalizationResult.from_json(json.loads(json.dumps(to_json(least)))) == least


def test_the_headline_is_new_on_new() -> None:
    assert FULL.headline == Interval(0.8, 0.7, 0.9)
    assert replace(FULL, cells=FULL.cells[1:]).headline == FULL.own
