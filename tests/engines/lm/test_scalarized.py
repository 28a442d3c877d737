"""Jobs whose loss combines the pairs of a step: batches, resumption, validation, heads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Head, PairOrder, TrainingJob
from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.heads import HeadedScorer
from paretune.engines.lm.jobs import train_job, train_jobs
from paretune.engines.lm.pair_accuracy import PairAccuracy
from paretune.engines.lm.pairs import pair_batch, pair_rows
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.scalarized import train_scalarized
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import InputError
from paretune.functional.gradient_combination import MGDA, UPGrad
from paretune.functional.hypervolume_gradient import HypervolumeGradient
from paretune.functional.learned_weights import Mirror, RandomWeights, UncertaintyWeights
from paretune.functional.losses import weighted_dpo_loss
from paretune.functional.objective_losses import objective_losses
from paretune.functional.pairing import keep_labelled
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizers import Chebyshev, Linear, SmoothChebyshev, Tilted

SETTINGS = TrainSettings(
    learning_rate=1e-2, batch_size=12, steps=5, precision="float32", max_grad_norm=0.0
)


def job(scalarizer: Any, weights: Any = (0.7, 0.3), **more: Any) -> TrainingJob:
    loss = ScalarizedLoss(scalarizer, weights, beta=0.5, is_length_normalized=False)
    rule = partial(keep_labelled, weights=(0.5, 0.5))
    fields = {"id": "job"} | more
    return TrainingJob(
        kind="pairwise", tradeoff=TradeOff.even(2), rows=rule, step_loss=loss, **fields
    )


def moved(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def train(lab: Any, one: TrainingJob, data: PreferenceData, folder: Path, **more: Any) -> Any:
    settings = replace(SETTINGS, **more)
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
    inputs = lab.job_data(data, model)
    train_scalarized([one], inputs, model, lab.pad, settings, folder)
    return moved(model)


@pytest.mark.parametrize(
    "scalarizer",
    [
        Linear(),
        Chebyshev(),
        SmoothChebyshev(),
        Tilted(),
        ParetoHypervolume(),
        Mirror(),
        UncertaintyWeights(),
        RandomWeights(),
        MGDA(),
        UPGrad(),
        Mirror(reduce="example"),
        RandomWeights(reduce="example"),
        Chebyshev(reduce="example"),
    ],
    ids=lambda s: type(s).__name__,
)
def test_small_batches_of_a_step_are_one_big_batch(
    lab: Any, tmp_path: Path, scalarizer: Any
) -> None:
    data = lab.preferences(12)
    whole = train(lab, job(scalarizer), data, tmp_path / "whole")
    parts = train(lab, job(scalarizer), data, tmp_path / "parts", batch_size=4, accumulate=3)
    start = moved(lab.model("gpt2").double())
    assert float((whole - start).abs().max()) > 1e-3
    assert float((whole - parts).abs().max()) < 1e-9


def test_the_log_tells_no_loss_of_an_objective_without_weight(lab: Any, tmp_path: Path) -> None:
    model, data = lab.model(), lab.preferences(12)
    lines: list[dict[str, float]] = []
    train_scalarized(
        [job(Linear(), (1.0, 0.0))], lab.job_data(data, model), model, lab.pad, SETTINGS, tmp_path,
        lambda step, steps, numbers: lines.append(dict(numbers)),
    )  # fmt: skip
    assert all(line["loss/good"] > 0 and "loss/short" not in line for line in lines)
    assert all({"margin/good", "margin/short"} <= set(line) for line in lines)
    assert lines[0]["weight/short"] == 0


def test_a_mean_over_pairs_needs_one_pass(lab: Any, tmp_path: Path) -> None:
    # Missing labels: a pair that says nothing does not count in the mean of any batch.
    data = lab.preferences(12)
    data.labels[2:5] = np.nan
    data.labels[6, 0] = np.nan
    passes = []

    def forwards(scalarizer: Any, folder: str, **more: Any) -> torch.Tensor:
        model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
        inputs = lab.job_data(data, model)
        seen: list[int] = []
        model.transformer.register_forward_pre_hook(lambda *_: seen.append(1))
        every = replace(job(scalarizer), rows=keep_all)
        settings = replace(SETTINGS, **more)
        train_scalarized([every], inputs, model, lab.pad, settings, tmp_path / folder)
        passes.append(len(seen))
        return moved(model)

    whole = forwards(Linear(), "whole")
    parts = forwards(Linear(), "parts", batch_size=4, accumulate=3)
    assert float((whole - parts).abs().max()) < 1e-9
    forwards(Tilted(), "two", batch_size=4, accumulate=3)
    # Beside what the choice of the fast pass costs: 15 batches, and 10 of them looked at before.
    assert passes[2] - passes[1] == 10


def keep_all(labels: Any, keys: Any) -> PairOrder:
    return PairOrder(np.arange(len(labels)), np.zeros(len(labels), dtype=bool))


def test_a_weighted_sum_is_weighted_dpo(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(12)
    found = train(lab, job(Linear()), data, tmp_path / "found")
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
    inputs = lab.job_data(data, model)
    plain = replace(
        job(Linear()), step_loss=None,
        loss=partial(weighted_dpo_loss, beta=0.5, weights=(0.7, 0.3)),
    )  # fmt: skip
    train_job(plain, inputs, model, lab.pad, SETTINGS, tmp_path / "plain")
    assert float((found - moved(model)).abs().max()) < 1e-9


def test_two_heads_train_what_each_would_alone(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(12)
    settings = replace(SETTINGS, steps=3)

    def heads(jobs: list[TrainingJob], folder: str) -> list[torch.Tensor]:
        # A frozen backbone: then nothing of one policy reaches the other.
        model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        inputs = lab.job_data(data, model)
        made, _ = train_scalarized(jobs, inputs, model, lab.pad, settings, tmp_path / folder)
        return [head.weight.detach().clone() for head in made.heads]

    one = job(SmoothChebyshev(), (0.9, 0.1), id="one", group="g", head=Head())
    two = job(SmoothChebyshev(), (0.1, 0.9), id="two", group="g", head=Head())
    together = heads([one, two], "both")
    alone = [heads([one], "one")[0], heads([two], "two")[0]]
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    for found, expected in zip(together, alone, strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_jobs_of_a_group_take_the_same_pairs(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(12)
    data.labels[3, 0] = np.nan
    model = lab.model("gpt2")
    one = job(Linear(), id="one", group="g", head=Head())
    two = replace(one, id="two", rows=partial(keep_labelled, weights=(1.0, 0.0)))
    with pytest.raises(InputError, match="job two: found other pairs than those of one"):
        train_scalarized([one, two], lab.job_data(data, model), model, 0, SETTINGS, tmp_path)


def test_the_best_parameters_are_kept(lab: Any, tmp_path: Path) -> None:
    # Validation pairs the other way round: the longer it trains, the worse it gets.
    data = lab.preferences(24)
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    inputs = lab.job_data(data, model)
    turned = replace(inputs, data=replace(data, first=data.second, second=data.first))
    told: list[tuple[int, float, torch.Tensor]] = []

    def watch(step: int, steps: int, numbers: Any) -> None:
        if "validation" in numbers:
            told.append((step, numbers["validation"], moved(model)))

    settings = replace(SETTINGS, steps=12, epochs=4.0, learning_rate=3e-3)
    train_jobs(
        [job(Linear(), (1.0, 0.0))], replace(inputs, validation=turned), model, lab.pad,
        settings, tmp_path, watch,
    )  # fmt: skip
    assert [step for step, _, _ in told] == [3, 6, 9, 12]
    best = max(told, key=lambda item: item[1])
    assert best[0] < 12, "nothing got worse, so nothing is tested"
    assert torch.equal(moved(model), best[2])
    assert not torch.equal(moved(model), told[-1][2])


WORKER = Path(__file__).parent / "killed_job.py"


def run_worker(folder: Path, kill_after: float | None) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, str(WORKER), str(folder)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if kill_after is not None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step") and int(line.split()[1]) >= kill_after:
                process.send_signal(signal.SIGKILL)
                break
    return process


@pytest.mark.slow
def test_killed_twice_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    # Adapters with dropout, weights that are learned, accumulated batches, validation.
    whole = run_worker(tmp_path / "whole", None)
    out, problem = whole.communicate(timeout=300)
    assert whole.returncode == 0, problem[-2000:]
    expected = (tmp_path / "whole" / "sha256").read_text()
    for kill_after in (5, 9):
        process = run_worker(tmp_path / "killed", kill_after)
        _, problem = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, problem[-2000:]
        assert Checkpoints(tmp_path / "killed" / "checkpoints").newest() is not None
    rest = run_worker(tmp_path / "killed", None)
    out, problem = rest.communicate(timeout=300)
    assert rest.returncode == 0, problem[-2000:]
    first = next(int(line.split()[1]) for line in out.splitlines() if line.startswith("step"))
    assert first > 8, "it did not go on from the newest checkpoint"
    assert (tmp_path / "killed" / "sha256").read_text() == expected


def test_descriptions_are_learned_beside_the_pairs(lab: Any, tmp_path: Path) -> None:
    data = lab.preferences(12)
    found = {}
    for weight in (0.0, 1.0):
        model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        inputs = lab.job_data(data, model)
        # The same three tokens describe every user.
        sentence = Ragged.of([[20, 21, 22]] * 12)
        described = replace(inputs.encoded, responses=sentence, prompt_of=np.arange(12))
        more = replace(inputs, described=described, description_weight=weight)
        settings = replace(SETTINGS, steps=20)
        policies, _ = train_scalarized(
            [job(Linear())], more, model, lab.pad, settings, tmp_path / str(weight)
        )
        rows = policies.pack(described, np.arange(12)[:, None], lab.pad)
        with torch.no_grad():
            found[weight] = float(policies.eval()(rows).mean())
    assert found[1.0] > found[0.0] + 3


def test_descriptions_are_written_by_one_policy(lab: Any, tmp_path: Path) -> None:
    model = lab.model("gpt2")
    inputs = lab.job_data(lab.preferences(12), model)
    jobs = [job(Linear(), id=name, group="g", head=Head()) for name in ("one", "two")]
    more = replace(inputs, described=inputs.encoded)
    with pytest.raises(InputError, match="found descriptions for 2 policies, expected one"):
        train_scalarized(jobs, more, model, lab.pad, SETTINGS, tmp_path)


def test_gradients_are_compared_for_one_policy(lab: Any, tmp_path: Path) -> None:
    model = lab.model("gpt2")
    inputs = lab.job_data(lab.preferences(12), model)
    jobs = [job(MGDA(), id=name, group="g", head=Head()) for name in ("one", "two")]
    with pytest.raises(InputError, match="job one: found 1 processes and 2 policies"):
        train_scalarized(jobs, inputs, model, lab.pad, SETTINGS, tmp_path)


def test_a_loss_of_users_wants_the_weights_of_each(lab: Any, tmp_path: Path) -> None:
    model = lab.model("gpt2")
    inputs = lab.job_data(lab.preferences(12), model)
    weights = np.tile([0.5, 0.5], (12, 1))
    weights[4] = np.nan
    some = replace(inputs, data=replace(inputs.data, weights=weights))
    for given, n in ((inputs, 12), (some, 1)):
        with pytest.raises(InputError, match=f"job job: found {n} of 12 comparisons without weig"):
            train_scalarized([job(Linear(), None)], given, model, lab.pad, SETTINGS, tmp_path)


def spread(lab: Any, folder: Path, data: PreferenceData, **more: Any) -> tuple[Any, torch.Tensor]:
    """Three heads that spread by themselves, and their mean losses ``(3, 2)``."""
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    inputs = lab.job_data(data, model)
    weights = ((0.8, 0.2), (0.5, 0.5), (0.2, 0.8))
    jobs = [
        job(HypervolumeGradient(), w, id=f"p{n}", group="g", head=Head())
        for n, w in enumerate(weights)
    ]
    made, _ = train_scalarized(jobs, inputs, model, lab.pad, replace(SETTINGS, **more), folder)
    pairs = pair_rows(jobs[0], inputs, 0)
    rows = made.pack(inputs.encoded, pairs.rows, lab.pad)
    columns = {name: torch.from_numpy(column) for name, column in pairs.columns.items()}
    with torch.no_grad():
        batches = [pair_batch(own, {"rows": rows, **columns}) for own in made.eval()(rows)]
    losses = [objective_losses(b, "sigmoid", 0.5, False).mean(0) for b in batches]
    return made, torch.stack(losses)


def test_policies_spread_over_a_front_by_themselves(lab: Any, tmp_path: Path) -> None:
    # The two objectives disagree about half of the pairs.
    data = lab.preferences(12)
    _, losses = spread(lab, tmp_path / "long", data, steps=60)
    first, second = losses.T.tolist()
    assert first[0] < first[1] < first[2]
    assert second[0] > second[1] > second[2]
    whole, _ = spread(lab, tmp_path / "whole", data)
    parts, _ = spread(lab, tmp_path / "parts", data, batch_size=4, accumulate=3)
    for one, other in zip(whole.heads, parts.heads, strict=True):
        assert torch.allclose(one.weight, other.weight, rtol=0, atol=1e-8)


def test_one_policy_alone_has_nothing_to_spread_from(lab: Any, tmp_path: Path) -> None:
    model = lab.model("gpt2")
    inputs = lab.job_data(lab.preferences(12), model)
    with pytest.raises(InputError, match="found one policy, expected several that share"):
        train_scalarized([job(HypervolumeGradient())], inputs, model, 0, SETTINGS, tmp_path)


@pytest.mark.parametrize("scalarizer", [Mirror(reduce="example"), RandomWeights(reduce="example")])
def test_what_is_learned_over_pairs_is_learned(lab: Any, tmp_path: Path, scalarizer: Any) -> None:
    data = lab.preferences(12)
    found = train(lab, job(scalarizer), data, tmp_path / "found")
    plain = train(lab, job(Linear()), data, tmp_path / "plain")
    assert float((found - plain).abs().max()) > 1e-5


def test_validation_takes_the_margin_of_the_loss(lab: Any, tmp_path: Path) -> None:
    # One long chosen response against a short one: the two margins disagree in sign.
    records = [
        Record(f"w{5 + n}", (Response("w20 " * 9 + "w20"), Response("w21")), (pair,))
        for n, pair in enumerate([Comparison(0, 1, {"good": 1.0, "short": 1.0})] * 4)
    ]
    data = PreferenceData.from_records(records, ("good", "short"))
    model = lab.model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    inputs = lab.job_data(data, model)
    long = np.arange(len(data.texts)) % 2 == 0
    # Log-ratios of -4 over eleven tokens against -1 over two.
    reference = inputs.ref_logps + np.where(long, 4.0, 1.0)
    found = {}
    for is_normalized in (True, False):
        loss = ScalarizedLoss(Linear(), None, is_length_normalized=is_normalized)
        one = replace(job(Linear()), rows=keep_all, step_loss=loss)
        weights = np.tile([0.5, 0.5], (4, 1))
        held_out = replace(inputs, data=replace(data, weights=weights), ref_logps=reference)
        policies = HeadedScorer(model, [None], inputs.encoded, np.array([[0, 1]]), lab.pad)
        measure = PairAccuracy(one, held_out, Resumable(policies), lab.pad, SETTINGS)
        found[is_normalized] = measure()
    assert found == {True: 1.0, False: 0.0}
