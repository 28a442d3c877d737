"""The page of ParetoHqD: its measurements run, its sentences follow the numbers."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.interval import Interval
from paretune.core.results import Collapse, Cost, KnownFront, MethodResult, PointResult, RunResult

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "reproduce"
PAGE = ROOT / "docs" / "reproduce" / "paretohqd.md"
NAMES = ("answer", "budget", "claims", "cost", "errors", "gaps", "page", "rivals", "scores",
         "selection", "source", "verdicts", "world")  # fmt: skip
TRADEOFFS = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))
SEEDS = 4


@pytest.fixture(scope="module")
def made() -> Any:
    """The modules behind the page, by name without prefix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{n: importlib.import_module(f"paretohqd_{n}") for n in NAMES})


@pytest.fixture(scope="module")
def tiny(made: Any) -> Any:
    torch.set_num_threads(1)
    return made.budget.Budget.tiny()


def sure(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


def method_of(name: str, quality: float, malformed: float, seconds: float) -> MethodResult:
    """Policies that reach ``quality`` on what they are asked for, .1 elsewhere."""
    points = tuple(
        PointResult(
            t, name, tuple(sure(quality if w else 0.1) for w in t), sure(quality / 2),
            sure(quality), Collapse(0, malformed, 0, malformed), 10, False,
        )
        for t in TRADEOFFS
    )  # fmt: skip
    return MethodResult(
        name, points, sure(quality / 2), sure(quality / 2), sure(quality), (1.0, None), None,
        Cost(seconds, 1, 3.0, 1, 3, 3, answer_seconds=2.0),
    )  # fmt: skip


def run_of(names: list[str], seed: int, change: Mapping[str, Any]) -> RunResult:
    """Quality .6, nothing malformed, 10 s, but for ``{name: (quality, malformed, seconds)}``."""
    noise = np.random.default_rng(seed).normal(scale=1e-3, size=len(names))
    methods = []
    for name, e in zip(names, noise, strict=True):
        quality, malformed, seconds = change.get(name, (0.6, 0.01, 10.0))
        methods.append(method_of(name, quality + e, malformed + abs(e), seconds))
    reference = method_of("reference", 0.3, 0.02, 0.0)
    known = KnownFront((), (), 0.8, {}, 0.9, 0.95)
    return RunResult(
        "r", ("a", "b"), (0, 0), (1, 1), "", reference, tuple(methods), known, n_prompts=10
    )


def runs_of(names: list[str], change: Mapping[str, Any], seeds: int = SEEDS) -> Any:
    return {
        s: [run_of(names, 100 * i + seed, change) for seed in range(seeds)]
        for i, s in enumerate("AB")
    }


def world_of(made: Any, change: Mapping[str, Any]) -> Any:
    """Runs of every kind."""
    kinds = {
        kind: [m.get("label", m["method"]) for m in methods("A")]
        for kind, methods in made.world.KINDS.items()
    }
    return made.world.World(
        runs_of(kinds["main"], change), runs_of(kinds["sizes"], change),
        {"A": [run_of(kinds["cost"], 0, change)]},
    )  # fmt: skip


def comparison_of(made: Any, change: Mapping[str, Any]) -> Any:
    return runs_of(list(made.scores.TUNED.values()), change)


class TestWorld:
    def test_configurations(self, made: Any) -> None:
        one, two = made.world.config("main", "A", 0), made.world.config("sizes", "B", 3)
        assert (one.name, two.name) == ("paretohqd-main-A-0", "paretohqd-sizes-B-3")
        assert two.seed == 3 and one.workers == two.workers == 1
        sizes = [m.options.get("k") for m in two.methods]
        assert sizes == [30, 100, 300, 1000, None, None]
        assert {len(two.tradeoffs_of(m)) for m in two.methods[:-1]} == {3}
        assert [t.weights for t in two.tradeoffs_of(two.methods[-1])] == [(0.5, 0.5)]

    def test_seeds_are_read_in_order_and_nothing_is_made(self, made: Any, tmp_path: Path) -> None:
        order = made.world.wanted(2)
        assert order[:5] == [("main", "A", 0), ("main", "B", 0), ("sizes", "A", 0),
                             ("sizes", "B", 0), ("cost", "A", 0)]  # fmt: skip
        assert len(order) == 9
        assert made.world.world_runs(2, tmp_path, is_made=False) == made.world.World()
        assert list(tmp_path.iterdir()) == []

    def test_a_comparison_counts_finished_seeds_alone(self, made: Any, tmp_path: Path) -> None:
        assert made.scores.comparison_runs(None) == {}
        place = tmp_path / "compare-a" / "seed-0"
        place.mkdir(parents=True)
        (place / "status.json").write_text(json.dumps({"state": "running"}))
        assert made.scores.comparison_runs(tmp_path) == {}
        assert not made.scores.is_complete(tmp_path, "A")


class TestNumbers:
    def test_doctests(self, made: Any) -> None:
        found = [doctest.testmod(getattr(made, name)) for name in ("cost", "scores")]
        assert all(r.failed == 0 and r.attempted for r in found)

    def test_clouds_and_rules(self, made: Any) -> None:
        selection = made.selection
        rewards = selection.cloud("dented", 0, 4000)
        assert (np.sqrt(rewards).sum(axis=1) <= 1 + 1e-12).all(), "below the front"
        rules = selection.rules(40)
        ray = selection.scores(rewards, rules[selection.RAY], 40)
        linear = selection.scores(rewards, rules[selection.LINEAR], 40)
        assert ray["gap"] < 0.1 < 0.5 < linear["gap"]
        assert ray["bins"] == 20 and linear["bins"] < 10
        assert ray["E[min]"] > 50 > 5 > linear["E[min]"] and linear["means"] > ray["means"]

    def test_scores_by_hand(self, made: Any) -> None:
        rewards = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6], [0.0, 0.0]])
        found = made.selection.scores(rewards, lambda pool, weights, k: np.array([2]), 1)
        # One reply, (.6, .6), for all; mixtures reach .6 + .4 * .6 / 2 on either side: .6.
        assert found["pooled"] == pytest.approx(0.36 / 0.36)
        assert found["means"] == pytest.approx(100 * 0.36 / 0.6)
        assert found["E[min]"] == pytest.approx(100) and found["distinct"] == pytest.approx(1 / 11)

    def test_ratios_of_two_boxes(self, made: Any) -> None:
        runs = [run_of(["x", "y"], 0, {"y": (0.3, 0.0, 1.0)})]
        known, own = made.rivals.ratios(runs, "x", "y")
        assert known == pytest.approx([2], abs=0.05)
        # Means (.1, q), (q, q), (q, .1) with q of .6 and .3 in a box from .1 - .025 to .6 + .025.
        assert own == pytest.approx([(0.525 / 0.225) ** 2], rel=0.05)

    def test_making_leaves_answers_out(self, made: Any) -> None:
        assert made.scores.making(method_of("x", 0.5, 0.0, 7.0).cost) == 7 + 3 - 2


