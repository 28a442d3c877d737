"""Training of a conditioned policy: a trade-off a batch, exact resumption, corners that differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from paretune.core.adapter import TradeOffAdapter
from paretune.core.job import TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.conditioned_pairs import conditioned_loss
from paretune.engines.lm.forward import scorer_for
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.models import load_policy, save_policy
from paretune.engines.lm.pairs import pair_rows
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.tradeoff_adapter import (
    ConditionedLinear,
    add_tradeoff_adapter,
    set_tradeoff,
)
from paretune.errors import InputError
from paretune.functional.learned_weights import Mirror
from paretune.functional.pairing import keep_every
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizer import Scalarizer
from paretune.functional.scalarizers import Chebyshev, Linear

SETTINGS = TrainSettings(learning_rate=2e-2, batch_size=8, steps=60, precision="float32")
ADAPTER = TradeOffAdapter(2, rank=4, directions=2)
BETA = 0.5


def job_of(scalarizer: Scalarizer | None = None, **more: Any) -> TrainingJob:
    loss = ScalarizedLoss(scalarizer or Linear(), None, beta=BETA, is_length_normalized=False)
    given = {"step_loss": loss, "adapter": ADAPTER, **more}
    return TrainingJob("one", "pairwise", TradeOff.even(2), keep_every, **given)


def start(lab: Any) -> tuple[Any, Any]:
    """A model with an adapter, and data of its base."""
    model = lab.model()
    inputs = lab.job_data(lab.preferences(24), model)
    return add_tradeoff_adapter(model, ADAPTER), inputs


def agreement(model: Any, inputs: Any, pad: int, weights: tuple[float, float]) -> list[float]:
    """Share of the pairs that the policy of a trade-off orders as each objective does."""
    set_tradeoff(model, weights)
    rows = np.arange(len(inputs.data.texts))
    ratio = reference_logps(model, inputs.encoded, rows, pad) - inputs.ref_logps
    margin = ratio[inputs.data.first] - ratio[inputs.data.second]
    return list((np.sign(margin)[:, None] == inputs.data.labels).mean(0))


@pytest.mark.parametrize("scalarizer", [Linear(), Chebyshev()])
def test_one_policy_learns_every_corner(lab: Any, tmp_path: Path, scalarizer: Scalarizer) -> None:
    model, inputs = start(lab)
    lines: list[dict[str, float]] = []
    _, cost = train_jobs(
        [job_of(scalarizer)], inputs, model, lab.pad, SETTINGS, tmp_path,
        lambda step, steps, numbers: lines.append(dict(numbers)),
    )  # fmt: skip
    assert (cost.steps, cost.rows) == (60, 24)
    assert {"loss/good", "loss/short", "accuracy/good", "margin"} <= set(lines[0])
    good = agreement(model, inputs, lab.pad, (1.0, 0.0))
    short = agreement(model, inputs, lab.pad, (0.0, 1.0))
    assert good[0] > 0.8 and good[0] > short[0] + 0.15
    assert short[1] > 0.8 and short[1] > good[1] + 0.15


def test_the_loss_of_a_batch_by_hand(lab: Any) -> None:
    model, inputs = start(lab)
    for module in model.modules():
        if isinstance(module, ConditionedLinear):
            torch.nn.init.normal_(module.outer, generator=torch.Generator().manual_seed(1))
    job = job_of()
    pairs = pair_rows(job, inputs, 0)
    assert set(pairs.columns) == {"reference", "labels"}, "no weights of users are asked for"
    scorer = scorer_for(model, inputs.encoded, pairs.rows, lab.pad)
    batch = {k: torch.from_numpy(v[:6]).float() for k, v in pairs.columns.items()}
    batch |= {"rows": scorer.pack(inputs.encoded, pairs.rows[:6], lab.pad), "share": 1.0}
    loss = conditioned_loss(job, pairs.objectives, model, seed=3)
    seen = []
    for number in (0, 1, 0):
        found, metrics = loss(scorer, batch | {"number": number})
        layer = next(m for m in model.modules() if isinstance(m, ConditionedLinear))
        weights = layer.tradeoff
        logps = scorer(batch["rows"]).view(-1, 2) - batch["reference"]
        margin = BETA * (logps[:, 0] - logps[:, 1])
        means = softplus(-batch["labels"] * margin[:, None]).mean(0)
        torch.testing.assert_close(found, weights @ means)
        torch.testing.assert_close(metrics["loss/short"], means[1])
        assert float(weights.sum()) == pytest.approx(1) and (weights > 0).all()
        seen.append(weights.tolist())
    assert seen[0] == seen[2] != seen[1], "a draw is a function of the batch's number"
    other = conditioned_loss(job, pairs.objectives, model, seed=4)
    other(scorer, batch | {"number": 0})
    assert layer.tradeoff.tolist() != seen[0], "and of the seed"


def test_an_interrupted_training_goes_on_bit_for_bit(lab: Any, tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=8, accumulate=2, batch_size=4)

    def train(folder: Path, stop: int = 0) -> dict[str, torch.Tensor]:
        model, inputs = start(lab)

        def watch(step: int, steps: int, numbers: Any) -> None:
            if step == stop:
                raise KeyboardInterrupt

        kept = Checkpoints(folder / "checkpoints", steps=2)
        train_jobs([job_of()], inputs, model, lab.pad, settings, folder, watch, kept)
        return {n: p.detach() for n, p in model.named_parameters()}

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop=5)
    assert Checkpoints(tmp_path / "cut" / "checkpoints").newest() is not None
    again = train(tmp_path / "cut")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_saved_where_the_job_says_and_goes_on_from_there(lab: Any, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "policy"
    save_policy(lab.model(), lab.tokenizer(), base)
    model, inputs = start(lab)
    settings = replace(SETTINGS, steps=3)
    save, _ = train_jobs([job_of()], inputs, model, lab.pad, settings, tmp_path)
    save(lab.tokenizer(), [folder])
    again = load_policy(folder, base, train=True)
    rows = np.arange(48)
    for policy in (model, again):
        set_tradeoff(policy, (0.3, 0.7))
    before = reference_logps(again, inputs.encoded, rows, lab.pad)
    np.testing.assert_array_equal(before, reference_logps(model, inputs.encoded, rows, lab.pad))
    train_jobs([job_of()], inputs, again, lab.pad, settings, tmp_path)
    set_tradeoff(again, (0.3, 0.7))
    assert (reference_logps(again, inputs.encoded, rows, lab.pad) != before).all()


def test_losses_that_no_batch_can_bring_a_tradeoff_to(lab: Any, tmp_path: Path) -> None:
    model, inputs = start(lab)
    own = ScalarizedLoss(Linear(), (0.5, 0.5))
    for job, message in (
        (job_of(step_loss=own), "expected a ScalarizedLoss without weights"),
        (job_of(Mirror()), "found Mirror, expected a scalarizer that is a function"),
    ):
        with pytest.raises(InputError, match=message):
            train_jobs([job], inputs, model, lab.pad, SETTINGS, tmp_path)
    with pytest.raises(InputError, match="found a model without a trade-off adapter"):
        train_jobs([job_of()], inputs, lab.model(), lab.pad, SETTINGS, tmp_path)
