"""A step that is not finite: the training stops, or is as if the step had moved nothing."""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.finite import SkipCallback
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import run_training
from paretune.errors import ConfigError, RunError

STEPS = 8


class Poison(torch.autograd.Function):
    """The number itself, with a gradient that is none."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * math.inf


class Cut(BaseException):
    """Ends a training from inside, as a kill would."""


class Watch(TrainerCallback):
    """Parameters after every step; ends before one."""

    def __init__(self, model: torch.nn.Linear, cut: int) -> None:
        self.model, self.cut, self.seen = model, cut, [model.weight.detach().clone()]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.cut and state.global_step == self.cut:
            raise Cut

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(self.model.weight.detach().clone())


def train(
    folder: Path, bad: dict[int, str], most: int, *, accumulate: int = 1, cut: int = 0,
    log_steps: int = 1,
) -> tuple[list[torch.Tensor], list[tuple[int, dict[str, float]]]]:  # fmt: skip
    """Parameters after each step, and log rows; ``bad``: batch to what is wrong with it."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    rows: list[tuple[int, dict[str, float]]] = []

    def loss(module: Any, batch: Any) -> Any:
        value = module(batch["x"]).square().mean()
        what = bad.get(batch["number"])
        value = {"gradient": Poison.apply(value), "nan": value * math.nan,
                 "inf": value + math.inf}.get(str(what), value)  # fmt: skip
        return value, {"seen": torch.tensor(float(batch["number"]))}

    watch = Watch(model, cut)
    with contextlib.suppress(Cut):
        run_training(
            model,
            [np.array([n]) for n in range(STEPS * accumulate)],
            lambda taken: {"x": torch.tensor([[1.0, float(taken[0])]])},
            loss,
            TrainSettings(
                learning_rate=0.05, precision="float32", skip_nonfinite=most, accumulate=accumulate
            ),
            folder=folder / "own",
            log_steps=log_steps,
            progress=lambda number, steps, numbers: rows.append((number, dict(numbers))),
            checkpoints=Checkpoints(folder, steps=2),
            callbacks=[watch],
        )
    return watch.seen, rows


@pytest.mark.parametrize("what", ["nan", "inf", "gradient"])
def test_it_stops_at_the_first_unless_asked(tmp_path: Path, what: str) -> None:
    with pytest.raises(RunError, match=r"diverged.* at step 4 of 8"):
        train(tmp_path, {3: what}, 0)


@pytest.mark.parametrize("what", ["nan", "inf", "gradient"])
def test_a_skipped_step_moves_nothing(tmp_path: Path, what: str) -> None:
    seen, rows = train(tmp_path, {3: what}, 1)
    moved = [not torch.equal(one, other) for one, other in itertools.pairwise(seen)]
    assert moved == [True, True, True, False, True, True, True, True]
    assert "loss" not in dict(rows)[4] and "grad_norm" not in dict(rows)[4]
    assert [row.get("skipped_steps", 0) for step, row in rows if step <= STEPS][:8] == [
        0, 0, 0, 1, 1, 1, 1, 1
    ]  # fmt: skip
    assert all(math.isfinite(v) for _, row in rows for v in row.values())


def test_it_is_the_training_of_the_other_steps(tmp_path: Path) -> None:
    # With a constant rate and Adam at its start, a first step left out is a later start.
    late, _ = train(tmp_path / "late", {0: "nan"}, 1)
    assert torch.equal(late[1], late[0])
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.05, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    for n in range(1, STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (STEPS - n) / STEPS
        optimizer.zero_grad()
        model(torch.tensor([[1.0, float(n)]])).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        torch.testing.assert_close(late[n + 1], model.weight.detach(), rtol=1e-5, atol=1e-6)


def test_all_batches_of_the_step_are_left_out_of_the_log(tmp_path: Path) -> None:
    bad, rows = train(tmp_path / "bad", {5: "nan"}, 1, accumulate=2, log_steps=4)
    assert torch.equal(bad[3], bad[2])
    first = dict(rows)[4]
    assert first["seen"] == pytest.approx((0 + 1 + 2 + 3 + 6 + 7) / 6)
    assert math.isfinite(first["loss"])


def test_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"3 steps is not.* step 7 of 8; expected at most 2"):
        train(tmp_path, {1: "nan", 4: "inf", 6: "nan"}, 2)


@pytest.mark.parametrize("cut", [3, 5, 7])
def test_the_count_goes_on_after_a_kill(tmp_path: Path, cut: int) -> None:
    bad = {1: "nan", 4: "gradient"}
    whole, expected = train(tmp_path / "whole", bad, 2, log_steps=3)
    train(tmp_path / "cut", bad, 2, cut=cut, log_steps=3)
    rest, rows = train(tmp_path / "cut", bad, 2, log_steps=3)
    assert torch.equal(rest[-1], whole[-1])
    assert rows == [row for row in expected if row[0] > cut // 2 * 2]
    with pytest.raises(RunError, match="3 steps"):
        train(tmp_path / "more", bad | {7: "nan"}, 2)


def test_a_loss_whose_own_state_is_broken_cannot_skip() -> None:
    class Trainer:
        window: dict[str, Any] = {"loss": [torch.tensor(math.nan)]}  # noqa: RUF012
        skipped_steps, is_skipped, model = 0, False, torch.nn.Linear(1, 1)

        def moving(self) -> dict[str, torch.Tensor]:
            return {"states.0": torch.tensor(math.nan)}

    class Facts:
        global_step, max_steps, device = 3, 9, torch.device("cpu")

    trainer = Trainer()
    callback = SkipCallback(trainer, 5)
    with pytest.raises(RunError, match="step 4 of 9 cannot be left out"):
        callback.on_pre_optimizer_step(Facts, Facts, None)


def test_less_than_none() -> None:
    with pytest.raises(ConfigError, match="skip_nonfinite: found -1"):
        TrainSettings(skip_nonfinite=-1)
