"""Checkpoints: whole ones are gone on from, torn and damaged ones are not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from paretune.engines.lm.checkpoints import Checkpoints, is_intact, seal, write_whole
from paretune.errors import RunError


def make(folder: Path, step: int, content: bytes = b"parameters") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "model.bin").write_bytes(content)
    (checkpoint / "deep" / "state.json").write_text("{}")
    return checkpoint


def test_a_checkpoint_without_a_seal_is_no_checkpoint(tmp_path: Path) -> None:
    make(tmp_path, 3)
    assert Checkpoints(tmp_path).newest() is None
    assert not (tmp_path / "checkpoint-3").exists(), "what a kill left is removed"


def test_the_newest_is_by_steps_and_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 2):
        seal(make(tmp_path, step))
    assert Checkpoints(tmp_path).newest() == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "seal", "empty seal", "list"])
def test_a_damaged_one_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    seal(make(tmp_path, 5))
    newer = make(tmp_path, 6)
    seal(newer)
    file = newer / "model.bin"
    if damage == "bit":
        content = bytearray(file.read_bytes())
        content[3] ^= 4
        file.write_bytes(bytes(content))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "gone":
        (newer / "deep" / "state.json").unlink()
    elif damage == "seal":
        (newer / "sealed.json").write_text("{")
    else:
        (newer / "sealed.json").write_text("[]" if damage == "list" else "{}")
    assert not is_intact(newer)
    assert Checkpoints(tmp_path).newest() == tmp_path / "checkpoint-5"


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.newest() is None
    checkpoints.clear()


@pytest.mark.parametrize(
    ("problem", "is_saved", "stays"),
    [
        (KeyboardInterrupt, True, True),
        (KeyboardInterrupt, False, False),
        (RunError, True, True),
        (RunError, False, False),
        (None, True, False),
    ],
)
def test_they_are_kept_until_the_job_is_done(
    tmp_path: Path, problem: type[BaseException] | None, is_saved: bool, stays: bool
) -> None:
    checkpoints = Checkpoints(tmp_path / "kept")
    checkpoints.folder.mkdir()
    with contextlib.suppress(KeyboardInterrupt, RunError), checkpoints.kept():
        checkpoint = make(checkpoints.folder, 3)
        if is_saved:
            seal(checkpoint)
        if problem is not None:
            raise problem
    assert checkpoints.folder.exists() == stays


def _save_for_ever(folder: Path) -> None:
    step = 0
    while True:
        step += 1
        seal(make(folder, step, bytes([step % 256]) * 200_000))
        write_whole(folder / "best.json", str(step).encode() * 1000)


def test_killed_at_random_moments_of_saving(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(15):
        folder = tmp_path / str(trial)
        folder.mkdir()
        worker = multiprocessing.get_context("fork").Process(target=_save_for_ever, args=(folder,))
        worker.start()
        while not (folder / "best.json").exists():
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.05)))
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        newest = Checkpoints(folder).newest()
        assert newest is not None
        step = int(newest.name.removeprefix("checkpoint-"))
        assert (newest / "model.bin").read_bytes() == bytes([step % 256]) * 200_000
        best = (folder / "best.json").read_bytes()
        assert best == best[: len(best) // 1000] * 1000, "a file is there whole or not at all"
        found += 1
    assert found == 15
