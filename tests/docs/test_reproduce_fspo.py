"""The page of multi-objective FSPO: its measurements run, its sentences follow the numbers."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.interval import Interval
from paretune.core.personalization import CellResult, PersonalizationResult, WinResult
from paretune.core.results import Collapse, Cost, KnownFront, MethodResult, PointResult, RunResult

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "reproduce"
PAGE = ROOT / "docs" / "reproduce" / "fspo.md"
NAMES = (
    "fspo_aligns", "fspo_answer", "fspo_budget", "fspo_dpo", "fspo_errors", "fspo_expense",
    "fspo_fonseca", "fspo_gaps", "fspo_hypervolume", "fspo_learned", "fspo_numbers", "fspo_page",
    "fspo_rows", "fspo_scores", "fspo_taste", "fspo_users", "fspo_world", "pagetext",
)  # fmt: skip
METHODS = ("linear", "chebyshev", "stch", "pareto_hv", "mirror")
TRADEOFFS = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))
SEEDS = 5


@pytest.fixture(scope="module")
def made() -> Any:
    """The modules behind the page, by name without prefix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        found = {name.removeprefix("fspo_"): importlib.import_module(name) for name in NAMES}
        yield SimpleNamespace(**found)


@pytest.fixture(scope="module")
def tiny(made: Any) -> Any:
    torch.set_num_threads(1)
    return made.budget.Budget.tiny()


@pytest.fixture(scope="module")
def errors(made: Any, tiny: Any) -> dict[str, Any]:
    return {m.code: m for m in made.errors.mistakes(tiny)}


@pytest.fixture(scope="module")
def gaps(made: Any) -> dict[str, Any]:
    return {m.code: m.values for m in made.gaps.mistakes()}


