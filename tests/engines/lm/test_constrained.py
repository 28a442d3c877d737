"""Constrained jobs on a language model against the exact optimum, and their state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.constrained import LOG, train_constrained
from paretune.engines.lm.constraint_state import ConstraintState
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import InputError, RunError
from paretune.functional.closed_form import kl_divergence
from paretune.functional.constrained import constrained_optimum
from paretune.functional.goal_table import goal_table
from paretune.functional.preference_table import label_table
from paretune.methods.mopo import MOPO

S, A = 4, 6
SETTINGS = TrainSettings(learning_rate=3e-3, batch_size=24, steps=300, precision="float32")


def preferred(seed: int = 0) -> np.ndarray[Any, Any]:
    """``(2, S, A, A)`` how likely the first of two responses is preferred: two tilted worths."""
    worth = np.random.default_rng(seed).normal(size=(2, S, A))
    return 1 / (1 + np.exp(-2 * (worth[..., :, None] - worth[..., None, :])))


def pairs(n: int, seed: int = 0) -> PreferenceData:
    """``n`` comparisons of two-token responses with hard labels drawn from ``preferred``."""
    chances, rng = preferred(seed), np.random.default_rng([seed, 1])
    records = []
    for s in range(S):
        responses = tuple(Response(f"w{10 + a} w{20 + (a + s) % A}") for a in range(A))
        comparisons = []
        for _ in range(n // S):
            a, b = rng.choice(A, size=2, replace=False)
            labels = np.where(rng.random(2) < chances[:, s, a, b], 1.0, -1.0)
            named = dict(zip(("good", "short"), labels.tolist(), strict=True))
            comparisons.append(Comparison(int(a), int(b), named))
        records.append(Record(f"w{5 + s} w{30 + s}", responses, tuple(comparisons)))
    return PreferenceData.from_records(records, ("good", "short"))


def scored(n_prompts: int = 6, n_responses: int = 6, seed: int = 0) -> PreferenceData:
    """Random pools with random rewards."""
    rng = np.random.default_rng(seed)
    return PreferenceData.from_records(
        [
            Record(
                f"w{5 + s} w{6 + s}",
                tuple(
                    Response(
                        " ".join(f"w{i}" for i in rng.integers(10, 39, rng.integers(1, 4))),
                        {"good": float(rng.normal()), "short": float(rng.normal())},
                    )
                    for _ in range(n_responses)
                ),
            )
            for s in range(n_prompts)
        ],
        ("good", "short"),
    )


def train(
    lab: Any, method: MOPO, data: PreferenceData, folder: Path, settings: TrainSettings = SETTINGS,
    **options: Any,
) -> tuple[Any, list[dict[str, Any]]]:  # fmt: skip
    """Policies and the log of multipliers."""
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    inputs = lab.job_data(data, model)
    jobs = method.plan(2, ())
    mine = settings.with_job(jobs[0].settings)
    policies, _ = train_constrained(jobs, inputs, model, lab.pad, mine, folder, **options)
    with (folder / LOG).open() as file:
        return policies, [json.loads(line) for line in file]


def test_heads_reach_the_exact_optimum(lab: Any, tmp_path: Path) -> None:
    # Acceptance check: two heads on one small GPT-2, labels from 6,000 comparisons only.
    data = pairs(6000)
    method = MOPO(thresholds=(0.55, 0.60), tau=0.1, lag=None, labels="table", steps=1500)
    settings = replace(SETTINGS, learning_rate=2e-3)
    policies, log = train(lab, method, data, tmp_path, settings)
    inputs = lab.job_data(data, lab.model("gpt2"))
    rows = policies.pack(inputs.encoded, np.arange(S * A)[:, None], lab.pad)
    with torch.no_grad():
        found = torch.log_softmax(policies.eval()(rows).double().view(2, S, A), dim=-1)
    # The optimum for what the labels say; the truth behind them is a little elsewhere.
    table = label_table(data.first, data.second, data.labels, data.prompt_of)
    p = torch.as_tensor(table.values.T.reshape(2, S, A))
    chances = torch.as_tensor(preferred())
    assert float((p - (chances.sum(-1) - 0.5) / (A - 1)).abs().max()) < 0.1
    ref = torch.full((S, A), -np.log(A), dtype=torch.float64)
    for head, floor in ((0, 0.60), (1, 0.55)):
        oracle = constrained_optimum(
            ref, p[head], p[1 - head][..., None], torch.tensor([floor]), 0.1
        )
        assert float(kl_divergence(oracle.logps, found[head]).mean()) <= 0.01
        assert float((oracle.logps.exp() - found[head].exp()).abs().max()) <= 0.05
        last = [line for line in log if line["job"] == f"primary-{head}"][-1]
        assert abs(last["multipliers"][0] - float(oracle.multipliers)) <= 0.05
        assert float(oracle.multipliers) > 0.05, "the floor should bind, or nothing is tested"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"updates": "alternating"},
        {"updates": "alternating", "radius": 0.05, "tau": 0.3},
        {"updates": "barrier"},
        {"updates": "alternating", "is_literal": True, "tau": 0.5},
        {"divergence": "jsd", "primary": 0},
        {"radius": 0.1, "tau": 0.3, "updates": "alternating", "thresholds": (None, 0.4)},
        {"updates": "barrier", "thresholds": (None, 0.4)},
        {"thresholds": (None, None)},
        {"heads": "adapter", "head_rank": 4},
        {"primary": 1},
        {"reward_floors": (-0.2, -0.2)},
        {"labels": "pair_soft", "slope": 1.0},
    ],
)
def test_every_way_to_train_runs_and_logs(lab: Any, tmp_path: Path, options: Any) -> None:
    data = scored()
    if options.get("labels") == "pair_soft":
        data = replace(
            data, first=np.arange(0, 36, 2), second=np.arange(1, 36, 2), labels=np.ones((18, 2))
        )
    policies, log = train(lab, MOPO(steps=20, lag=6, **options), data, tmp_path)
    n_policies = 1 if "primary" in options else 2
    assert policies.n_policies == n_policies
    assert [line["step"] for line in log] == [s + 1 for s in range(20) for _ in range(n_policies)]
    for line in log:
        assert {"multipliers", "temperatures", "floors", "values", "ess"} <= line.keys()
        assert 0 < line["ess"] <= 1 + 1e-9
        assert all(np.isfinite(line["multipliers"])) and all(np.isfinite(line["values"]))


def test_multipliers_that_alternate_come_to_the_exact_ones(lab: Any, tmp_path: Path) -> None:
    exact, slow = (
        train(
            lab,
            MOPO(primary=0, thresholds=(None, 0.6), tau=0.2, lag=None, steps=300,
                 updates=updates, multiplier_rate=0.1),
            scored(n_responses=4), tmp_path / updates,
        )[1]
        for updates in ("dual", "alternating")
    )  # fmt: skip
    assert exact[-1]["multipliers"][0] > 0.05
    assert slow[0]["multipliers"][0] < slow[50]["multipliers"][0]
    assert slow[-1]["multipliers"] == pytest.approx(exact[-1]["multipliers"], abs=0.05)


def test_references_lag_and_floors_follow(lab: Any, tmp_path: Path) -> None:
    method = MOPO(tau=0.5, lag=20, relaxation=0.9, steps=80)
    _, log = train(lab, method, scored(), tmp_path)
    floors = [line["floors"][0] for line in log if line["job"] == "primary-0"]
    # b = relaxation * 1/2 until the second refresh; the first one's snapshot is the start.
    assert floors[0] == pytest.approx(0.45)
    assert floors[20] == pytest.approx(0.45)
    assert floors[40] != pytest.approx(0.45)
    assert len(set(floors)) == 3


def test_a_reference_that_few_entries_speak_for_is_not_taken() -> None:
    goal = MOPO(tau=0.3).plan(2, ())[0].goal
    assert goal is not None
    table = goal_table(goal, scored(n_prompts=4, n_responses=12))
    state = ConstraintState(goal, table)
    state.solve()
    near, far = torch.zeros(48).double(), torch.zeros(48).double()
    near[:24], far[::12] = 0.5, 5.0
    for snapshot, is_kept in ((near, False), (far, True)):
        state.snapshot.copy_(snapshot)
        state.refresh(torch.zeros(48).double())
        assert bool(state.is_kept) == is_kept
        # A reference that is not taken leaves the one before.
        assert torch.equal(state.log_ratios, near)
        assert state.weigh(torch.arange(12))[1]["is_reference_kept"] == is_kept


@pytest.mark.parametrize("method", [
    MOPO(tau=0.3, lag=5, steps=16),
    MOPO(tau=0.3, lag=5, steps=16, updates="alternating", radius=0.05),
])  # fmt: skip
def test_a_resumed_run_repeats_an_uninterrupted_one(lab: Any, tmp_path: Path, method: MOPO) -> None:
    data = scored()
    whole, log = train(lab, method, data, tmp_path / "whole")
    checkpoints = Checkpoints(tmp_path / "checkpoints", steps=7)

    def die(step: int, steps: int, numbers: Any) -> None:
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(lab, method, data, tmp_path / "first", progress=die, checkpoints=checkpoints)
    steps = []
    rest, again = train(
        lab, method, data, tmp_path / "rest", checkpoints=checkpoints,
        progress=lambda step, *_: steps.append(step),
    )  # fmt: skip
    assert min(steps) == 8, "the checkpoint was not gone on from"
    assert again == log
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[name]), name


def test_a_floor_out_of_reach_is_explained(lab: Any, tmp_path: Path) -> None:
    # Every reward ties on the second objective: one half is all that any policy reaches.
    data = scored()
    tied = data.rewards.values.copy()
    tied[:, 1] = 1.0
    rewards = type(data.rewards)(data.rewards.objectives, tied)
    method = MOPO(primary=0, thresholds=(None, 0.6), lag=None, steps=5)
    with pytest.raises(
        InputError, match=r"job primary-0: floors: short >= 0\.6 cannot be met: best"
    ):
        train(lab, method, replace(data, rewards=rewards), tmp_path)


def test_accumulated_batches_are_one_step_of_the_multipliers(lab: Any, tmp_path: Path) -> None:
    method = MOPO(primary=0, thresholds=(None, 0.6), lag=None, steps=4, updates="alternating")
    settings = replace(SETTINGS, batch_size=8, accumulate=2)
    _, log = train(lab, method, scored(), tmp_path, settings)
    assert [line["step"] for line in log] == [1, 2, 3, 4]


def test_long_responses_count_like_short_ones(lab: Any, tmp_path: Path) -> None:
    # Two replies a prompt, one short and one long, without any preference: both chances rise.
    records = [
        Record(f"w{5 + s}", (Response("w20", tied), Response(" ".join(["w21"] * 12), tied)))
        for s in range(8)
        for tied in ({"good": 0.0, "short": 0.0},)
    ]
    data = PreferenceData.from_records(records, ("good", "short"))
    method = MOPO(primary=0, thresholds=(None, None), lag=None, steps=400)
    settings = replace(SETTINGS, batch_size=2)
    policies, _ = train(lab, method, data, tmp_path, settings)
    inputs = lab.job_data(data, lab.model("gpt2"))
    rows = policies.pack(inputs.encoded, np.arange(16)[:, None], lab.pad)
    with torch.no_grad():
        chances = policies.eval()(rows)[0].view(8, 2).exp()
    assert chances.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.05)


def test_exploding_multipliers_stop_the_run(lab: Any, tmp_path: Path) -> None:
    method = MOPO(
        primary=0, thresholds=(None, 1.0), lag=None, steps=200, updates="alternating",
        multiplier_rate=50.0, tau=1.0,
    )  # fmt: skip
    with pytest.raises(RunError, match=r"short >= 1 is not met, the best average seen is"):
        train(lab, method, scored(), tmp_path)


def test_what_does_not_go_together_is_refused(lab: Any, tmp_path: Path) -> None:
    for options in ({"radius": 0.1}, {"is_literal": True}):
        with pytest.raises(InputError, match="expected 'alternating'"):
            train(lab, MOPO(steps=2, **options), scored(), tmp_path)
    with pytest.raises(InputError, match="expected updates 'dual'"):
        train(
            lab, MOPO(steps=2, divergence="jsd", updates="barrier", primary=0), scored(), tmp_path
        )
    with pytest.raises(InputError, match="one response a prompt"):
        train(lab, MOPO(steps=2), scored(n_responses=1), tmp_path)


def test_groups_of_other_kinds_are_refused(lab: Any, tmp_path: Path) -> None:
    job = MOPO(steps=2).plan(2, ())[0]
    group = [replace(job, kind="sft", goal=None), replace(job, kind="sft", goal=None)]
    model = lab.model("gpt2")
    with pytest.raises(InputError, match="expected constrained jobs"):
        train_jobs(group, lab.job_data(scored(), model), model, lab.pad, SETTINGS, tmp_path)
