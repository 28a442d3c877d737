"""The reproduction page: its measurements run, and its examples show what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "reproduce"
PAGE = ROOT / "docs" / "reproduce" / "mopo.md"
NAMES = (
    "budget", "pagetext", "section", "mopo_errors", "mopo_gaps", "mopo_motivating", "mopo_page",
    "mopo_structures", "mopo_tables", "mopo_tau",
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Any:
    """The modules behind the page, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})


@pytest.fixture(scope="module")
def tiny(made: Any) -> Any:
    return made.budget.Budget.tiny()


@pytest.fixture(scope="module")
def errors(made: Any, tiny: Any) -> dict[str, Any]:
    """Values of the mistakes by code."""
    return {m.code.split()[0]: m for m in made.mopo_errors.mistakes(tiny)}


@pytest.fixture(scope="module")
def gaps(made: Any, tiny: Any) -> dict[str, Any]:
    return {m.code: m.values for m in made.mopo_gaps.mistakes(tiny)}


@pytest.fixture(scope="module")
def sections(made: Any, tiny: Any) -> Any:
    return made.mopo_tables.sections(tiny)


class TestErrors:
    def test_all_are_there_and_five_are_about_text(self, errors: dict[str, Any]) -> None:
        assert list(errors) == [f"M{i}" for i in range(1, 15)]
        text = {code for code, mistake in errors.items() if mistake.is_text}
        assert text == {"M1", "M2", "M8", "M12", "M13"}

    def test_printed_weights_never_move_a_multiplier(self, errors: dict[str, Any]) -> None:
        found = errors["M3"].values
        assert found["printed"] == 0 and found["right"] == pytest.approx(0.86137105, abs=1e-6)
        assert found["missed"] < found["floor"] - 0.1
        assert found["kept"] == pytest.approx(found["floor"], abs=1e-9)

    def test_weights_without_the_adversary_lose_value(self, errors: dict[str, Any]) -> None:
        found = errors["M4"].values
        assert abs(found["gap"]) < 1e-9 and found["lost"] > 0.005 and found["apart"] > 0.05
        assert abs(found["slack"]) < 1e-3

    def test_a_floor_from_the_expectation_is_infeasible(self, errors: dict[str, Any]) -> None:
        found = errors["M5"].values
        assert (found["printed"], found["ours"]) == (0, 1)
        assert found["expected"] == pytest.approx(0.49975) and found["bound"] < 0.3

    def test_rewards_and_preferences_disagree(self, errors: dict[str, Any]) -> None:
        # sigma(1) = .731059, sigma(9) = .999877, sigma(10) = .999955, one half against itself.
        first = (0.731059 + 0.5 + 0.000123) / 3
        second = 0.89 * (0.5 + 0.268941 + 0.000045) / 3 + 0.11 * (0.999955 + 0.999877 + 0.5) / 3
        found = errors["M6"].values
        assert (found["r1"], found["r2"]) == (pytest.approx(1.0), pytest.approx(1.1))
        assert found["p1"] == pytest.approx(first, abs=1e-5)
        assert found["p2"] == pytest.approx(second, abs=1e-5) and first > second
        assert found["mixed"] > 0 and found["sure"] == 0

    def test_ties_break_the_insertion_rule(self, errors: dict[str, Any]) -> None:
        found = errors["M7"].values
        assert (found["printed"], found["ours"]) == (0.3, 0.6)
        assert found["inside"] > 0 and found["at_value"] == found["tie_break"] == 0

    def test_nothing_is_exact_under_a_penalty(self, errors: dict[str, Any]) -> None:
        found = errors["M9"].values
        # softmax(1, .5, 0) at tau .1: the best action has 1 / (1 + e^-5 + e^-10).
        left = 1 - 1 / (1 + np.exp(-5) + np.exp(-10))
        assert found["left"] == pytest.approx(left, abs=1e-9)
        assert found["far_a"] > 0.05 and found["far_b"] > 0.1

    def test_agreeing_labels_are_labels_of_the_sum(self, errors: dict[str, Any]) -> None:
        assert errors["M10"].values["worst"] < 1e-12
        assert 0 <= errors["M10"].values["below"] < 2e-3

    def test_a_large_tau_is_near_the_reference(self, errors: dict[str, Any]) -> None:
        assert errors["M11"].values["large"] < 0.01 < 1 < errors["M11"].values["small"]

    def test_feasibility_must_be_checked(self, errors: dict[str, Any]) -> None:
        assert errors["M14"].values["best"] == 0.5
        assert errors["M14"].values["margin"] == pytest.approx(-1 / 6)
        assert "best seen 0.5" in errors["M14"].shows