def sure(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


def method_of(name: str, quality: float, malformed: float = 0.0) -> MethodResult:
    """A method whose policies reach ``quality`` on what they are asked for, .1 elsewhere."""
    points = []
    for tradeoff in TRADEOFFS:
        means = tuple(sure(quality if w else 0.1) for w in tradeoff)
        broken = malformed if max(tradeoff) == 1 else 0.0
        points.append(PointResult(
            tradeoff, name, means, sure(0.2), sure(quality), Collapse(0, 0, 0, broken), 10, False
        ))  # fmt: skip
    return MethodResult(
        name, tuple(points), sure(quality / 2), sure(quality / 2), sure(quality), (1.0, None), None,
        Cost(1.0, 1, 1.0, 1, 3, 3), largest_gap=0.5,
    )  # fmt: skip


def run_of(made: Any, seed: int, more: Mapping[str, float], malformed: float = 0.0) -> Any:
    """A run in which methods differ from the weighted sum by ``more``, up to noise."""
    noise = np.random.default_rng(seed).normal(scale=1e-3, size=len(METHODS))
    methods = tuple(
        method_of(name, 0.6 + more.get(name, 0.0) + float(e), malformed)
        for name, e in zip(METHODS, noise, strict=True)
    )
    reference = method_of("reference", 0.3)
    reference = MethodResult(
        **{**vars(reference), "points": (reference.points[1],)}  # the even trade-off alone
    )
    known = KnownFront((), (), 0.8, {}, 0.9, 0.95)
    result = RunResult("r", ("a", "b"), (0, 0), (1, 1), "", reference, methods, known, n_prompts=10)
    wins = {m.name: np.array([[0.2, 0.9], [0.6, 0.7], [0.9, 0.2]]) for m in methods}
    own = np.array([[0.6, 0.3, 0.1], [0.5, 0.5, 0.5], [0.1, 0.3, 0.6]])
    return made.world.WorldRun(result, wins, {m.name: own for m in methods})


def world_of(made: Any, more: Mapping[str, float], malformed: float = 0.0) -> Any:
    runs = {
        s: [run_of(made, 100 * i + seed, more, malformed) for seed in range(SEEDS)]
        for i, s in enumerate("AB")
    }
    return made.scores.World(runs)


class TestNumbers:
    def test_doctests(self, made: Any) -> None:
        modules = ("numbers", "taste", "fonseca", "dpo", "answer", "aligns", "users", "expense")
        found = [doctest.testmod(getattr(made, name)) for name in modules]
        assert all(r.failed == 0 for r in found) and all(r.attempted for r in found)

    def test_one_stratum_pools_to_its_own_t_test(self, made: Any) -> None:
        values = [0.3, -0.1, 0.4, 0.2]
        alone, together = made.numbers.gap(values, [0] * 4), made.numbers.pooled([values])
        assert (together.mean, together.half, together.chance) == pytest.approx(
            (alone.mean, alone.half, alone.chance)
        )

    def test_a_stratum_without_chance_adds_none(self, made: Any) -> None:
        one, two = made.numbers.pooled([[1.0, 3.0]]), made.numbers.pooled([[1.0, 3.0], [2.0, 2.0]])
        assert two.mean == 2 and two.half == pytest.approx(one.half / 2)

    def test_holm_is_between_bonferroni_and_nothing(self, made: Any) -> None:
        chances = np.random.default_rng(0).random(40) ** 4
        kept = np.array(made.numbers.holm(chances.tolist()))
        assert (kept >= (chances < 0.05 / 40)).all() and (kept <= (chances < 0.05)).all()

    def test_a_difference_without_seeds_is_never_beyond_chance(self, made: Any) -> None:
        assert not made.numbers.gap([1.0], [0.0]).is_beyond_chance
        assert not made.numbers.pooled([[1.0], [2.0]]).is_beyond_chance


class TestWorld:
    def test_shares_are_of_the_known_front(self, made: Any) -> None:
        world = world_of(made, {})
        # Half of .6, of .8; half of .6, of .9; .6 of .95; all up to noise.
        means = [world.values["A", "linear", m.name].mean() for m in made.numbers.YARDSTICKS]
        assert means == pytest.approx([37.5, 100 / 3, 63.16, 30], abs=0.3)
        assert world.values["A", "linear", "control"].tolist() == [0.5] * SEEDS

    def test_a_policy_for_all_against_one_each(self, made: Any) -> None:
        run = run_of(made, 0, {}, malformed=0.9)
        one, own, one_whole, own_whole = made.scores.one_for_all(run, "linear")
        assert one == 0.5 and own == pytest.approx((0.6 + 0.5 + 0.6) / 3)
        assert (one_whole, own_whole) == (0.5, 0.5), "two of three are broken"
        # A corner reaches .6 and .1, the reference .3 and .3.
        assert made.scores.corner_gain(run, "linear") == pytest.approx(-20)

    def test_falls_count_objectives_with_weight_alone(self, made: Any) -> None:
        run = run_of(made, 0, {})
        assert made.scores.fallen(run, "linear").tolist() == [0, 0, 0, 0, 0]
        assert made.scores.fallen(run_of(made, 0, {"stch": -0.45}), "stch").tolist() == [1] * 5
        broken = made.scores.fallen(run_of(made, 0, {"stch": -0.45}, 0.9), "stch")
        assert broken.tolist() == [1, 1, 1, 1, 1]

    @pytest.mark.parametrize(
        ("more", "verdict", "headline"),
        [
            ({}, "does not hold: no scalarizer", "**No difference"),
            ({"stch": 0.05}, "holds only if: the scalarizer is stch (hyper", "**Yes, somewhat.**"),
            ({"chebyshev": -0.05}, "does not hold: no scalarizer", "**Not by a cleverer"),
            (
                {"stch": 0.05, "chebyshev": -0.05}, "holds only if: the scalarizer is stch",
                "**In part.**",
            ),
        ],
    )  # fmt: skip
    def test_sentences_follow_the_numbers(
        self, made: Any, more: Mapping[str, float], verdict: str, headline: str
    ) -> None:
        world = world_of(made, more)
        assert made.aligns.verdict(world).startswith(verdict)
        text = made.answer.headline(world)
        assert text.startswith(headline)
        assert bool(re.search(r"stch \+[0-9]", text)) == ("stch" in more)
        assert bool(re.search(r"chebyshev -[0-9]", text)) == ("chebyshev" in more)
        advice = made.answer.which(world)
        assert ("would take stch, better in the mean (" in advice) == ("stch" in more)
        assert ("would take the weighted sum: nothing" in advice) == ("stch" not in more)

    def test_broken_corners_are_told(self, made: Any) -> None:
        whole, broken = world_of(made, {}), world_of(made, {}, malformed=0.9)
        assert "mostly malformed" not in made.aligns.aligns(whole).body_markdown
        assert "mostly malformed" in made.aligns.aligns(broken).body_markdown
        assert "mostly write malformed" in made.answer.limits(broken, 200_000)
        assert "0.2 million parameters" in made.answer.limits(whole, 200_000)

    def test_the_worst_objective_decides_about_chebyshev(self, made: Any, tiny: Any) -> None:
        signs = {
            gain: made.fonseca.sign(tiny, world_of(made, {"chebyshev": gain, "stch": gain})).verdict
            for gain in (-0.05, 0.0, 0.05)
        }
        assert "chebyshev less on A and B, stch less on A and B" in signs[-0.05]
        assert "chebyshev no different" in signs[0.0]
        assert signs[0.05].startswith("holds only if: its sign is turned; ")

    def test_a_dent_must_help_more_than_no_dent(self, made: Any) -> None:
        by_gain = {
            (on_a, on_b): made.scores.World({
                "A": [run_of(made, seed, {"stch": on_a}) for seed in range(SEEDS)],
                "B": [run_of(made, 100 + seed, {"stch": on_b}) for seed in range(SEEDS)],
            })
            for on_a, on_b in ((0.0, 0.05), (0.05, 0.05), (-0.05, 0.0))
        }  # fmt: skip
        found = {gains: made.fonseca.dent_gains(world) for gains, world in by_gain.items()}
        assert {method for method, _ in found[0.0, 0.05]} == {"stch"}
        assert found[0.05, 0.05] == found[-0.05, 0.0] == {}
        alone = made.scores.World({"A": by_gain[0.0, 0.05].runs["A"]})
        assert made.fonseca.dent_gains(alone) is None

    def test_learned_weights_must_beat_fixed_ones(self, made: Any) -> None:
        verdicts = {
            more: made.learned.verdict(0.999, world_of(made, {"mirror": more}))
            for more in (-0.05, 0.0, 0.05)
        }
        assert verdicts[-0.05] == verdicts[0.0] != verdicts[0.05]
        assert verdicts[0.0].startswith("does not hold")
        assert verdicts[0.05].startswith("holds only if: weights rise")

    def test_a_run_that_failed_is_not_finished(self, made: Any, tmp_path: Path) -> None:
        run = made.world.RunFolder(tmp_path / "run")
        assert not made.world.is_finished(run)
        run.status("done", failed={"stch": "broken"})
        assert not made.world.is_finished(run)
        run.status("done", failed={})
        assert made.world.is_finished(run)


class TestExactAnswers:
    def test_the_batch_by_hand(self, made: Any) -> None:
        found = made.hypervolume.by_hand()
        np.testing.assert_allclose(found["corner"], [-0.9, -0.9])
        np.testing.assert_allclose(found["added"], [0.21, 0.02, 0.13125, 0, 0], atol=1e-12)
        np.testing.assert_allclose(found["scores"], [0.621, 0.602, 0.638125, 0.4, 0.2])
        np.testing.assert_allclose(found["own"][[0, 3]] / 5, [[0.1105, 0.102], [0.1, 0.1]])
        assert found["constant_less_linear"].max() == 0
        assert made.hypervolume.alone() == pytest.approx(1.1)

    def test_fronts_of_batches_are_hard(self, made: Any) -> None:
        found = made.hypervolume.emphasis(20)
        assert found["on"] > found["off"] and found["boost"] > 1 and 0 < found["front"] < 1

    def test_free_margins(self, made: Any) -> None:
        variants = made.fonseca.variants()
        printed, right = (
            made.fonseca.free_margins(variants[n]) for n in ("as printed", "maximum of L - z")
        )
        assert printed[0] == pytest.approx((23.96, 23.96), abs=0.01) and printed[1][0] < -23
        assert right[0] == pytest.approx((0.0425, 0.0425), abs=1e-3)

    def test_distance_from_the_front(self, made: Any) -> None:
        from paretune.bench.fonseca import fonseca_losses

        along = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None] / 2**0.5
        on = fonseca_losses(along.expand(9, 2)).numpy()[1:-1]
        np.testing.assert_allclose(made.fonseca.below_front(on), 0, atol=1e-9)
        off = fonseca_losses(torch.tensor([[0.5, -0.5]], dtype=torch.float64)).numpy()
        assert made.fonseca.below_front(off)[0] > 0.2

    @pytest.mark.parametrize(
        ("name", "options", "is_exact", "is_exact_even"),
        [
            ("linear", {}, True, True),
            ("tilted", {}, True, True),
            ("mirror", {}, True, True),
            ("stch", {}, False, True),
            ("chebyshev", {}, False, False),
            ("pareto_hv", {}, False, False),
        ],
    )
    def test_what_is_dpo(
        self, made: Any, name: Any, options: Any, is_exact: bool, is_exact_even: bool
    ) -> None:
        dpo, batch = made.dpo, made.dpo.random_batch(16)
        for weights, expected in ((dpo.WEIGHTS, is_exact), (dpo.EVEN, is_exact_even)):
            summed, a_token, slope = dpo.gaps(batch, name, options, weights, False)
            assert (abs(summed) < 1e-12 and slope < 1e-12) == expected
            assert abs(a_token) > 1e-3, "never DPO a token"
            summed, a_token, _ = dpo.gaps(batch, name, options, weights, True)
            assert (abs(a_token) < 1e-12) == expected and abs(summed) > 1e-3

    def test_weights_that_ascend_and_weights_that_descend(self, made: Any) -> None:
        np.testing.assert_allclose(made.learned.tilted(), [0.26915, 0.29426, 0.43659], atol=1e-5)
        mirror = made.learned.settled(made.learned.Mirror(0.1, 0.5), 800)
        np.testing.assert_allclose(mirror, made.learned.tilted(), atol=1e-12)
        assert made.learned.descended()[0] > 0.999

    def test_agreement_leaves_ties_out(self, made: Any) -> None:
        margins, labels = np.array([1.0, 1.0, -1.0]), np.array([[1.0], [0.0], [1.0]])
        found = made.taste.agreement(margins, labels, np.ones((3, 1)), ranks=1)
        assert found.tolist() == [0.5]


