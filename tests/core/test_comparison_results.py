"""Results of a comparison on disk."""

import json

from paretune.core.comparison_results import (
    ComparisonResult,
    Duel,
    MethodComparison,
    SettingTried,
    comparison_to_json,
)
from paretune.core.interval import Interval

RESULT = ComparisonResult(
    name="c",
    objectives=("a", "b"),
    seeds=(0, 1),
    runs=("seed-0", "seed-1"),
    methods=(
        MethodComparison(
            "m", "dpo", 3,
            (SettingTried({"beta": 0.1}, 0.5, 0.6, 0.4, 0.0, None, 3.0),
             SettingTried({"beta": 9.0}, None, seconds=1.5, failed="diverged")),
            {"beta": 0.1}, {"hypervolume": (0.5, None)}, {"utility_min": Interval(1.0, 0.5, 1.5)},
        ),
        MethodComparison("n", "sft", 1, (), {}, {}, {}, "failed"),
    ),
    duels=(Duel("hypervolume", "m", "n", 0.75),),
    duels_from="seeds",
    shares_of="box",
    criterion="both",
    budget=4,
    n_prompts=12,
    notes=("n",),
    facts={"x": "y"},
    seconds={"search": 1.0},
)  # fmt: skip


def test_a_comparison_survives_json():
    text = json.dumps(comparison_to_json(RESULT))
    assert ComparisonResult.from_json(json.loads(text)) == RESULT


def test_a_search_costs_what_all_of_its_settings_cost():
    assert RESULT.methods[0].search_seconds == 4.5
    assert RESULT.methods[1].search_seconds == 0