class TestGaps:
    def test_all_are_there(self, gaps: dict[str, Any]) -> None:
        assert list(gaps) == ["A1", "A2", "A4", "A5", "A6", "A13"]

    def test_without_a_normalizer(self, gaps: dict[str, Any]) -> None:
        assert gaps["A1"]["zero"] == gaps["A1"]["n"] and gaps["A1"]["missed"] > 0.1
        assert gaps["A1"]["missed_1"] > 0.05

    def test_a_share_of_the_expectation(self, gaps: dict[str, Any]) -> None:
        assert gaps["A2"]["printed"] == gaps["A2"]["kept"] == 0
        assert gaps["A2"]["ours"] == gaps["A2"]["n"]

    def test_swapped_records(self, gaps: dict[str, Any]) -> None:
        # .9 (.2 * .5 + .8 * .8) + .1 (.2 * .2 + .8 * .5)
        assert gaps["A4"]["truth"] == pytest.approx(0.71)
        assert gaps["A4"]["weighted"] == pytest.approx(0.71, abs=1e-9)
        assert gaps["A4"]["printed"] == pytest.approx(0.5, abs=1e-12)
        assert gaps["A4"]["naive"] < 0.67

    def test_labels_in_the_exponent(self, gaps: dict[str, Any]) -> None:
        found = gaps["A5"]
        assert found["seen"] == pytest.approx(found["floor"], abs=1e-6)
        assert found["true"] < found["floor"] - 0.05
        means = [found[f"n_{n}"] for n in (1, 8, 32, 128)]
        assert means == sorted(means) and means[-1] < found["floor"]

    def test_unobserved_actions(self, gaps: dict[str, Any]) -> None:
        assert gaps["A6"]["closed"] == pytest.approx(1 / (1 + 2 * np.exp(0.1)), abs=1e-12)
        assert gaps["A6"]["half"] == pytest.approx(1 / 3) and gaps["A6"]["imitated"] == 0

    def test_small_batches_are_optimistic(self, gaps: dict[str, Any]) -> None:
        found = gaps["A13"]
        assert found["bound"] == pytest.approx(0.233228, abs=1e-6)
        biases = [found[f"m_{m}"] for m in (4, 8, 16, 64)]
        assert biases == sorted(biases, reverse=True) and biases[-1] > 0
        assert biases[0] == pytest.approx(2 * biases[1], rel=0.1)