class TestErrors:
    def test_all_are_there_and_two_are_about_text(self, errors: dict[str, Any]) -> None:
        assert list(errors) == [f"F{i}" for i in range(1, 17)]
        assert {code for code, m in errors.items() if m.is_text} == {"F2", "F16"}

    def test_two_orders_of_reward_and_loss(self, errors: dict[str, Any]) -> None:
        # (sigma(1) - sigma(-1)) / 2
        assert errors["F1"].values == pytest.approx({"losses": 0.231059, "rewards": 0}, abs=1e-6)

    def test_scores_without_a_sign_do_not_conflict(self, errors: dict[str, Any]) -> None:
        assert errors["F3"].values["kept"] == 0 and 0.35 < errors["F3"].values["signed"] < 0.5

    def test_a_tie_stalls_a_maximum(self, errors: dict[str, Any]) -> None:
        # -sigma(-1) / 2 and -sigma(-3) / 2
        assert errors["F4"].values == pytest.approx(
            {"zero": 0, "one": -0.134471, "three": -0.023713}, abs=1e-6
        )

    def test_half_the_score_asks_for_twice_the_margin(self, errors: dict[str, Any]) -> None:
        found = errors["F5"].values
        assert found["strong"] == pytest.approx(np.log(3), abs=1e-4)
        assert found["weak"] == pytest.approx(2 * np.log(3), abs=1e-4)
        assert found["soft"] == pytest.approx(np.log(3), abs=1e-4) and found["sure"] > 49
        assert errors["F14"].values == pytest.approx({"one": 1, "half": 2}, abs=1e-4)

    def test_a_mean_is_no_log_probability(self, errors: dict[str, Any]) -> None:
        # log(1 + e^-1) and log(1 + e^-.3)
        assert errors["F6"].values == pytest.approx(
            {"summed": 0.313262, "mean": 0.554355}, abs=1e-6
        )
        assert errors["F7"].values == {"total": 2}

    def test_readings_of_algorithm_1(self, errors: dict[str, Any]) -> None:
        assert errors["F9"].values == {"max": 3, "min": 1, "both": 0}
        assert errors["F10"].values == {"apart": 0}
        # .21 over .02; (.2 x .15, .1 x .2, .15 x .125)
        assert errors["F11"].values == pytest.approx({"one": 10.5, "tenth": 1.6})

    def test_orders_of_mean_and_maximum(self, errors: dict[str, Any]) -> None:
        assert errors["F12"].values == {"batch": 0.25, "example": 0.5}
        found = errors["F13"].values
        assert found["linear"] < 1e-12 < 0.01 < found["pareto_hv"] < found["tilted"]
        assert found["tilted"] < found["stch"] < found["chebyshev"]

    def test_a_divided_pair_costs_somebody(self, errors: dict[str, Any]) -> None:
        found = errors["F15"].values
        # The best margin is the logit of .7; losses are then -log .7 and -log .3.
        assert found["margin"] == pytest.approx(np.log(7 / 3), abs=1e-4)
        assert found["first"] == pytest.approx(-np.log(0.7), abs=1e-4)
        assert found["second"] == pytest.approx(-np.log(0.3), abs=1e-4)

    def test_gaps(self, gaps: dict[str, Any]) -> None:
        assert list(gaps) == [f"G{i}" for i in range(1, 9)]
        assert gaps["G3"] == pytest.approx({"0.1": 1.1, "1.0": 2, "10.0": 11})
        assert gaps["G4"]["small"] == pytest.approx(0.4975, abs=1e-5)
        assert gaps["G4"]["summed"] == pytest.approx(gaps["G4"]["large"])
        assert gaps["G5"]["second"] > gaps["G5"]["first"]
        assert gaps["G6"]["missing"] == 0 and gaps["G6"]["tie"] == pytest.approx(np.log(2))
        assert gaps["G7"] == {"refused": 1}


