"""The best parameters of a job that is stopped and goes on are those of one that was not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import run_training
from paretune.engines.lm.validation import Validation
from paretune.errors import ConfigError

METRICS = (0.1, 0.5, 0.3, 0.2, 0.4, 0.8, 0.7, 0.9, 0.6)
"""After each step: what is best changes after the checkpoints of steps 4 and 8."""


class Cut(BaseException):
    """Ends a training from inside, as a kill would."""


class CutAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Cut


def train(
    folder: Path, cut: int = 0, rate: float = 0.05, metrics: Any = METRICS, steps: int = 9
) -> Any:
    """Parameters and log rows of some steps; of a job that is cut, the rows alone."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    rows: list[tuple[int, dict[str, float]]] = []
    step = itertools.count(0)
    checkpoints = Checkpoints(folder, steps=4)
    newest = checkpoints.newest()
    done = 0 if newest is None else int(newest.name.rpartition("-")[2])
    try:
        run_training(
            model,
            [np.array([n]) for n in range(steps)],
            lambda taken: {"x": torch.tensor([[1.0, float(taken[0])]])},
            lambda module, batch: (module(batch["x"]).square().mean(), {}),
            TrainSettings(learning_rate=rate, precision="float32"),
            folder=folder / "own",
            progress=lambda number, steps, numbers: rows.append((number, dict(numbers))),
            checkpoints=checkpoints,
            validation=Validation(1, lambda: metrics[done + next(step)], folder / "best"),
            callbacks=[CutAt(cut)] if cut else [],
        )
    except Cut:
        return None, [row for row in rows if row[0] <= cut // 4 * 4]
    return model.weight.detach().clone(), rows


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("cut", [1, 3, 7, 8])
def test_rows_and_parameters_are_those_of_one_that_was_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr("os.link", refuse)
    whole, expected = train(tmp_path / "whole")
    _, first = train(tmp_path / "cut", cut)
    found, rest = train(tmp_path / "cut")
    assert torch.equal(found, whole)
    assert first + rest == expected


def refuse(*_: Any) -> None:
    raise PermissionError(1, "no hard links here")


def test_what_was_best_in_steps_that_are_done_again_is_forgotten(tmp_path: Path) -> None:
    # Step 6 was best at another rate; from step 4 on the job takes another way.
    other = (*METRICS[:4], 0.45, 0.6, 0.7, 0.65, 0.6)
    _, _ = train(tmp_path / "cut", cut=7)
    _, rows = train(tmp_path / "cut", rate=0.01, metrics=other)
    best = [numbers["best_validation"] for _, numbers in rows if "best_validation" in numbers]
    assert best == [0.5, 0.6, 0.7, 0.7, 0.7]


def test_damage_to_the_best_falls_back_with_its_checkpoint(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "cut", cut=8)
    file = tmp_path / "cut" / "checkpoint-8" / "best.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    found, rows = train(tmp_path / "cut")
    assert rows[0][0] == 5, "it went on from the checkpoint before"
    assert torch.equal(found, whole)


def test_a_job_that_did_more_than_it_is_to_do_is_refused(tmp_path: Path) -> None:
    train(tmp_path, cut=8)
    with pytest.raises(ConfigError, match=r"checkpoint-8: .* more steps than the 5 it is to have"):
        train(tmp_path, steps=5)
