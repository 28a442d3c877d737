"""Margins reach the loss of a language model as they are, once a comparison."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Margins, TrainingJob
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.jobs import train_job
from paretune.engines.lm.pairs import pair_batch, pair_rows
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import InputError, NotScoredError
from paretune.functional.losses import dpo_loss
from paretune.functional.margin_loss import modpo_loss
from paretune.functional.pairing import order_by_objective

N = 24
EXPERTS = Margins(("expert-0", "expert-1"), (0.5, 2.0), is_calibrated=False)
RAW = Margins(is_calibrated=False)


def job(margins: Margins, weights: tuple[float, ...] = (0.5, 0.5), axis: int = 0) -> TrainingJob:
    return TrainingJob(
        "modpo", "pairwise", TradeOff(weights), partial(order_by_objective, index=axis),
        partial(modpo_loss, beta=0.5, weights=weights, axis=axis), margins=margins,
    )  # fmt: skip


def scored(lab: Any, model: Any, scale: tuple[float, float] = (1.0, 1.0)) -> Any:
    """Pairs whose labels follow the scores, not always."""
    inputs = lab.job_data(lab.preferences(N), model)
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2 * N, 2))
    data = replace(
        inputs.data, rewards=RewardMatrix(inputs.data.rewards.objectives, values * scale)
    )
    margins = values[data.first] - values[data.second]
    chance = 1 / (1 + np.exp(-2 * margins))
    labels = np.where(rng.random(margins.shape) < chance, 1.0, -1.0)
    return replace(inputs, data=replace(data, labels=labels))


def test_margins_of_scores_belong_to_the_chosen_response(lab: Any) -> None:
    inputs = scored(lab, lab.model())
    pairs = pair_rows(job(RAW), inputs, seed=0)
    values = inputs.data.rewards.values
    expected = values[pairs.rows[:, 0]] - values[pairs.rows[:, 1]]
    np.testing.assert_array_equal(pairs.columns["margins"], expected)
    assert (pairs.rows[:, 0] % 2 == 1).any(), "some second responses are chosen"


def test_calibrated_margins_do_not_depend_on_the_unit(lab: Any) -> None:
    model = lab.model()
    one = pair_rows(job(Margins()), scored(lab, model), seed=0).columns["margins"]
    other = pair_rows(job(Margins()), scored(lab, model, (100, 0.1)), seed=0).columns["margins"]
    np.testing.assert_allclose(other, one, rtol=1e-9)


def test_margins_of_experts_are_their_log_ratios_times_beta(lab: Any) -> None:
    inputs = scored(lab, lab.model())
    logps = np.random.default_rng(0).normal(size=(2, 2 * N))
    inputs = replace(inputs, experts={"expert-0": logps[0], "expert-1": logps[1]})
    pairs = pair_rows(job(EXPERTS), inputs, seed=0)
    rewards = (logps - inputs.ref_logps).T * (0.5, 2.0)
    expected = rewards[pairs.rows[:, 0]] - rewards[pairs.rows[:, 1]]
    np.testing.assert_allclose(pairs.columns["margins"], expected, rtol=1e-12)


def test_the_loss_of_a_batch_by_hand(lab: Any) -> None:
    columns = {
        "reference": torch.tensor([[-2.0, -3.0]]),
        "labels": torch.ones(1, 2),
        "margins": torch.tensor([[7.0, 1.0]]),
    }
    rows = type("Rows", (), {"tokens": torch.tensor([3, 4])})
    found = pair_batch(torch.tensor([-1.0, -4.0]), {"rows": rows, **columns})
    # (.5 * 2 - .5 * 1) / .5 = 1.
    loss = modpo_loss(found, beta=0.5, weights=(0.5, 0.5), axis=0)
    torch.testing.assert_close(loss, torch.tensor([0.3132617]))


def test_without_a_weight_margins_change_nothing(lab: Any, tmp_path: Path) -> None:
    settings = TrainSettings(learning_rate=1e-2, batch_size=4, steps=6, precision="float32")

    def trained(job: TrainingJob) -> Any:
        model = lab.model()
        train_job(job, scored(lab, model), model, lab.pad, settings, tmp_path)
        return [p.detach().clone() for p in model.parameters()]

    with_margins = trained(job(RAW, (1.0, 0.0)))
    plain = trained(replace(job(RAW, (1.0, 0.0)), loss=partial(dpo_loss, beta=0.5), margins=None))
    asked = trained(job(RAW, (0.6, 0.4)))
    for one, other in zip(with_margins, plain, strict=True):
        assert torch.equal(one, other)
    assert not all(torch.equal(a, b) for a, b in zip(asked, plain, strict=True))


def test_training_moves_the_policy_to_what_the_others_want(lab: Any, tmp_path: Path) -> None:
    """Log-ratio margins follow w . m / beta, where labels of one objective alone do not."""
    settings = TrainSettings(learning_rate=1e-2, batch_size=8, steps=60, precision="float32")

    def agreement(weights: tuple[float, float]) -> float:
        model = lab.model()
        inputs = scored(lab, model)
        train_job(job(Margins(), weights), inputs, model, lab.pad, settings, tmp_path)
        gained = reference_logps(model, inputs.encoded, np.arange(2 * N), lab.pad)
        gained = gained - inputs.ref_logps
        margin = gained[inputs.data.first] - gained[inputs.data.second]
        return float(np.corrcoef(margin, inputs.data.margins[:, 1])[0, 1])

    assert agreement((0.5, 0.5)) > agreement((0.99, 0.01)) + 0.3


class TestRefuses:
    def test_a_response_without_a_score(self, lab: Any) -> None:
        inputs = scored(lab, lab.model())
        values = inputs.data.rewards.values.copy()
        values[:5, 1] = np.nan
        rewards = replace(inputs.data.rewards, values=values)
        with pytest.raises(NotScoredError, match=r"found 3 of 24 pairs without a 'short' score"):
            pair_rows(job(RAW), replace(inputs, data=replace(inputs.data, rewards=rewards)), 0)

    def test_experts_without_log_probabilities(self, lab: Any) -> None:
        inputs = replace(scored(lab, lab.model()), experts={"expert-0": np.zeros(2 * N)})
        with pytest.raises(InputError, match=r"found no log-probabilities of \['expert-1'\]"):
            pair_rows(job(EXPERTS), inputs, seed=0)

    def test_experts_for_other_objectives(self, lab: Any) -> None:
        one = Margins(("expert-0",), (0.5,), is_calibrated=False)
        with pytest.raises(InputError, match="found 1 experts with 1 betas, expected 2"):
            pair_rows(job(one), scored(lab, lab.model()), seed=0)