def personal(gap: float, seed: int = 0) -> PersonalizationResult:
    own = 0.6 + gap + seed / 1000
    return PersonalizationResult(
        "fspo", ("a", "b"), 20, sure(own), sure(0.6), Interval(gap, gap - 0.05, gap + 0.05),
        {0: sure(0.5), 6: sure(own)}, (CellResult(True, True, sure(own), 20, 100),),
        (WinResult("reference", sure(0.7), (sure(0.7), sure(0.6)), "users", 20, 40),),
        (0.5, None), sure(0.4), (0.5, 0.5), (), {"shots served": "6"},
    )  # fmt: skip


class TestUsers:
    def found(self, **gaps: float | None) -> dict[str, Sequence[PersonalizationResult]]:
        """Three seeds each; ``None``: gaps that seeds disagree about."""
        apart = (-0.04, 0.05, 0.01)
        return {
            name: [personal(apart[seed] if gap is None else gap, seed) for seed in range(3)]
            for name, gap in gaps.items()
        }

    def test_no_runs_no_section(self, made: Any, tmp_path: Path) -> None:
        assert made.users.sections({}) == []
        assert made.users.users_runs(2, tmp_path) == {}
        assert "were not run" in made.answer.of_users({})

    @pytest.mark.parametrize(
        ("gaps", "verdict"),
        [
            ({"linear": 0.1, "stch": 0.1}, "holds"),
            ({"linear": 0.1, "stch": None}, "holds only if: the scalarizer is linear"),
            ({"linear": None}, "does not hold: what own pairs are worth"),
        ],
    )
    def test_the_gap_decides(self, made: Any, gaps: dict[str, float | None], verdict: str) -> None:
        section = made.users.section(self.found(**gaps))
        assert section.verdict == verdict or section.verdict.startswith(f"{verdict} ")
        assert "| linear | 3 |" in section.body_markdown
        assert ("Accuracy with own shots less" in section.body_markdown) == (len(gaps) > 1)
        answer = made.answer.of_users(self.found(**gaps))
        assert ("with no scalarizer above 0" in answer) == verdict.startswith("does not")

    def test_configurations_differ_by_scalarizer_and_seed(self, made: Any) -> None:
        one, two = made.users.users_config("linear", 0), made.users.users_config("stch", 1)
        assert (one.name, two.name) == ("fspo-users-linear-0", "fspo-users-stch-1")
        assert [m.options["scalarizer"] for m in (*one.methods, *two.methods)] == ["linear", "stch"]


