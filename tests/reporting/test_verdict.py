"""What a run showed, in sentences."""

from __future__ import annotations

from dataclasses import replace

from paretune.core.results import (
    Collapse,
    Cost,
    Difference,
    Interval,
    KnownFront,
    MethodResult,
    PointResult,
    RunResult,
)
from paretune.reporting.verdict import agreement, verdicts, what_was_run


def certain(value: float, half: float = 0.01) -> Interval:
    return Interval(value, value - half, value + half)


def method(name: str, hypervolume: float, utility: float, seconds: float = 10, n: int = 2):
    point = PointResult(
        (0.5, 0.5), name, (certain(0.5), certain(0.5)), certain(utility), certain(0.4),
        Collapse(0, 0, 0), 30, False,
    )  # fmt: skip
    return MethodResult(
        name, (point,) * n, certain(hypervolume), certain(utility), certain(0.4), (None, None),
        None, Cost(seconds, 1, 1.0, 1, n, n),
    )  # fmt: skip


def run(methods, differences=(), **changes) -> RunResult:
    return replace(
        RunResult(
            "r", ("helpful", "concise"), (0, 0), (1, 1), "declared", None, tuple(methods),
            differences=tuple(differences), n_prompts=10,
        ),
        **changes,
    )  # fmt: skip


def test_a_clear_lead_is_said_with_its_interval() -> None:
    lead = Difference("hypervolume", "a", "b", Interval(0.1, 0.08, 0.12), 1.0)
    best = verdicts(run([method("b", 0.5, 0.3), method("a", 0.6, 0.2)], [lead]))[0]
    assert (best.winner, best.figure) == ("a", "0.600")
    assert "Ahead of b by 0.100 [0.080, 0.120], more than chance" in str(best)


def test_a_lead_inside_the_noise_is_not_called_a_lead() -> None:
    close = Difference("hypervolume", "a", "b", Interval(0.01, -0.01, 0.03), 0.84)
    best = verdicts(run([method("a", 0.51, 0.3), method("b", 0.5, 0.2)], [close]))[0]
    assert "cannot tell it from b" in str(best)
    assert "84%" in str(best)
    assert "Ahead" not in str(best)


def test_disagreement_of_the_yardsticks_is_explained() -> None:
    result = run([method("mixer", 0.6, 0.1), method("single", 0.5, 0.4)])
    assert "disagree" in agreement(result)
    assert "mixer earns the better averages" in agreement(result)
    assert agreement(run([method("a", 0.6, 0.4), method("b", 0.5, 0.1)])) == (
        "Both yardsticks name a."
    )


def test_what_is_possible_stands_beside_the_number() -> None:
    known = KnownFront(((1, 1),), ((1, 1),), 0.8, {2: 0.75}, 0.6)
    average, single, _ = verdicts(run([method("a", 0.6, 0.3), method("b", 0.1, 0.1)], known=known))
    assert "75% of what is attainable and 80% of what 2 policies can reach" in str(average)
    assert "50% of the best single reply" in str(single)


def test_methods_that_do_not_beat_the_reference_are_not_praised() -> None:
    worse = run([method("a", 0.3, 0.3)], reference=method("reference", 0.4, 0.2))
    average, single = verdicts(worse)
    assert "No better than the reference policy, which reaches 0.400" in str(average)
    assert "reference" not in str(single)


def test_unequal_numbers_of_points_are_said() -> None:
    lead = Difference("hypervolume", "a", "b", Interval(0.1, 0.08, 0.12), 1.0)
    found = verdicts(run([method("a", 0.6, 0.3, n=5), method("b", 0.5, 0.2, n=2)], [lead]))
    assert "Unequal: 5 points against 2" in str(found[0])


def test_failed_methods_do_not_win() -> None:
    failed = replace(
        method("broken", 0.9, 0.9), hypervolume=None, utility_min=None, failed="RunError"
    )
    assert {v.winner for v in verdicts(run([failed, method("a", 0.1, 0.1)]))} == {"a"}
    assert verdicts(run([failed])) == ()
    assert agreement(run([failed])) is None


def test_cheapest_counts_a_tradeoff() -> None:
    two = [method("many", 0.5, 0.2, seconds=20, n=10), method("few", 0.4, 0.2, seconds=10, n=2)]
    assert (verdicts(run(two))[-1].winner, verdicts(run(two))[-1].figure) == (
        "many", "2.0 s a trade-off",
    )  # fmt: skip


def test_the_run_in_a_sentence(runs) -> None:
    assert what_was_run(runs[0]) == (
        "4 methods steered between helpful and concise with 11 trade-offs each; "
        "5,280 replies to 60 prompts, rewarded and compared. The best possible front is known."
    )