class TestSentences:
    @pytest.mark.parametrize(
        ("quality", "verdict"),
        [
            (0.7, "holds"),
            (0.6, "not decided: no difference"),
            (0.5, "does not hold: no difference"),
        ],
    )
    def test_rays_must_beat_weighted_sums(self, made: Any, quality: float, verdict: str) -> None:
        world = world_of(made, {"ray": (quality, 0.01, 10.0)})
        found = made.claims.policies(world.main).verdict
        assert found.startswith(verdict)
        assert ("worse in" in found) == (quality == 0.5)

    def test_where_it_holds_is_told(self, made: Any) -> None:
        found = made.claims.between(
            {"A": runs_of(["x", "y"], {"x": (0.7, 0.0, 1.0)})["A"],
             "B": runs_of(["x", "y"], {})["B"]}, "x", "y", made.scores.YARDSTICKS[:1],
        )  # fmt: skip
        assert made.verdicts.verdict(found, "").startswith(
            "holds only if: hypervolume on B is left"
        )

    def test_a_second_stage_is_judged_beside_the_comparison(self, made: Any) -> None:
        world = world_of(made, {"stages-1-2": (0.4, 0.01, 20.0)})
        alone = made.claims.second_stage(world.main, {})
        both = made.claims.second_stage(world.main, comparison_of(made, {}))
        assert alone.verdict.startswith("does not hold") and "best of four" in both.body_markdown
        assert "best of four" not in alone.body_markdown

    def test_a_stage_may_need_other_settings(self, made: Any) -> None:
        sure = made.claims.gap([1.0, 1.1, 0.9], [0.0, 0.0, 0.0])
        worse = made.claims.gap([0.0, 0.0, 0.0], [1.0, 1.1, 0.9])
        found = made.verdicts.stage_verdict(
            {("A", "x"): worse, ("B", "x"): sure}, {("A", "x"): sure, ("B", "x"): worse}
        )
        assert found == (
            "holds only if: settings are searched and judged by x on A; worse in x on B; with the "
            "paper's 100 and 50 rows better in x on B, worse in x on A"
        )
        assert made.verdicts.stage_verdict({("A", "x"): sure}, {("A", "x"): sure}) == "holds"

    def test_more_rows_must_not_be_better(self, made: Any) -> None:
        poor = (0.4, 0.01, 10.0)
        worse, same = world_of(made, {"every-row": poor}), world_of(made, {})
        assert made.claims.few_rows(worse.sizes).verdict == "holds"
        assert made.claims.few_rows(same.sizes).verdict.startswith("not decided")
        better = world_of(made, {"rows-300": (0.7, 0.01, 10.0), "every-row": poor}).sizes
        found = made.claims.few_rows(better).verdict
        assert found.startswith("holds only if: close to the best") and "300 rows on A (+" in found
        assert "all rows lose mean a on A and B" in found

    def test_what_does_not_differ_decides_nothing(self, made: Any) -> None:
        same = made.claims.gap([1.0, 2.0], [1.0, 2.0])
        found = made.verdicts.layers_verdict(["x"], {("A", "x"): same})
        assert found.endswith("on the world both rules select the same responses")

    def test_layers(self, made: Any, tiny: Any) -> None:
        worse = world_of(made, {"layers-5k": (0.5, 0.01, 10.0)}).sizes
        assert "the fewest" in made.claims.few_layers(tiny, worse).verdict
        better = world_of(made, {"layers-5k": (0.7, 0.01, 10.0)}).sizes
        assert "several times k" in made.claims.few_layers(tiny, better).verdict

    def test_twice(self, made: Any) -> None:
        poor = (0.25, 0.4, 10.0)
        world = world_of(made, {"soups-aggressive": poor})
        assert made.rivals.twice(world.main, {}).verdict == "holds"
        tuned = comparison_of(made, {"rewarded_soups": (0.5, 0.02, 10.0)})
        found = made.rivals.twice(world.main, tuned).verdict
        assert found.startswith("holds only if: compared with over-trained soups (2.4")
        found = made.rivals.twice(world_of(made, {}).main, tuned).verdict
        assert found.startswith("does not hold: ")

    def test_collapse(self, made: Any) -> None:
        broken = world_of(made, {"soups-aggressive": (0.6, 0.4, 10.0)}).main
        all_broken = dict.fromkeys(("rewarded_soups", "morlhf", "ric"), (0.6, 0.4, 10.0))
        verdict = made.rivals.collapse(broken, comparison_of(made, {})).verdict
        assert verdict.startswith(
            "holds only if: baselines are trained too far; of replies of soups"
        )
        assert made.rivals.collapse(broken, comparison_of(made, all_broken)).verdict == "holds"
        some = world_of(made, {"soups-aggressive": (0.6, 0.2, 10.0)}).main
        verdict = made.rivals.collapse(some, comparison_of(made, {})).verdict
        assert verdict.startswith("does not hold: few is right, but not many")
        none = made.rivals.collapse(world_of(made, {}).main, {})
        assert none.verdict.startswith("does not hold") and "was not finished" in none.body_markdown

    @pytest.mark.parametrize(
        ("morlhf", "ric", "verdict"),
        [
            (2000.0, 200.0, "holds"),
            (100.0, 200.0, "holds only if: cheaper is meant"),
            (100.0, 10.0, "does not hold: cheaper than MORLHF, not by as much"),
            (5.0, 200.0, "does not hold: "),
        ],
    )
    def test_cost(self, made: Any, morlhf: float, ric: float, verdict: str) -> None:
        change = {"morlhf": (0.5, 0.0, morlhf), "ric": (0.5, 0.0, ric)}
        found = made.cost.cost(world_of(made, {}), comparison_of(made, change), None)
        assert found.verdict.startswith(verdict)
        assert "not finished yet: A and B" in found.body_markdown
        own = made.cost.cost(world_of(made, change), {}, None)
        assert "one seed" in own.body_markdown and "MORLHF" in own.body_markdown

    def test_without_baselines_cost_is_left_out(self, made: Any) -> None:
        world = made.world.World(main=world_of(made, {}).main)
        assert made.cost.sections(world, {}, None) == []


