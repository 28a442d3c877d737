"""What asks for checkpoints, seals them, and removes old ones."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paretune.engines.lm.checkpoints import STAGING, Checkpoints, SealCallback
from paretune.errors import Interrupted, RunError
from paretune.safety.disk import bytes_free
from paretune.safety.manifest import find_problems
from paretune.safety.stopping import orderly, stoppable


class Bench:
    """A trainer's part in saving, without a training."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.checkpoints, self.folder, self.finite = Checkpoints(folder, **how), folder, True
        self.callback = SealCallback(self.checkpoints, 1, self)
        self.args = SimpleNamespace(device="cpu")

    def is_finite(self) -> bool:
        return self.finite

    def step(self, step: int, steps: int = 100) -> SimpleNamespace:
        """One optimizer step; a save where one is asked for."""
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        state = SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=True)
        self.callback.on_step_end(self.args, state, control)
        if control.should_save:
            staged = self.folder / STAGING / f"checkpoint-{step}"
            staged.mkdir(parents=True)
            (staged / "model").write_text(str(step))
            self.callback.on_save(self.args, state, control)
        return control

    @property
    def steps(self) -> list[int]:
        return sorted(int(p.name.rpartition("-")[2]) for p in self.folder.glob("checkpoint-*"))


def test_two_are_kept_by_steps_whatever_their_times(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=3)
    for step in range(1, 13):
        bench.step(step)
        for n, checkpoint in enumerate(tmp_path.glob("checkpoint-*")):
            os.utime(checkpoint, (1e9 - n * step, 1e9 - n * step))
    assert bench.steps == [9, 12]
    assert all(find_problems(p) == [] for p in tmp_path.glob("checkpoint-*"))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [STAGING]


def test_a_folder_that_cannot_be_removed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, steps=1)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    for step in range(1, 5):
        bench.step(step)
    assert bench.steps == [3, 4]
    newest = bench.checkpoints.newest()
    assert newest is not None and newest.name == "checkpoint-4"


def test_the_last_step_needs_no_checkpoint(tmp_path: Path) -> None:
    assert not Bench(tmp_path, steps=1).step(100).should_save


def test_the_clock_asks_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, minutes=0.05 / 60)
    assert not bench.step(1).should_save
    time.sleep(0.06)
    assert bench.step(2).should_save
    assert not bench.step(3).should_save, "the clock began again"


def test_a_request_saves_and_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, minutes=60)
    with pytest.raises(Interrupted), stoppable():
        with orderly():
            os.kill(os.getpid(), signal.SIGTERM)
            control = bench.step(7)
            assert control.should_save and control.should_training_stop
        bench.callback.finish()
    assert bench.steps == [7]


def test_what_is_not_finite_is_never_sealed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=2)
    bench.step(2)
    bench.finite = False
    with pytest.raises(RunError, match=r"training diverged: .* at step 4"):
        bench.step(4)
    assert bench.steps == [2]
    assert not list((tmp_path / STAGING).iterdir())


def test_a_save_that_would_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, steps=2)
    bench.step(2)
    size = 10 + bytes_free(tmp_path)
    monkeypatch.setattr(bench.callback, "_size", size)
    with pytest.raises(RunError, match=r"disk full: found [\d,]+ bytes free, expected [\d,]+"):
        bench.step(4)
    assert bench.steps == [2]
