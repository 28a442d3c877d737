"""Rewarded jobs: batches, resumption, heads, and what a step is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Head, Pool, TrainingJob
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.rewarded import train_rewarded
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import InputError, NotScoredError
from paretune.functional.rewarded_likelihood import PolicyHypervolume, calibrate
from paretune.functional.select import select_all

SETTINGS = TrainSettings(
    learning_rate=3e-3, batch_size=12, steps=6, precision="float32", max_grad_norm=0.0
)
CORNERS = ((1.0, 0.0), (0.0, 1.0))


def jobs_of(
    anchors: tuple[tuple[float, ...], ...] = CORNERS, kind: Any = "lm_head", **fields: Any
) -> list[TrainingJob]:
    loss = PolicyHypervolume(anchors, **fields)
    return [
        TrainingJob(
            f"head-{k}", "rewarded", TradeOff(anchor), select_all, step_loss=loss, group="heads",
            head=Head(kind, 4),
        )
        for k, anchor in enumerate(anchors)
    ]  # fmt: skip


def rewarded(lab: Any, n_prompts: int, seed: int = 0) -> PreferenceData:
    """Two objectives that disagree: early words of the vocabulary, and late ones."""
    data = lab.preferences(n_prompts, seed)
    words = [[int(word[1:]) for word in text.split()] for text in data.texts]
    late = np.array([np.mean([w >= 22 for w in some]) for some in words])
    noise = 0.1 * np.random.default_rng(seed).random((len(late), 2))
    values = np.stack([1 - late, late], axis=1) + noise
    return data.with_rewards(RewardMatrix(data.rewards.objectives, values))


def moved(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def train(
    lab: Any, jobs: list[TrainingJob], data: PreferenceData, folder: Path, **more: Any
) -> tuple[Any, list[Mapping[str, float]]]:
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
    lines: list[Mapping[str, float]] = []
    policies, _ = train_rewarded(
        jobs, lab.job_data(data, model), model, lab.pad, replace(SETTINGS, **more), folder,
        lambda step, steps, numbers: lines.append(numbers),
    )  # fmt: skip
    return policies, lines


@pytest.mark.parametrize("fields", [{"warm_up": 1.0}, {"warm_up": 0.5}, {"memory": 0.0}])
def test_small_batches_of_a_step_are_one_big_batch(
    lab: Any, tmp_path: Path, fields: dict[str, float]
) -> None:
    data = rewarded(lab, 6)
    whole, _ = train(lab, jobs_of(**fields), data, tmp_path / "whole")
    parts, _ = train(lab, jobs_of(**fields), data, tmp_path / "parts", batch_size=4, accumulate=3)
    start = lab.model("gpt2").double().transformer.wpe.weight
    found = whole.model.transformer.wpe.weight
    assert float((found - start).detach().abs().max()) > 1e-3
    assert float((moved(whole) - moved(parts)).abs().max()) < 1e-9


def test_a_step_is_told_what_is_so(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 12)
    _, lines = train(lab, jobs_of(), data, tmp_path, batch_size=24)
    # Every head starts as the reference, whose gain is 0.
    assert [lines[0][name] for name in lines[0] if "/gain/" in name] == pytest.approx([0.0] * 4)
    found = calibrate(data.rewards.values)
    center = (found.center(CORNERS) - found.low) / (found.high - found.low)
    assert lines[0]["hypervolume"] == pytest.approx(center.prod())
    assert lines[0]["loss"] == pytest.approx(-center.sum())  # weights of a head sum to 1


def test_running_means_by_hand(lab: Any, tmp_path: Path) -> None:
    """Steps on the whole data: the second meets what the first one made."""
    data = rewarded(lab, 6)
    jobs = jobs_of(memory=0.75, warm_up=0.0)
    _, lines = train(lab, jobs, data, tmp_path, batch_size=12, steps=2)
    policies, _ = train(lab, jobs, data, tmp_path / "one", batch_size=12, steps=1)
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
    inputs = lab.job_data(data, model)
    with torch.no_grad():
        logps = policies(policies.pack(inputs.encoded, np.arange(12)[:, None], lab.pad))
    weights = torch.from_numpy(calibrate(data.rewards.values).weights)
    gains = (logps - torch.from_numpy(inputs.ref_logps)) @ weights / 12
    for k in range(2):
        for column, objective in enumerate(data.rewards.objectives):
            expected = 0.25 * float(gains[k, column])
            assert abs(expected) > 1e-3
            assert lines[1][f"head-{k}/gain/{objective}"] == pytest.approx(expected, abs=1e-6)


def test_heads_part_in_the_order_of_their_anchors(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 24)
    jobs = jobs_of((CORNERS[0], (0.5, 0.5), CORNERS[1]))
    _, lines = train(lab, jobs, data, tmp_path, steps=100, batch_size=48, learning_rate=2e-2)
    gains = [
        [lines[-1][f"head-{k}/gain/{name}"] for name in data.rewards.objectives] for k in range(3)
    ]
    assert (np.diff(gains, axis=0) * [-1, 1] > 0).all(), "no head dominates another"


def test_low_rank_heads_are_trained_with_the_backbone(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 6)
    policies, _ = train(lab, jobs_of(kind="adapter"), data, tmp_path, steps=3)
    one, two = (head.inner.detach() @ head.inner.detach().T for head in policies.heads)
    assert not torch.equal(one, two)
    start = lab.model("gpt2").double().transformer.wpe.weight
    assert not torch.equal(policies.model.transformer.wpe.weight, start)


class Stopped(Exception):
    pass


def test_resumed_it_ends_as_if_nothing_had_happened(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 12)
    settings = replace(SETTINGS, batch_size=4, accumulate=2, steps=6)

    def run(name: str, stop: int | None) -> torch.Tensor:
        # With dropout: its place in the stream of random numbers belongs to a checkpoint too.
        model = lab.model("gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)

        def tell(step: int, steps: int, numbers: Any) -> None:
            if step == stop:
                raise Stopped

        checkpoints = Checkpoints(tmp_path / name / "checkpoints", steps=1)
        policies, _ = train_rewarded(
            jobs_of(warm_up=0.25), lab.job_data(data, model), model, lab.pad, settings,
            tmp_path / name, tell, checkpoints,
        )  # fmt: skip
        return moved(policies)

    expected = run("whole", None)
    with pytest.raises(Stopped):
        run("stopped", 4)
    assert torch.equal(run("stopped", None), expected)


def test_references_that_nobody_needed_are_read(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 12)
    found = []
    for known in (True, False):
        model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
        inputs = lab.job_data(data, model)
        if not known:
            inputs.ref_logps[3:9] = np.nan
        policies, _ = train_rewarded(jobs_of(), inputs, model, lab.pad, SETTINGS, tmp_path)
        found.append(moved(policies))
    assert torch.equal(*found)


def test_each_head_is_written_and_read_back(lab: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    data = rewarded(lab, 12)
    model = lab.model("llama")
    inputs = lab.job_data(data, model)
    save, cost = train_jobs(jobs_of(), inputs, model, lab.pad, SETTINGS, tmp_path)
    save(lab.tokenizer(), [tmp_path / "0", tmp_path / "1"])
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / n) for n in "01")
    assert not torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert torch.equal(one.model.norm.weight, two.model.norm.weight)
    assert (cost.steps, cost.rows) == (6, 24)


def few(pool: Pool, rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def test_what_is_refused(lab: Any, tmp_path: Path) -> None:
    data = rewarded(lab, 12)
    one, two = jobs_of()
    with pytest.raises(InputError, match="'head-1': found other rows"):
        train(lab, [one, replace(two, rows=partial(few, rows=(0, 1)))], data, tmp_path)
    alike = data.with_rewards(
        RewardMatrix(data.rewards.objectives, data.rewards.values * [1.0, 0.0])
    )
    with pytest.raises(InputError, match="found 0 for all 24 responses on 'short'"):
        train(lab, [one, two], alike, tmp_path)
    data.rewards.values[5, 0] = np.nan
    with pytest.raises(NotScoredError, match="the first is response 5, good"):
        train(lab, [one, two], data, tmp_path)
