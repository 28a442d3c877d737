"""Damage in a run folder: all of it is found, and nothing else is moved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paretune.pipeline.damage import (
    DAMAGED,
    examine,
    sealed_folders,
    set_aside_damage,
    tell_restored,
)
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.safety.manifest import MANIFEST


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    for folder in (run.stage(1), run.policy("dpo", "a"), run.policy("dpo", "b")):
        with Sealed(folder, {"of": folder.name}).writing() as (staging, _):
            (staging / "model.safetensors").write_text(folder.name)
            (staging / "inner").mkdir()
            (staging / "inner" / "deep.json").write_text("{}")
    return run


def damaged(run: RunFolder) -> dict[str, tuple[str, ...]]:
    return {e.path.name: e.problems for e in examine(run) if e.problems}


def test_nothing_is_wrong_with_what_was_just_sealed(run: RunFolder) -> None:
    said: list[str] = []
    assert set_aside_damage(run, said.append) == [] and said == []


def test_a_file_that_was_put_there_is_found_and_goes_alone(run: RunFolder) -> None:
    put = run.policy("dpo", "a") / "adapter_config.json"
    put.write_text("{}")
    (run.policy("dpo", "b") / ".DS_Store").write_text("a file manager's")
    assert damaged(run) == {
        "a": (f"{put}: found a file that was not sealed with the others, expected none",)
    }
    said: list[str] = []
    assert set_aside_damage(run, said.append) == []
    assert not put.exists() and (run.path / DAMAGED / put.relative_to(run.path)).exists()
    assert damaged(run) == {} and str(put) in said[0]


def test_with_other_damage_the_folder_goes_as_a_whole(run: RunFolder) -> None:
    folder = run.policy("dpo", "a")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").write_text("b")
    assert set_aside_damage(run, lambda text: None) == [folder]
    assert not folder.exists()
    aside = run.path / DAMAGED / folder.relative_to(run.path)
    assert (aside / "adapter_config.json").exists() and (aside / MANIFEST).exists()


@pytest.mark.parametrize("name", [".DS_Store", "notes.txt", "listing.json"])
def test_what_lies_beside_sealed_folders_is_no_damage(run: RunFolder, name: str) -> None:
    before = sealed_folders(run)
    for place in (run.stage(4), run.stage(4) / "dpo"):
        (place / name).write_text("of somebody")
    assert sealed_folders(run) == before
    assert set_aside_damage(run, lambda text: None) == []
    assert (run.stage(4) / name).exists()


def test_a_manifest_that_was_removed_is_found_once(run: RunFolder) -> None:
    folder = run.policy("dpo", "a")
    (folder / MANIFEST).unlink()
    (folder / "inner" / "deep.json").unlink()
    assert set(damaged(run)) == {"a"}
    assert set_aside_damage(run, lambda text: None) == [folder]


def test_folders_behind_a_link_are_read_too(run: RunFolder, tmp_path: Path) -> None:
    os.rename(run.stage(4) / "dpo", tmp_path / "elsewhere")
    (run.stage(4) / "dpo").symlink_to(tmp_path / "elsewhere")
    assert damaged(run) == {}
    (tmp_path / "elsewhere" / "b" / "model.safetensors").write_text("c")
    assert set(damaged(run)) == {"b"}
    assert set_aside_damage(run, lambda text: None) == [run.policy("dpo", "b")]


def test_what_is_made_again_tells_by_which_versions(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    for name in ("a", "b"):
        folder = run.policy("dpo", name)
        (folder / "model.safetensors").write_text("damaged")
        moved += set_aside_damage(run, lambda text: None)
        with Sealed(folder, {"of": name}).writing() as (staging, _):
            (staging / "model.safetensors").write_text("a")
            (staging / "inner").mkdir()
            (staging / "inner" / "deep.json").write_text("{}")
        monkeypatch.setattr("paretune.pipeline.folder.versions", lambda: {"torch": "9"})
    said: list[str] = []
    tell_restored(run, moved, said.append)
    assert said[0].endswith("a: made again, bit for bit as it was")
    assert "b: made again, other content in model.safetensors (by other versions: " in said[1]
    assert "-> 9" in said[1]
