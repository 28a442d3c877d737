"""FSPO: what is planned, and how a trade-off reaches the prompt."""

from __future__ import annotations

import pytest

from paretune.core.job import Shown
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.fspo import FSPO


def test_one_policy_whatever_the_tradeoffs() -> None:
    (job,) = FSPO(shots=(0, 8), users=30).plan(3, lattice(3, 4))
    assert isinstance(job.source, Shown)
    assert (job.source.users, job.source.prompts.n_shots) == (30, (0, 8))
    assert job.step_loss.weights is None, "every pair brings its user's weights"
    assert job.settings["epochs"] == 1.0, "the visits hold the epochs already"


def test_a_warm_start_is_the_reference_of_what_follows() -> None:
    start, job = FSPO(warm_start_steps=20).plan(2, lattice(2, 2))
    assert (start.kind, start.settings["steps"]) == ("sft", 20)
    assert job.start == job.source.reference == start.id
    assert job.needs == (start.id,)


def test_any_tradeoff_is_served_by_the_shots_it_labels() -> None:
    wanted = TradeOff((0.37, 0.63))
    steering = FSPO(served_shots=6).steer(wanted, lattice(2, 2))
    assert (steering.kind, steering.tradeoff) == ("condition", wanted)
    assert steering.shots is not None
    assert steering.shots.n_shots == (6, 6)


def test_shots_are_ordered_by_the_utility_that_was_trained() -> None:
    assert FSPO(utility="chebyshev").steer(TradeOff.even(2), []).utility == "chebyshev"
    assert FSPO().steer(TradeOff.even(2), []).utility == "linear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": [4]}, r"fspo\.shots: found \(4,\)"),
        ({"shots": [4, 2]}, "0 <= low <= high"),
        ({"scalarizer": "hv_gradient"}, "expected one for a single policy"),
        ({"pairs_per_user": 1}, "expected at least 2"),
        ({"description": "written"}, r"fspo\.description: found 'written'"),
    ],
)
def test_mistakes_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("fspo", options)
