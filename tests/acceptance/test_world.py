"""The quickstart at full size: every method of it against the exactly known front."""

import pytest

from paretune.cli.quickstart import quickstart_config
from paretune.pipeline.config import parse_config
from paretune.pipeline.run import execute

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")

    def run(scenario):
        config = parse_config(quickstart_config(scenario, 10, 2, 0))
        finished = execute(config, runs / config.name, "eval")
        assert finished.failed == {}
        return finished.result

    return {scenario: run(scenario) for scenario in "AB"}


def method(result, name):
    return next(m for m in result.methods if m.name == name)


@pytest.mark.parametrize("scenario", ["A", "B"])
def test_the_base_speaks_the_language_and_nothing_beats_the_known_front(results, scenario):
    result = results[scenario]
    assert result.reference.points[0].collapse.malformed < 0.08
    for found in (result.reference, *result.methods):
        assert 0 < found.hypervolume.value < result.known.ceilings[len(found.points)]
        assert found.utility_min.value < result.known.utility_min
        assert found.utility_chebyshev.value < result.known.utility_chebyshev


def test_ray_selection_covers_the_convex_front(results):
    """Design values: 86 % of the attainable hypervolume, E[min] .57 of .636, 2 % malformed."""
    result = results["A"]
    hqd = method(result, "pareto_hqd")
    assert hqd.hypervolume.low > 0.75 * result.known.hypervolume
    assert hqd.utility_min.low > 0.8 * result.known.utility_min
    assert min(hqd.controllability) > 0.9
    for other in ("rewarded_soups", "dpo"):
        assert hqd.hypervolume.low > method(result, other).hypervolume.high


def test_ray_selection_finds_single_replies_that_weighted_sums_cannot(results):
    """Design values for E[min] on the non-convex front: rays .28, weighted DPO .09, of .338."""
    result = results["B"]
    hqd, dpo = method(result, "pareto_hqd"), method(result, "dpo")
    assert hqd.utility_min.low > 0.7 * result.known.utility_min
    assert dpo.utility_min.high < 0.5 * result.known.utility_min


@pytest.mark.parametrize("scenario", ["A", "B"])
def test_front_imitation_comes_near_what_so_many_policies_can_reach(results, scenario):
    """Measured over five seeds: 95 % (A) and 94 % (B) of the ceiling of 11 policies."""
    result = results[scenario]
    ours = method(result, "front_imitation")
    assert ours.hypervolume.value > 0.88 * result.known.ceilings[11]
    for name in ("rewarded_soups", "dpo"):
        assert ours.hypervolume.low > method(result, name).hypervolume.high


@pytest.mark.parametrize("scenario", ["A", "B"])
@pytest.mark.parametrize("name", ["rewarded_soups", "dpo"])
def test_preference_methods_improve_on_the_reference(results, scenario, name):
    result = results[scenario]
    assert method(result, name).hypervolume.low > result.reference.hypervolume.high
    assert method(result, name).controllability[0] > 0.9


@pytest.fixture(scope="module")
def wishes(tmp_path_factory):
    """Constrained policies on the non-convex scenario, from 16 scored replies of the reference."""
    methods = [
        {"method": "mopo", "label": f"floor-{floor}", "primary": "helpful", "candidates": 16,
         "thresholds": {"harmless": floor}, "lag": None, "steps": 400,
         "train": {"learning_rate": 1e-3}, "tradeoffs": [{"helpful": 1.0}]}
        for floor in (0.4, 0.5)
    ]  # fmt: skip
    values = quickstart_config("B", 2, 2, 0) | {"name": "wishes", "methods": methods}
    config = parse_config(values)
    finished = execute(config, tmp_path_factory.mktemp("wishes") / "wishes", "eval")
    assert finished.failed == {}
    return finished.result


def test_constrained_policies_keep_their_floors_and_beat_the_reference(wishes):
    for found, floor in zip(wishes.methods, (0.4, 0.5), strict=True):
        helpful, harmless = found.points[0].constraints
        assert (helpful.objective, harmless.objective, harmless.floor) == (
            "helpful", "harmless", floor
        )  # fmt: skip
        assert harmless.found.high >= floor, f"{found.name}: {harmless.found}"
        assert helpful.found.low > 0.5, f"{found.name} is not preferred to the reference"
    # A lower floor leaves more room for the primary objective.
    low, high = (m.points[0].constraints[0].found for m in wishes.methods)
    assert low.value > high.value