@pytest.fixture(scope="module")
def text(made: Any, tiny: Any) -> str:
    """A page with everything on it."""
    world, users = world_of(made, {"stch": 0.05}), TestUsers().found(linear=0.1, stch=0.05)
    sections = made.page.sections(tiny, world, users)
    short = made.answer.answer(tiny, world, users, 200_000)
    page: str = made.page.page(sections, short, tiny, "Made by a test.")
    return page


class TestPage:
    def test_every_table_is_one(self, text: str) -> None:
        assert text.count("\n## ") == 10 + 4
        assert not re.search(r"\bnan\b", text)
        width = None
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert width is None or cells is None or cells == width, line
            width = cells

    def test_without_a_world_its_sections_are_left_out(self, made: Any, tiny: Any) -> None:
        sections = made.page.sections(tiny, None, {})
        assert len(sections) == 6
        assert "left out" in made.answer.answer(tiny, None, {}, 0)

    def test_the_kept_page_is_of_the_full_budget_and_of_today(self, made: Any, text: str) -> None:
        kept, budget = PAGE.read_text(), made.budget.Budget()
        assert f"{budget.fonseca_weights} trade-offs and {budget.fonseca_starts} starts" in kept
        assert f"{budget.train_users} users" in kept
        pattern = re.compile(r"^## \d+\. (.*)$", re.MULTILINE)
        of_today, of_page = pattern.findall(text), pattern.findall(kept)
        assert [claim for claim in of_today if claim in of_page] == of_page
        # Users of language models may be missing.
        assert len(of_page) >= len(of_today) - 1