class TestTables:
    def test_the_total_order_needs_mean_labels(self, made: Any) -> None:
        budget = made.budget.Budget(seeds=2, steps=2000)
        claimed = made.mopo_structures.CLAIMS[0]
        section = made.mopo_structures._ordered(claimed, budget)
        assert section.verdict.startswith("holds only if: the score is the mean label")
        assert "| exact optimum | 0.500 | 1.000 | 0.000 | 0.000 | 0.000 |" in section.body_markdown

    @pytest.mark.parametrize(
        ("name", "floor", "policy", "price"),
        [
            ("d2", 0.49975, (0.5, 0.5, 0), 0),
            ("d3b", 2 / 3, (2 / 3, 1 / 3, 0), 0.931),
            ("d3c", 0.49975, (0.5, 0.5, 0), None),
            ("d3c", 2 / 3, (1 / 3, 2 / 3, 0), None),
            ("d4", 0.49975, (1 / 3, 1 / 3, 1 / 3), 0),
        ],
    )
    def test_exact_structures(
        self, made: Any, name: str, floor: float, policy: tuple[float, ...], price: float | None
    ) -> None:
        found, multiplier = made.mopo_structures.exact(name, floor)
        assert found == pytest.approx(policy, abs=1e-3)
        assert price is None or multiplier == pytest.approx(price, abs=1e-3)

    def test_distance_is_measured_to_the_edge_between_vertices(self, made: Any) -> None:
        problem = made.mopo_motivating._problem("b")
        front = np.array(sorted(problem.known_front.hull))
        between = (front[3] + front[4])[None] / 2
        low, high = problem.front_box
        step = 0.1 * (high - low)
        assert made.mopo_motivating.distances("b", between) == pytest.approx(0, abs=1e-12)
        # B's front is symmetric and convex: down the diagonal is no shorter than to the edge.
        assert 0.1 < made.mopo_motivating.distances("b", between - step)[0] <= 0.1 * 2**0.5

    def test_constraints_on_rewards_reach_the_front(self, made: Any, tiny: Any) -> None:
        section = made.mopo_motivating._on_rewards(tiny)
        assert section.verdict == "holds"

    def test_the_distance_falls_with_tau(self, made: Any) -> None:
        module = made.mopo_motivating
        for which in module.SETS:
            far = [module.distances(which, module.exact_points(which, t)).mean()
                   for t in module.TAUS]  # fmt: skip
            assert far == sorted(far, reverse=True) and far[-1] < 0.005
        paper = module.distances("b", module.exact_points("b", 0.08))[module.MIDDLE]
        assert paper == pytest.approx(0.157, abs=0.01)

    def test_a_lag_multiplies_the_tilt(self, made: Any) -> None:
        # Forty segments are twenty tilts: softmax of 20 (1, .5, 0) / 5.
        expected = np.exp([4.0, 2.0, 0.0]) / np.exp([4.0, 2.0, 0.0]).sum()
        assert made.mopo_tau.limit(5.0, 40).exp()[0].numpy() == pytest.approx(expected, abs=1e-9)


class TestPage:
    def test_everything_runs_and_every_table_is_one(
        self, made: Any, tiny: Any, sections: Any
    ) -> None:
        text = made.mopo_page.page(sections, tiny, "Made by a test.")
        assert text.count("\n## ") == len(sections) + 4
        assert not re.search(r"\bnan\b", text)
        width = None
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert width is None or cells is None or cells == width, line
            width = cells
        for section in sections:
            assert section.verdict.split(":")[0] in ("holds", "holds only if", "does not hold")
            assert f". {section.claim} |" in text

    def test_the_kept_page_has_the_claims_of_today(self, sections: Any) -> None:
        headings = re.findall(r"^## \d+\. (.*)$", PAGE.read_text(), re.MULTILINE)
        assert headings[: len(sections)] == [section.claim for section in sections]

    def test_the_kept_page_is_of_the_full_budget(self, made: Any) -> None:
        text, budget = PAGE.read_text(), made.budget.Budget()
        assert f"{budget.pairs:,} pairs" in text and f"{budget.steps:,} steps" in text
        verdicts = re.findall(r"^\| \d+\. .*\*\*(.*?)\*\*.*\|$", text, re.MULTILINE)
        # Sampling noise of a tiny budget would say so; on the full one all have a condition.
        assert len(verdicts) >= 13 and set(verdicts[:13]) == {"holds", "holds only if"}

    def test_unknown_verdicts_are_refused(self, made: Any) -> None:
        with pytest.raises(ValueError, match="found verdict 'perhaps'"):
            made.section.Section("a", "b", "c", "perhaps", "d")

    def test_intervals(self, made: Any) -> None:
        assert doctest.testmod(made.pagetext).failed == 0
        # t(.975, 2) = 4.302653 times 1 / sqrt(3).
        assert made.pagetext.half_width([1, 2, 3]) == pytest.approx(2.484138, abs=1e-6)
        assert made.pagetext.table(["a|b", "c"], [["x", "1"]]).startswith("| a\\|b | c |")