class TestErrors:
    def test_all_are_there_and_two_are_about_text(self, made: Any, tiny: Any) -> None:
        found = made.errors.mistakes(tiny)
        assert [m.code for m in found] == [f"H{i}" for i in range(1, 12)]
        assert {m.code for m in found if m.is_text} == {"H10", "H11"}

    def test_values(self, made: Any, tiny: Any) -> None:
        found = {m.code: m.values for m in made.errors.mistakes(tiny)}
        # (1 - .15, 1 - .35) and (1 - .24, 1 - .56); .7 / .3
        assert found["H1"] == pytest.approx(
            {"near": 0.85 / 0.65, "far": 0.76 / 0.44, "shortfalls": 7 / 3}
        )
        assert found["H2"] == pytest.approx({"spread": 0, "distance": 0.1 * 2**0.5})
        assert found["H3"] == {"front": 2, "all": 3}
        assert found["H4"]["2"] == 1 and found["H4"]["3"] == pytest.approx(0.25, abs=0.03)
        # Below a line: ten steps of .1, the staircase 0, .1, ..., .9.
        assert found["H5"]["mixed"] == pytest.approx(0.45)
        assert found["H6"] == {"first": 16, "second": 32}
        assert found["H7"] == pytest.approx({"whole": 2.4582, "each": 1.1174}, abs=1e-4)
        assert found["H8"]["hours"] == pytest.approx(133.02, abs=0.01)
        assert found["H9"] == pytest.approx({"sequences": 35200, "seconds": 5.714}, abs=1e-3)

    def test_gaps(self, made: Any, tiny: Any) -> None:
        found = {m.code: m.values for m in made.gaps.mistakes(tiny)}
        assert list(found) == [f"G{i}" for i in range(1, 11)]
        assert found["G1"]["few"] < found["G1"]["many"] and found["G1"]["near"] > found["G1"]["far"]
        assert [found["G2"][n] for n in ("unit-2", "raw-2", "unit-3")] == [1, 1, 1]
        assert found["G2"]["raw-3"] < 0.9
        assert found["G3"]["0.0"] < 0.2
        assert found["G5"] == {"2/10": 11, "3/4": 15, "3/10": 66}


