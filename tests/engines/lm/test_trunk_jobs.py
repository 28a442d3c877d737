"""Heads on a frozen trunk: each trains as it would alone, and as the slow way trains it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Head, Margins, PairOrder, Pool, TrainingJob
from paretune.core.record import PreferenceData
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.models import load_policy, save_policy
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.state_head import StateHead, attach_head, start_factors
from paretune.errors import InputError
from paretune.functional.build_scalarizer import build_scalarizer
from paretune.functional.losses import mean_dpo_loss, weighted_dpo_loss
from paretune.functional.margin_loss import modpo_loss
from paretune.functional.pairing import (
    keep_labelled,
    order_by_drawn_objective,
    order_by_objective,
)
from paretune.functional.scalarized_loss import ScalarizedLoss

RANK = 4
# A norm that most steps exceed, and batches of a step: what ties heads together would show.
SETTINGS = TrainSettings(
    learning_rate=1e-2, batch_size=5, accumulate=2, steps=6, precision="float32",
    max_grad_norm=0.01, warmup_steps=2, weight_decay=0.1, seed=3,
)  # fmt: skip


def job(weight: float, rule: Any = keep_labelled, **more: Any) -> TrainingJob:
    weights = (weight, round(1 - weight, 3))
    fields = {
        "id": f"policy-{weight}",
        "kind": "pairwise",
        "tradeoff": TradeOff(weights),
        "rows": partial(rule, weights=weights),
        "loss": partial(weighted_dpo_loss, beta=0.5, weights=weights),
        "group": "g",
        "head": Head("state", RANK),
    }
    return TrainingJob(**(fields | more))


def scalarized(weight: float, name: str = "stch", **options: Any) -> TrainingJob:
    loss = ScalarizedLoss(
        build_scalarizer(name, options), (weight, 1 - weight), beta=0.5, is_length_normalized=False
    )
    rows = partial(keep_labelled, weights=(0.5, 0.5))
    return job(weight, loss=None, step_loss=loss, rows=rows)


def with_margins(weight: float) -> TrainingJob:
    weights = (weight, round(1 - weight, 3))
    loss = partial(modpo_loss, beta=0.5, weights=weights, axis=0)
    rows = partial(order_by_objective, index=0)
    return job(weight, rows=rows, loss=loss, margins=Margins(("e0", "e1"), (0.5, 0.5), False))


def imitation(start: int) -> TrainingJob:
    def rows(pool: Pool) -> Any:
        return np.arange(start, len(pool.rewards), 2)

    return job(0.5, id=f"sft-{start}", kind="sft", rows=rows, loss=None)


def with_experts(inputs: JobData) -> JobData:
    """Two experts that differ from the reference at random."""
    noise = np.random.default_rng(0).normal(size=(2, len(inputs.ref_logps)))
    return replace(inputs, experts={f"e{i}": inputs.ref_logps + noise[i] for i in range(2)})


def train(
    lab: Any, jobs: Sequence[TrainingJob], data: PreferenceData, folder: Path, **more: Any
) -> list[torch.Tensor]:
    """Both factors of every head, one row a head."""
    model = lab.model()
    inputs = with_experts(lab.job_data(data, model))
    save, _ = train_jobs(jobs, inputs, model, lab.pad, replace(SETTINGS, **more), folder)
    heads = save.func.__self__
    return [flat(heads.alone(k)) for k in range(len(jobs))]


def flat(head: StateHead) -> torch.Tensor:
    return torch.cat([head.inner.detach().flatten(), head.outer.detach().flatten()])


def slowly(lab: Any, one: TrainingJob, data: PreferenceData, folder: Path) -> torch.Tensor:
    """The same head through the engine of whole models, everything below it frozen."""
    model = lab.model()
    inputs = with_experts(lab.job_data(data, model))
    model.requires_grad_(False)
    head = StateHead(*start_factors(16, RANK, SETTINGS.seed, torch.float32))
    attach_head(model, head)
    alone = replace(one, group=None, head=None)
    train_jobs([alone], inputs, model, lab.pad, SETTINGS, folder)
    return flat(head)


def some_labels(lab: Any) -> PreferenceData:
    """Pairs without a label on one objective: jobs take different rows."""
    data: PreferenceData = lab.preferences(17)
    data.labels[2:7, 0] = np.nan
    data.labels[11, 1] = np.nan
    return data


GROUPS = {
    "same rows": lambda: [job(w) for w in (1.0, 0.5, 0.2)],
    "another side chosen": lambda: [job(w, order_by_drawn_objective) for w in (0.9, 0.5, 0.1)],
    "scalarized": lambda: [scalarized(w) for w in (0.9, 0.5, 0.1)],
    "learned weights": lambda: [scalarized(w, "mirror", eta=0.2) for w in (0.9, 0.1)],
    "margins of experts": lambda: [with_margins(w) for w in (0.8, 0.3)],
    "imitation": lambda: [imitation(start) for start in (0, 1)],
}


@pytest.mark.parametrize("name", ["same rows", "another side chosen", "learned weights"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_together_each_trains_as_if_alone(
    lab: Any, tmp_path: Path, name: str, is_whole: bool
) -> None:
    jobs = GROUPS[name]()[:2]
    data = lab.preferences(17) if is_whole else some_labels(lab)
    together = train(lab, jobs, data, tmp_path / "all")
    assert float((together[0] - together[1]).abs().max()) > 1e-3
    for one, found in zip(jobs, together, strict=True):
        (alone,) = train(lab, [one], data, tmp_path / one.id)
        assert float((found - alone).abs().max()) < 1e-5


@pytest.mark.parametrize("name", GROUPS)
def test_the_slow_way_trains_the_same(lab: Any, tmp_path: Path, name: str) -> None:
    jobs, data = GROUPS[name]()[:2], some_labels(lab)
    found = train(lab, jobs, data, tmp_path / "fast")
    start = flat(StateHead(*start_factors(16, RANK, SETTINGS.seed, torch.float32)))
    for one, fast in zip(jobs, found, strict=True):
        slow = slowly(lab, one, data, tmp_path / one.id)
        assert float((slow - start).abs().max()) > 1e-2
        assert float((fast - slow).abs().max()) < 2e-5


def test_states_on_disk_change_nothing(lab: Any, tmp_path: Path) -> None:
    jobs, data = [job(0.8), job(0.2)], lab.preferences(17)
    inside = train(lab, jobs, data, tmp_path / "in")
    outside = train(lab, jobs, data, tmp_path / "out", trunk_memory_gb=0.0)
    for one, other in zip(inside, outside, strict=True):
        assert torch.equal(one, other)


def test_the_number_of_steps_is_that_of_the_largest_job(lab: Any, tmp_path: Path) -> None:
    def few(labels: Any, keys: Any) -> PairOrder:
        return PairOrder(np.arange(5), np.zeros(5, dtype=bool))

    model, data = lab.model(), lab.preferences(20)
    settings = replace(SETTINGS, steps=0, epochs=2.0)
    jobs = [job(0.8), job(0.2, rows=few)]
    _, cost = train_jobs(jobs, lab.job_data(data, model), model, lab.pad, settings, tmp_path)
    assert cost.steps == 4
    assert cost.rows == 20


def test_policies_that_spread_train_together(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(12)
    jobs = [scalarized(w, "hv_gradient") for w in (0.8, 0.5, 0.2)]
    model = lab.model()
    settings = replace(
        SETTINGS, steps=60, batch_size=12, accumulate=1, learning_rate=3e-2, max_grad_norm=0.0
    )
    inputs = lab.job_data(data, model)
    save, _ = train_jobs(jobs, inputs, model, lab.pad, settings, tmp_path)
    save_policy(model, lab.tokenizer(), tmp_path / "base")
    save(lab.tokenizer(), [tmp_path / one.id for one in jobs])
    margins = []
    for one in jobs:
        policy = load_policy(tmp_path / one.id, tmp_path / "base")
        logps = reference_logps(policy, inputs.encoded, np.arange(24), lab.pad) - inputs.ref_logps
        margin = logps[data.first] - logps[data.second]
        # The two objectives disagree about half of the pairs.
        margins.append((data.labels * margin[:, None]).mean(0))
    first, second = np.transpose(margins)
    assert first[0] > first[1] > first[2]
    assert second[0] < second[1] < second[2]


def test_policies_order_the_pairs_they_learned(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(17)
    model = lab.model()
    inputs = lab.job_data(data, model)
    settings = replace(SETTINGS, steps=39, learning_rate=1e-1, max_grad_norm=1.0)
    told: list[dict[str, float]] = []
    save, _ = train_jobs(
        [job(1.0), job(0.0)], inputs, model, lab.pad, settings, tmp_path,
        lambda step, steps, numbers: told.append(dict(numbers)),
    )  # fmt: skip
    assert told[0]["loss"] == pytest.approx(np.log(2), abs=1e-6), "not the mean of the jobs"
    assert told[0]["margin"] == 0.0, "the reference is not that of the trunk"
    save_policy(model, lab.tokenizer(), tmp_path / "base")
    folders = [tmp_path / "good", tmp_path / "short"]
    save(lab.tokenizer(), folders)
    for column, folder in enumerate(folders):
        policy = load_policy(folder, tmp_path / "base")
        logps = reference_logps(policy, inputs.encoded, np.arange(34), lab.pad) - inputs.ref_logps
        margin = (logps[data.first] - logps[data.second]) * data.labels[:, column]
        assert (margin > 0).mean() > 0.9
        assert (folder / "tokenizer.json").exists()


def test_interrupted_it_ends_as_if_nothing_had_happened(lab: Any, tmp_path: Path) -> None:
    jobs, data = [scalarized(w, "mirror", eta=0.2) for w in (0.9, 0.1)], lab.preferences(17)
    whole = train(lab, jobs, data, tmp_path / "whole")
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=2)
    seen: list[int] = []

    def run(stop: int) -> Any:
        def watch(step: int, steps: int, numbers: Any) -> None:
            seen.append(step)
            if step == stop:
                raise KeyboardInterrupt

        model = lab.model()
        inputs = lab.job_data(data, model)
        return train_jobs(
            jobs, inputs, model, lab.pad, SETTINGS, tmp_path / "job", watch, checkpoints
        )

    with pytest.raises(KeyboardInterrupt):
        run(stop=5)
    size = sum(f.stat().st_size for f in (tmp_path / "checkpoints").rglob("*.safetensors"))
    assert size < 10_000, "the trunk is in the checkpoint"
    seen.clear()
    save, _ = run(stop=0)
    assert seen[0] == 5, "it did not go on from the newest checkpoint"
    heads = save.func.__self__
    for k, expected in enumerate(whole):
        assert torch.equal(flat(heads.alone(k)), expected)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (lambda: [job(0.5), job(0.2, head=Head("state", 5))], "expected 'state' with one rank"),
        (lambda: [job(0.5), job(0.2, head=Head("lm_head"))], "expected 'state' with one rank"),
        (lambda: [job(0.5, kind="constrained")], "found jobs of kind 'constrained', expected pair"),
        (lambda: [job(0.5, start="expert")], "found start 'expert', expected 'base'"),
        (lambda: [job(0.5, loss=None)], "a pairwise job needs a loss or a step loss"),
        (lambda: [scalarized(0.5, "mgda")], "found MGDA on a frozen trunk"),
        (lambda: [scalarized(0.5, "hv_gradient")], "expected several policies that spread"),
        (lambda: [job(0.5), job(0.2, rows=_none)], "job policy-0.2: its rule left no row of 34"),
    ],
)
def test_what_does_not_fit_on_a_trunk_is_told(
    lab: Any, tmp_path: Path, jobs: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(lab, jobs(), lab.preferences(17), tmp_path)


def _none(labels: Any, keys: Any) -> PairOrder:
    return PairOrder(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))


def test_several_processes_are_told(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(InputError, match="found 2 processes, expected one"):
        train(lab, [job(0.5)], lab.preferences(4), tmp_path)


def test_length_normalized_losses_know_the_tokens(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(17)
    one = job(0.5, loss=partial(mean_dpo_loss, beta=5.0))
    (fast,) = train(lab, [one], data, tmp_path / "fast")
    assert float((fast - slowly(lab, one, data, tmp_path / "slow")).abs().max()) < 2e-5


def test_half_precision_starts_at_the_reference_too(lab: Any, tmp_path: Path) -> None:
    data, jobs = lab.preferences(17), [job(0.8), job(0.2)]
    model = lab.model()
    told: list[float] = []
    settings = replace(SETTINGS, precision="bfloat16")
    save, _ = train_jobs(
        jobs, lab.job_data(data, model), model, lab.pad, settings, tmp_path / "half",
        lambda step, steps, numbers: told.append(numbers.get("margin", np.nan)),
    )  # fmt: skip
    assert abs(told[0]) < 1e-3
    whole = train(lab, jobs, data, tmp_path / "whole")
    for k, expected in enumerate(whole):
        found = flat(save.func.__self__.alone(k))
        assert torch.isfinite(found).all()
        assert float((found - expected).abs().max()) < 0.1
