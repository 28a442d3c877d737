"""Scalarized DPO: what is planned, and what it does on exact tables."""

from __future__ import annotations

import pytest

from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.scalarizers import Linear, SmoothChebyshev
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.scalarized_dpo import ScalarizedDPO


def test_one_policy_a_tradeoff_with_its_own_weights() -> None:
    jobs = ScalarizedDPO().plan(2, lattice(2, 2))
    assert [job.id for job in jobs] == ["policy-0-1", "policy-0.5-0.5", "policy-1-0"]
    assert [job.step_loss.weights for job in jobs] == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    assert all(job.step_loss.scalarizer == Linear() for job in jobs)
    assert all(job.group is None and job.head is None for job in jobs)


def test_a_shared_backbone_takes_one_set_of_pairs() -> None:
    jobs = ScalarizedDPO(backbone="shared").plan(2, lattice(2, 2))
    assert {job.group for job in jobs} == {"scalarized"}
    assert all(job.head is not None for job in jobs)
    assert {job.rows.keywords["weights"] for job in jobs} == {(0.5, 0.5)}


def test_the_nearest_trained_one_is_served() -> None:
    steering = ScalarizedDPO().steer(TradeOff((0.6, 0.4)), lattice(2, 2))
    assert (steering.kind, steering.policies) == ("pick", ("policy-0.5-0.5",))


def test_options_reach_the_scalarizer() -> None:
    method = build("scalarized_dpo", {"scalarizer": "stch", "options": {"mu": "5e-1"}})
    assert method.plan(2, [TradeOff.even(2)])[0].step_loss.scalarizer == SmoothChebyshev(mu=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scalarizer": "chebychev"}, r"scalarized_dpo\.scalarizer: .*did you mean 'chebyshev'"),
        ({"scalarizer": "stch", "options": {"muu": 1}}, "unknown option 'muu'.*'mu'"),
        ({"scalarizer": "stch", "stage": "score"}, "expected Linear over pairs"),
        ({"scalarizer": "loghv"}, "found no reference"),
    ],
)
def test_mistakes_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("scalarized_dpo", options)