@pytest.fixture(scope="module")
def text(made: Any, tiny: Any) -> str:
    """A page with everything on it."""
    world, comparison = world_of(made, {"ray": (0.65, 0.01, 10.0)}), comparison_of(made, {})
    sections = made.page.sections(tiny, world, comparison)
    short = made.answer.answer(sections, world, comparison)
    page: str = made.page.page(sections, short, tiny, "Made by a test.")
    return page


class TestPage:
    def test_every_table_is_one(self, text: str) -> None:
        assert text.count("\n## ") == 8 + 4
        assert not re.search(r"\bnan\b", text)
        width = None
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert width is None or cells is None or cells == width, line
            width = cells

    def test_without_a_world_its_sections_are_left_out(self, made: Any, tiny: Any) -> None:
        world = made.world.World()
        sections = made.page.sections(tiny, world, {})
        assert len(sections) == 2
        every = made.page.sections(tiny, world_of(made, {}), comparison_of(made, {}))
        assert all(made.answer.question(s).endswith("?") for s in every)
        assert "Tuned baselines are missing" in made.answer.answer(sections, world, {})

    def test_the_kept_page_is_of_the_full_budget_and_of_today(self, made: Any, text: str) -> None:
        kept, budget = PAGE.read_text(), made.budget.Budget()
        assert f"{budget.rows:,} responses" in kept and f"{budget.dialogues:,} normal" in kept
        pattern = re.compile(r"^## \d+\. (.*)$", re.MULTILINE)
        assert pattern.findall(kept) == pattern.findall(text)
