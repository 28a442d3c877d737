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

from paretune.engines.lm.checkpoints import Checkpoints, checkpoint_step
from paretune.errors import ConfigError, RunError
from paretune.safety.files import move, write_bytes
from paretune.safety.manifest import MANIFEST, find_problems, write_manifest


def make(folder: Path, step: int, content: bytes = b"parameters") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "deep").mkdir(parents=True)
    (checkpoint / "model.bin").write_bytes(content)
    (checkpoint / "deep" / "state.json").write_text("{}")
    return checkpoint


def seal(checkpoint: Path, **identity: object) -> Path:
    step = checkpoint_step(checkpoint)
    write_manifest(checkpoint, {"step": step, "seconds": 1.5, "identity": identity})
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
    newer = seal(make(tmp_path, 6))
    file = newer / "model.bin"
    if damage == "bit":
        content = bytearray(file.read_bytes())
        content[3] ^= 4
        file.write_bytes(bytes(content))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "gone":
        file = newer / "deep" / "state.json"
        file.unlink()
    else:
        file = newer / MANIFEST
        file.write_text({"seal": "{", "list": "[]", "empty seal": "{}"}[damage])
    assert find_problems(newer)
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, say=said.append)
    assert checkpoints.newest() == tmp_path / "checkpoint-5"
    assert said[0].startswith(f"damaged: {file}: ")
    assert said[1:] == [f"{tmp_path.name}: goes on from step 5 instead of step 6"]
    assert not newer.exists()
    assert checkpoints.spent() == 1.5


def test_nothing_is_gone_on_from_where_all_are_damaged(tmp_path: Path) -> None:
    (seal(make(tmp_path, 6)) / "model.bin").unlink()
    said: list[str] = []
    assert Checkpoints(tmp_path, say=said.append).newest() is None
    assert said[-1] == f"{tmp_path.name}: starts again instead of step 6"


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    checkpoint = seal(make(tmp_path, 6), settings={"learning_rate": 1e-3}, versions={"torch": "1"})
    now = {"settings": {"learning_rate": 1e-4}, "versions": {"torch": "2"}}
    refused = Checkpoints(tmp_path, identity=now)
    message = (
        r"stopped at step 6 of other settings \(settings\.learning_rate 0\.001 -> 0\.0001, "
        r"versions\.torch 1 -> 2\), .*--allow-change learning_rate,versions"
    )
    for look in (refused.check, refused.newest):
        with pytest.raises(ConfigError, match=message):
            look()
    assert Checkpoints(tmp_path, identity=now, is_allowed=lambda key: True).newest() == checkpoint
    with pytest.raises(ConfigError, match=r"\(versions\.torch"):
        Checkpoints(tmp_path, identity=now, is_allowed=lambda key: "rate" in key).newest()


def test_a_name_is_no_proof_of_a_step(tmp_path: Path) -> None:
    seal(make(tmp_path, 6)).rename(tmp_path / "checkpoint-60")
    seal(make(tmp_path, 5))
    copied = seal(make(tmp_path, 7)).rename(tmp_path / "checkpoint-7.bak")
    said: list[str] = []
    assert Checkpoints(tmp_path, say=said.append).newest() == tmp_path / "checkpoint-5"
    assert "checkpoint-60: found step 6 in its manifest, expected that of its name" in said[0]
    assert copied.exists(), "what somebody else named is theirs"


def test_a_refusal_reads_no_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(make(tmp_path, 6), seed=1)
    monkeypatch.setattr("paretune.engines.lm.checkpoints.find_problems", None)
    Checkpoints(tmp_path, identity={"seed": 1}).check()
    with pytest.raises(ConfigError, match="seed 1 -> 2"):
        Checkpoints(tmp_path, identity={"seed": 2}).check()


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
        checkpoint = make(checkpoints.folder / ("." if is_saved else ".staging"), 3)
        if is_saved:
            seal(checkpoint)
        if problem is not None:
            raise problem
    assert checkpoints.folder.exists() == stays


def _save_for_ever(folder: Path) -> None:
    step = 0
    while True:
        step += 1
        staged = seal(make(folder / ".staging", step, bytes([step % 256]) * 200_000))
        move(staged, folder / staged.name)
        write_bytes(folder / "best.json", str(step).encode() * 1000)


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
