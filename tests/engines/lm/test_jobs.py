"""Jobs: what they train on, that they repeat exactly, and how they stop."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Pool, TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.jobs import train_job
from paretune.engines.lm.models import add_adapter, load_policy, save_policy
from paretune.engines.lm.reference import reference_logps
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.engines.lm.trainer import flush_denormals
from paretune.errors import ConfigError, InputError, RunError
from paretune.functional.losses import PairBatch, dpo_loss
from paretune.functional.pairing import order_by_objective

SETTINGS = TrainSettings(learning_rate=1e-2, batch_size=4, steps=6, precision="float32")


def every_row(pool: Pool) -> Any:
    return np.arange(len(pool.prompt_of))


def no_row(pool: Pool) -> Any:
    return np.zeros(0, np.int64)


def pair_job(**settings: Any) -> TrainingJob:
    rows, loss = partial(order_by_objective, index=0), partial(dpo_loss, beta=0.5)
    return TrainingJob("expert", "pairwise", TradeOff.only(0, 2), rows, loss, settings=settings)


def sft_job(rows: Any = every_row, **settings: Any) -> TrainingJob:
    return TrainingJob("sft", "sft", TradeOff.even(2), rows, settings=settings)


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def trained(
    lab: Any,
    job: TrainingJob,
    folder: Path,
    settings: TrainSettings = SETTINGS,
    dtype: torch.dtype = torch.float32,
) -> Any:
    model = lab.model().to(dtype)
    train_job(job, lab.job_data(lab.preferences(24), model), model, lab.pad, settings, folder)
    return model


def test_a_pairwise_job_learns_its_pairs(lab: Any, tmp_path: Path) -> None:
    model, data = lab.model(), lab.preferences(24)
    inputs = lab.job_data(data, model)
    lines: list[tuple[int, int, dict[str, float]]] = []
    job = pair_job(steps=40)
    cost = train_job(
        job, inputs, model, lab.pad, SETTINGS, tmp_path,
        lambda step, steps, numbers: lines.append((step, steps, dict(numbers))),
    )  # fmt: skip
    logps = reference_logps(model, inputs.encoded, np.arange(48), lab.pad)
    margin = (logps - inputs.ref_logps)[data.first] - (logps - inputs.ref_logps)[data.second]
    assert (margin > 0).all()
    first, last = lines[0][2], lines[-1][2]
    assert first["loss"] > last["loss"]
    assert last["accuracy/good"] == 1.0 > last["accuracy/short"] > 0.0
    assert last["margin"] > 0
    assert (lines[-1][0], lines[-1][1]) == (40, 40)
    assert (cost.steps, cost.rows) == (40, 24)
    # 24 rows are six batches: 40 steps see every row 6 or 7 times, padding not counted.
    tokens = inputs.encoded.prompts.lengths.sum() + inputs.encoded.responses.lengths.sum()
    assert 6 * tokens < cost.tokens < 7 * tokens
    assert cost.seconds > 0


def test_an_sft_job_learns_its_rows(lab: Any, tmp_path: Path) -> None:
    model, data = lab.model(), lab.preferences(12)
    inputs = lab.job_data(data, model)
    train_job(sft_job(steps=30), inputs, model, lab.pad, SETTINGS, tmp_path)
    logps = reference_logps(model, inputs.encoded, np.arange(24), lab.pad)
    assert (logps > inputs.ref_logps).mean() > 0.9


def test_the_same_seed_gives_the_same_bits(lab: Any, tmp_path: Path) -> None:
    first, again = (parameters(trained(lab, pair_job(), tmp_path)) for _ in range(2))
    assert are_equal(first, again)


def test_another_seed_gives_another_order(lab: Any, tmp_path: Path) -> None:
    first = parameters(trained(lab, pair_job(), tmp_path))
    other = parameters(trained(lab, pair_job(), tmp_path, replace(SETTINGS, seed=1)))
    assert not are_equal(first, other)


@pytest.mark.parametrize("job", [pair_job(steps=1), sft_job(steps=1)], ids=["pairwise", "sft"])
def test_accumulation_equals_one_big_batch(lab: Any, tmp_path: Path, job: TrainingJob) -> None:
    # Float64, because Adam turns the rounding of a small gradient into a step of its own size.
    def train(**settings: Any) -> dict[str, torch.Tensor]:
        return parameters(trained(lab, job, tmp_path, replace(SETTINGS, **settings), torch.float64))

    whole = train(batch_size=64)
    # Unequal parts: 24 pairs are 4 batches of 5 and one of 4, 48 responses 9 of 5 and one of 3.
    parts = train(batch_size=5, accumulate=5 if job.kind == "pairwise" else 10)
    start = parameters(lab.model().double())
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, atol=1e-4, rtol=0, msg=name)
        assert not torch.equal(expected, start[name])


def test_divergence_stops_at_the_first_bad_number(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"diverged: loss is (nan|inf) at step [2-9] of 400"):
        trained(lab, pair_job(learning_rate=1e30, steps=400, max_grad_norm=0.0), tmp_path)


def test_a_policy_with_a_number_that_is_not_finite_is_never_returned(
    lab: Any, tmp_path: Path
) -> None:
    def poison(batch: PairBatch) -> torch.Tensor:
        # Finite, with a gradient that is not.
        return (batch.chosen - batch.chosen.detach()).abs().sqrt()

    job = replace(pair_job(steps=1), loss=poison)
    with pytest.raises(RunError, match=r"diverged: (a parameter|grad_norm)"):
        trained(lab, job, tmp_path)


def test_jobs_that_cannot_train_say_why(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="job sft: its rule left no row of 48 responses"):
        trained(lab, sft_job(no_row), tmp_path)
    with pytest.raises(ConfigError, match="job setting 'learning_rat' is unknown"):
        trained(lab, sft_job(learning_rat=1.0), tmp_path)
    with pytest.raises(InputError, match="needs a loss"):
        trained(lab, replace(pair_job(), loss=None), tmp_path)
    model, data = lab.model(), lab.preferences(4)
    inputs = lab.job_data(data, model)
    unknown = JobData(data, inputs.encoded, np.full(8, np.nan))
    with pytest.raises(RunError, match="no reference log-probability"):
        train_job(pair_job(), unknown, model, lab.pad, SETTINGS, tmp_path)


@pytest.mark.parametrize("name", ["gemma2", "bloom", "mamba", "gpt2"])
def test_any_architecture_trains(lab: Any, tmp_path: Path, name: str) -> None:
    model, data = lab.model(name), lab.preferences(8)
    inputs = lab.job_data(data, model)
    train_job(pair_job(steps=20), inputs, model, lab.pad, SETTINGS, tmp_path)
    logps = reference_logps(model, inputs.encoded, np.arange(16), lab.pad) - inputs.ref_logps
    assert (logps[data.first] > logps[data.second]).all()


def test_activation_checkpointing_changes_nothing_but_time(lab: Any, tmp_path: Path) -> None:
    plain = trained(lab, pair_job(), tmp_path)
    saving = trained(lab, pair_job(), tmp_path, replace(SETTINGS, activation_checkpointing=True))
    assert are_equal(parameters(plain), parameters(saving))


def test_warmup_holds_for_every_schedule(lab: Any, tmp_path: Path) -> None:
    for schedule in ("linear", "cosine", "constant"):
        rates: list[float] = []
        model = lab.model()
        train_job(
            pair_job(), lab.job_data(lab.preferences(8), model), model, lab.pad,
            replace(SETTINGS, schedule=schedule, warmup_steps=3), tmp_path,
            lambda step, steps, n, rates=rates: rates.append(n["learning_rate"]),
        )  # fmt: skip
        np.testing.assert_allclose(rates[:4], np.array([0, 1, 2, 3]) / 3 * 1e-2, rtol=1e-6)
        assert (rates[-1] == rates[3]) is (schedule == "constant")


def test_labels_are_turned_with_their_pair(lab: Any, tmp_path: Path) -> None:
    seen: list[PairBatch] = []

    def look(batch: PairBatch) -> torch.Tensor:
        seen.append(batch)
        return dpo_loss(batch, 1.0)

    model, data = lab.model(), lab.preferences(8)
    job = replace(pair_job(steps=1, batch_size=8), rows=partial(order_by_objective, index=1))
    train_job(
        replace(job, loss=look), lab.job_data(data, model), model, lab.pad, SETTINGS, tmp_path
    )
    assert (seen[0].labels[:, 1] == 1).all()
    assert sorted(seen[0].labels[:, 0].tolist()) == sorted(data.labels[:, 1].tolist())
    torch.testing.assert_close(seen[0].chosen.detach(), seen[0].ref_chosen, atol=1e-5, rtol=1e-6)


class TestLora:
    """Adapters: only they train, and they come back from disk."""

    lora = LoraSettings(rank=4, alpha=8)

    def test_only_the_adapter_moves(self, lab: Any, tmp_path: Path) -> None:
        model = add_adapter(lab.model(), self.lora, seed=0)
        before = parameters(model)
        inputs = lab.job_data(lab.preferences(8), model)
        train_job(pair_job(), inputs, model, lab.pad, SETTINGS, tmp_path)
        after = parameters(model)
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        assert moved == {n for n in before if "lora_" in n}

    @pytest.mark.parametrize("is_adapter", [True, False])
    def test_a_policy_comes_back_and_goes_on(
        self, lab: Any, tmp_path: Path, is_adapter: bool
    ) -> None:
        base, folder = tmp_path / "base", tmp_path / "policy"
        save_policy(lab.model(), lab.tokenizer(), base)
        model = add_adapter(lab.model(), self.lora, seed=0) if is_adapter else lab.model()
        inputs = lab.job_data(lab.preferences(8), model)
        train_job(pair_job(), inputs, model, lab.pad, SETTINGS, tmp_path)
        save_policy(model, lab.tokenizer(), folder)
        assert (folder / "adapter_config.json").exists() == is_adapter
        asked = np.arange(16)
        expected = reference_logps(model, inputs.encoded, asked, lab.pad)
        found = load_policy(folder, base, train=True)
        np.testing.assert_array_equal(
            reference_logps(found, inputs.encoded, asked, lab.pad), expected
        )
        train_job(pair_job(), inputs, found, lab.pad, SETTINGS, tmp_path)
        train_job(pair_job(), inputs, model, lab.pad, SETTINGS, tmp_path)
        np.testing.assert_array_equal(
            reference_logps(found, inputs.encoded, asked, lab.pad),
            reference_logps(model, inputs.encoded, asked, lab.pad),
        )
        assert (reference_logps(found, inputs.encoded, asked, lab.pad) != expected).all()

    def test_adapters_of_one_seed_are_the_same(self, lab: Any) -> None:
        first, again, other = (
            parameters(add_adapter(lab.model(), self.lora, seed)) for seed in (0, 0, 1)
        )
        assert are_equal(first, again)
        assert not are_equal(first, other)


def test_steps_follow_epochs_and_processes() -> None:
    settings = TrainSettings(batch_size=4, epochs=2, steps=0)
    assert settings.n_steps(10) == 6
    assert replace(settings, accumulate=2).n_steps(10) == 4
    assert settings.n_steps(10, processes=3) == 2
    assert replace(settings, steps=7).n_steps(10, processes=3) == 7


def test_a_job_may_take_a_share_of_the_learning_rate() -> None:
    settings = TrainSettings(learning_rate=0.5)
    assert settings.with_job({"learning_rate_factor": 0.1}).learning_rate == pytest.approx(0.05)
    both = {"learning_rate_factor": 0.1, "learning_rate": 2.0, "steps": 3}
    assert settings.with_job(both) == replace(settings, learning_rate=0.2, steps=3)


def test_training_leaves_the_arithmetic_of_the_process_as_it_was() -> None:
    def is_flushed() -> bool:
        return float(torch.tensor(torch.finfo(torch.float32).tiny) / 2) == 0.0

    assert not is_flushed()
    with flush_denormals():
        assert is_flushed()
    assert not is_flushed()
