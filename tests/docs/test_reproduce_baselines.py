"""The page of the baselines: its measurements run, its sentences follow the numbers."""

from __future__ import annotations

import doctest
import importlib
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
from paretune.core.results import to_json as result_json
from paretune.functional.simplex import lattice
from paretune.pipeline.folder import Sealed
from paretune.safety.files import write_json

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "reproduce"
PAGE = ROOT / "docs" / "reproduce" / "baselines.md"
NAMES = ("adapters", "compared", "errors", "exact", "fronts", "page", "ric", "world")
METHODS = (
    "rewarded_soups", "mod_decoding", "modpo", "morlhf", "ric", "ham", "panacea", "dpo-weighted",
    "dpo-mixed",
)  # fmt: skip
PER_TRADEOFF = ("modpo", "morlhf", "dpo-weighted", "dpo-mixed")
TRADEOFFS = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))


@pytest.fixture(scope="module")
def made() -> Any:
    """The modules behind the page, by name without prefix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        found = {name: importlib.import_module(f"baselines_{name}") for name in NAMES}
        yield SimpleNamespace(**found, budget=importlib.import_module("budget"))


@pytest.fixture(scope="module")
def tiny(made: Any) -> Any:
    torch.set_num_threads(1)
    return made.budget.Budget.tiny()


def sure(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


def method_of(
    name: str,
    quality: float,
    seconds: float = 10.0,
    tradeoffs: tuple[tuple[float, ...], ...] = TRADEOFFS,
) -> MethodResult:
    """A method whose policies reach ``quality`` on what they are asked for, .1 elsewhere.

    Half of it is the smallest reward of a reply where all objectives are asked for, else .05.
    """
    points = tuple(
        PointResult(
            t, name, tuple(sure(quality if w else 0.1) for w in t),
            sure(quality / 2 if min(t) else 0.05), sure(quality), Collapse(0, 0, 0, 0.0), 10, False,
        )
        for t in tradeoffs
    )  # fmt: skip
    cost = Cost(seconds, 1000, 1.0, 1, 3, 3, 1.0, 1)
    steers = (1.0,) * len(tradeoffs[0])
    return MethodResult(
        name, points, sure(quality / 2), sure(quality / 2), sure(quality), steers, None, cost
    )


def run_of(seed: int, more: Mapping[str, float], seconds: Mapping[str, float]) -> RunResult:
    """A run in which methods differ by ``more``, up to noise."""
    noise = np.random.default_rng(seed).normal(scale=1e-3, size=len(METHODS))
    methods = tuple(
        method_of(name, 0.6 + more.get(name, 0.0) + float(e), seconds.get(name, 10.0))
        for name, e in zip(METHODS, noise, strict=True)
    )
    known = KnownFront((), (), 0.8, {}, 0.9, 0.95)
    reference = method_of("reference", 0.3)
    return RunResult("r", ("a", "b"), (0, 0), (1, 1), "", reference, methods, known, n_prompts=10)


def comparison_of(
    made: Any, more: Mapping[str, float], seeds: int = 5, **seconds: float
) -> list[Any]:
    runs = tuple(run_of(seed, more, seconds) for seed in range(seeds))
    return [made.fronts.Comparison("compare-a", runs)]


class TestFronts:
    def test_doctests(self, made: Any) -> None:
        found = [doctest.testmod(getattr(made, n)) for n in ("fronts", "compared", "exact", "ric",
                                                             "adapters")]  # fmt: skip
        assert all(r.failed == 0 and r.attempted for r in found)

    def test_shares_are_of_the_known_front(self, made: Any) -> None:
        (found,) = comparison_of(made, {})
        # .6 of both in the middle, .6 * .6 of .8; half of .6, of .9.
        means = [found.quality("ric", m).mean() for m in made.fronts.QUALITY]
        assert means == pytest.approx([45, 100 / 3], abs=0.3)

    def test_trade_offs_that_both_served(self, made: Any) -> None:
        run = run_of(0, {}, {})
        corners = TRADEOFFS[::2]
        methods = tuple(
            method_of(m.name, 0.6, tradeoffs=corners if m.name == "modpo" else TRADEOFFS)
            for m in run.methods
        )
        run = RunResult(**{**vars(run), "methods": methods})
        found = made.fronts.Comparison("compare-a", (run,))
        assert found.shared(["ric", "ham"]) == list(TRADEOFFS)
        assert found.shared(["ric", "modpo"]) == list(corners)
        # Without the middle: .6 * .1 twice, .1 * .1 of them the same, of .8; .05 of .9.
        reached = [found.quality("ric", m, corners)[0] for m in made.fronts.QUALITY]
        assert reached == pytest.approx([100 * 0.11 / 0.8, 100 * 0.05 / 0.9])
        cells = made.fronts.quality_cells([found], "modpo", ["ric"])
        assert [c.gap.mean for c in cells] == pytest.approx([0, 0])

    def test_a_comparison_that_has_only_begun_decides_nothing(self, made: Any) -> None:
        many, one = comparison_of(made, {}) + comparison_of(made, {}, seeds=1)
        assert made.fronts.decidable([many, one]) == [many]
        assert made.fronts.decidable([one]) == [one]

    def test_seeds_that_are_measured_are_read(self, made: Any, tmp_path: Path) -> None:
        for seed in (0, 1, 10):
            (tmp_path / "compare-a" / f"seed-{seed}").mkdir(parents=True)
        for seed in (10, 1):
            stage = Sealed(tmp_path / "compare-a" / f"seed-{seed}" / "6-front", {})
            with stage.writing() as (folder, _):
                write_json(folder / "front.json", result_json(run_of(seed, {}, {})))
        (found,) = made.fronts.read_comparisons([tmp_path / "compare-a", tmp_path / "compare-b"])
        assert found.name == "compare-a" and found.runs == (run_of(1, {}, {}), run_of(10, {}, {}))

    def test_a_method_that_failed_is_not_there(self, made: Any) -> None:
        run = run_of(0, {}, {})
        methods = tuple(
            MethodResult(**{**vars(m), "failed": "x"}) if m.name == "ham" else m
            for m in run.methods
        )
        broken = RunResult(**{**vars(run), "methods": methods})
        found = made.fronts.Comparison("compare-a", (run, broken))
        assert found.has("ric") and not found.has("ham") and not found.has("unheard of")
        assert made.compared.ham_against_ric([found]).verdict == "not decided: not measured yet"


class TestVerdicts:
    def test_better_holds_worse_does_not_and_equal_is_not_decided(self, made: Any) -> None:
        compared = made.compared
        claims = {
            compared.ric_against_soups: "ric", compared.modpo_against_dpo: "modpo",
            compared.ham_against_ric: "ham", compared.panacea_against: "panacea",
        }  # fmt: skip
        for claim, name in claims.items():
            assert claim(comparison_of(made, {name: 0.1})).verdict == "holds"
            assert claim(comparison_of(made, {name: -0.1})).verdict.startswith("does not hold: w")
            assert claim(comparison_of(made, {})).verdict.startswith("not decided: no difference")
            few = claim(comparison_of(made, {name: 0.1}, seeds=2))
            assert few.verdict == "not decided: 2 seeds are too few"
            assert few.measured.endswith("2 seeds on A")
            assert claim([]).verdict == "not decided: not measured yet"

    def test_better_than_some_is_better_only_there(self, made: Any) -> None:
        found = comparison_of(made, {"panacea": 0.1, "dpo-weighted": 0.2})
        assert made.compared.panacea_against(found).verdict == (
            "holds only if: judged by hypervolume on A (1 of 2) and E[min] on A (1 of 2); "
            "worse by hypervolume on A (1 of 2) and E[min] on A (1 of 2)"
        )

    def test_costs(self, made: Any) -> None:
        # Three trade-offs: RiC at 10 s is a tenth of MORLHF from 10 * 10 / (1000 / 3) = .3 on.
        assert made.compared.ric_cost(comparison_of(made, {}, morlhf=1000.0)).verdict == "holds"
        found = comparison_of(made, {}, morlhf=30.0)
        assert "there are 10 trade-offs" in made.compared.ric_cost(found).verdict
        assert made.compared.modpo_cost(found).verdict.startswith("holds only if: cheaper is meant")
        assert made.compared.modpo_cost(comparison_of(made, {}, morlhf=40.0)).verdict == "holds"
        cheap = made.compared.modpo_cost(comparison_of(made, {}, morlhf=5.0))
        assert cheap.verdict == "does not hold: 0.5 times at these budgets"

    def test_even_trade_off_of_a_grid_without_it(self, made: Any) -> None:
        nearest = ((0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5))
        method = method_of("x", 0.6, tradeoffs=((1.0, 0.0, 0.0), *nearest))
        run = RunResult(**{**vars(run_of(0, {}, {})), "methods": (method,)})
        found = made.fronts.Comparison("compare-c", (run,))
        assert made.compared._overall(found, "x") == pytest.approx([0.6])

    def test_more_reward_than_merging(self, made: Any) -> None:
        # All of both objectives at the even trade-off: .6 against .6 + x.
        claim = made.compared.mod_against_merging
        assert claim(comparison_of(made, {"mod_decoding": 0.1})).verdict == "holds"
        some = claim(comparison_of(made, {"mod_decoding": 0.03}))
        assert re.fullmatch(r"holds only if: a gain of [45]\.\d ± 0\.\d % \(A\) is meant",
                            some.verdict)  # fmt: skip
        assert claim(comparison_of(made, {"mod_decoding": -0.1})).verdict.startswith("does not")


def test_three_objectives_on_other_grids(made: Any) -> None:
    grids = {n: tuple(w.weights for w in lattice(3, n)) for n in (2, 4)}
    runs = []
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(scale=1e-3, size=len(METHODS))
        methods = tuple(
            method_of(n, 0.6 + float(e), 30, grids[2 if n in PER_TRADEOFF else 4])
            for n, e in zip(METHODS, noise, strict=True)
        )
        run = run_of(seed, {}, {})
        cube = {"objectives": ("a", "b", "c"), "low": (0,) * 3, "high": (1,) * 3}
        runs.append(RunResult(**{**vars(run), **cube, "methods": methods}))
    found = [made.fronts.Comparison("compare-c", tuple(runs))]
    compared = made.compared
    for claim in (
        compared.ric_cost, compared.ric_against_soups, compared.modpo_cost,
        compared.modpo_against_dpo, compared.mod_against_merging, compared.ham_against_ric,
        compared.panacea_against,
    ):  # fmt: skip
        section = claim(found)
        assert "3 seeds on C" in section.measured and "| C |" in section.body_markdown
    assert "| C | modpo | 6 | 3 |" in compared.modpo_against_dpo(found).body_markdown
    assert "| C | ham | 15 | 3 |" in compared.ham_against_ric(found).body_markdown


class TestRic:
    def test_variants_share_training_and_differ_in_what_they_say(self, made: Any) -> None:
        config = made.world.ric_config("B", 1)
        assert [m.name for m in config.methods] == list(made.world.VARIANTS)
        jobs = [config.build_method(m).plan(2, config.tradeoffs_of(m)) for m in config.methods]
        assert [len(plan) for plan in jobs] == [2, 2, 1, 1]
        assert len({repr(plan[0]) for plan in jobs}) == 1

    def test_steered_is_all_the_weight_less_none(self, made: Any) -> None:
        run = run_of(0, {}, {})
        ric = next(m for m in run.methods if m.name == "ric")
        reached = ric.points[0].means[1].value
        assert made.ric.steered(run, ric) == pytest.approx(100 * (reached - 0.1))

    def test_nobody_meets_the_even_wish(self, made: Any) -> None:
        wish, (first, both) = made.ric.share_reached("B", "gauss")
        assert (wish > 1.5).all() and first < 0.1 and both == 0
        assert made.ric.map_optimum().verdict.startswith("holds only if: objectives can be had")


class TestExact:
    def test_weighted_losses_miss_what_modpo_reaches(self, made: Any) -> None:
        section = made.exact.modpo_is_exact(("random-2",))
        assert section.verdict == "holds"
        # The documented gap of the bench.
        corners, between = made.exact.distances(made.exact.truths("random-2")["dpo weighted"])
        assert corners < 1e-4 and between == pytest.approx(0.138, abs=0.005)

    def test_only_the_reverse_kl_does_without_its_normalizer(self, made: Any, tiny: Any) -> None:
        verdict = made.exact.mod_with_and_without_z(tiny).verdict
        assert verdict == "holds only if: Z is solved; without it for reverse_kl only"

    def test_tokens_by_hand(self, made: Any) -> None:
        joint = torch.tensor([[0.1, 0.3], [0.2, 0.4]]).log()
        assert made.exact.next_tokens(joint, 0).exp() == pytest.approx(torch.tensor([0.4, 0.6]))
        after = made.exact.next_tokens(joint, 1).exp()
        assert after.flatten().tolist() == pytest.approx([0.25, 0.75, 1 / 3, 2 / 3])

    def test_mixtures_of_tokens_are_exact_for_one(self, made: Any) -> None:
        assert made.exact.sequence_errors(1, 0)[0] < 1e-12
        apart, best, mixed = made.exact.sequence_errors(3, 0)
        assert apart > 0.01 and mixed < best

    def test_corners_on_a_straight_front(self, made: Any) -> None:
        # 19 inner trade-offs; without a penalty only the even one keeps both.
        assert made.exact._inner(1.0, 1e-3)[0] == pytest.approx(1 / 19)
        assert made.exact._inner(0.5, 1e-3)[0] == 1

    def test_factors(self, made: Any, tiny: Any) -> None:
        assert made.adapters.factor_errors(0.0, tiny).max() < 1e-12
        assert made.adapters.factor_errors(None, tiny, weight=1.0).max() < 1e-12
        # Half of the four products are missing their share: 1 / sqrt(2) without a common start.
        assert made.adapters.factor_errors(None, tiny).mean() == pytest.approx(0.707, abs=0.03)
        assert made.adapters.peft_error("cat") < 1e-5 < 0.1 < made.adapters.peft_error("linear")


class TestErrors:
    def test_all_are_there_and_three_are_about_text(self, made: Any, tiny: Any) -> None:
        found = {m.code: m for m in made.errors.mistakes(tiny)}
        assert list(found) == [f"B{i}" for i in range(1, 18)]
        assert {code for code, m in found.items() if m.is_text} == {"B8", "B9", "B11"}
        assert found["B1"].values == {"damaged": 3, "kept": 4}
        assert found["B7"].values == {"front": 3, "slack": 4, "few": 5}
        assert found["B13"].values["calibrated"] < 1e-4 < 0.1 < found["B13"].values["raw"]
        assert found["B16"].values == {"keys": 2, "taken": 0, "moved": 0}
        assert found["B14"].values["small"] == pytest.approx(5)  # 1 / .1, half of it at the start


class TestPage:
    def test_without_any_run(self, made: Any, tiny: Any) -> None:
        parts = made.page.sections(tiny, [], [], ("random-2",))
        text = made.page.page("Made.", parts, tiny, [])
        assert len(parts) == 16 and "none is measured yet" in text
        assert text.count("**not decided**: not measured yet") == 18  # nine claims, told twice

    def test_snippets_run(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        assert len(blocks) == 2
        for block in blocks:
            exec(block, {})

    def test_page_has_every_claim(self, made: Any) -> None:
        text = PAGE.read_text(encoding="utf-8")
        assert made.page.SNIPPETS in text
        assert re.findall(r"^## (\d+)\.", text, re.MULTILINE) == [str(i) for i in range(1, 17)]
