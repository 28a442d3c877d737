import errno
import shutil

import pytest

from paretune.errors import ConfigError, RunError
from paretune.pipeline.folder import RunFolder, Sealed, open_run
from paretune.safety.files import write_json
from paretune.safety.manifest import MANIFEST, find_problems


def make(folder, **inputs):
    sealed = Sealed(folder / "stage", inputs)
    with sealed.writing(kind="test") as (staging, facts):
        (staging / "data.txt").write_text("data")
        facts["rows"] = 3
    return sealed


def test_a_folder_is_complete_only_with_its_manifest(tmp_path):
    sealed = make(tmp_path, seed=0)
    assert sealed.is_done()
    assert sealed.manifest["facts"] == {"kind": "test", "rows": 3}
    (sealed.path / MANIFEST).unlink()
    assert not sealed.is_done()


def test_a_failure_while_writing_leaves_nothing_complete(tmp_path):
    sealed = Sealed(tmp_path / "stage", {"seed": 0})
    with pytest.raises(RuntimeError), sealed.writing() as (staging, _):
        (staging / "half.txt").write_text("half")
        raise RuntimeError("killed")
    assert not sealed.is_done()
    assert not sealed.path.exists()
    assert make(tmp_path, seed=0).is_done()
    assert not (sealed.path / "half.txt").exists()


def test_results_of_other_settings_are_not_written_over(tmp_path):
    make(tmp_path, seed=0, train={"learning_rate": 1e-3, "epochs": 2})
    other = Sealed(tmp_path / "stage", {"seed": 0, "train": {"learning_rate": 1e-4, "epochs": 2}})
    with pytest.raises(ConfigError, match=r"train\.learning_rate 0\.001 -> 0\.0001"):
        other.is_done()
    assert (tmp_path / "stage" / "data.txt").read_text() == "data"


def test_identity_follows_the_inputs(tmp_path):
    one = Sealed(tmp_path, {"a": 1, "b": [1, 2]})
    same = Sealed(tmp_path, {"b": (1, 2), "a": 1})
    other = Sealed(tmp_path, {"a": 1, "b": [2, 1]})
    assert one.identity == same.identity != other.identity


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"found no run\.json"):
        open_run(tmp_path)
    write_json(tmp_path / "run.json", {})
    assert open_run(tmp_path) == RunFolder(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_a_damaged_manifest_is_told_with_its_place(tmp_path, text):
    sealed = make(tmp_path, seed=0)
    (sealed.path / MANIFEST).write_text(text)
    with pytest.raises(RunError, match=r"stage/manifest\.json: (cannot be read|found)"):
        sealed.is_done()


def test_one_bit_of_a_manifest_is_found(tmp_path):
    sealed = make(tmp_path, seed=0)
    path = sealed.path / MANIFEST
    path.write_text(path.read_text().replace('"rows": 3', '"rows": 2'))
    with pytest.raises(RunError, match="found other content than was sealed"):
        sealed.is_done()


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_was_cut_or_removed_is_found(tmp_path, damage):
    sealed = make(tmp_path, seed=0)
    data = sealed.path / "data.txt"
    data.write_text("da") if damage == "cut" else data.unlink()
    found = "found 2" if damage == "cut" else "found no file"
    with pytest.raises(RunError, match=rf"data\.txt: {found}, expected 4 bytes"):
        sealed.is_done()


def test_what_differs_in_allowed_settings_only_is_kept(tmp_path):
    made = make(tmp_path, seed=0, settings={"learning_rate": 1e-3, "epochs": 2})
    other = Sealed(made.path, {"seed": 0, "settings": {"learning_rate": 1e-4, "epochs": 2}})
    kept = other.or_kept({"learning_rate"})
    assert kept.is_done()
    assert kept.identity == made.identity
    assert other.or_kept({"epochs"}) is other
    assert other.or_kept(()) is other
    assert Sealed(tmp_path / "new", {}).or_kept({"epochs"}).path == tmp_path / "new"


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path):
    sealed = Sealed(tmp_path / "stage", {"seed": 0})
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RunError, match="stage: disk full"), sealed.writing() as (staging, _):
        (staging / "half.txt").write_text("half")
        raise full
    assert list(tmp_path.iterdir()) == []


def test_complete_results_are_never_written_over(tmp_path):
    make(tmp_path, seed=0)
    with pytest.raises(RunError, match="kept them"):
        make(tmp_path, seed=0)
    assert (tmp_path / "stage" / "data.txt").read_text() == "data"


def test_a_stop_while_the_old_is_removed_leaves_the_new(tmp_path, monkeypatch):
    with Sealed(tmp_path / "front", {"n": 1}, is_replaced=True).writing() as (folder, _):
        (folder / "front.json").write_text("old")
    new = Sealed(tmp_path / "front", {"n": 2}, is_replaced=True)
    remove = shutil.rmtree

    def stop(place, **how):
        if (place / "front.json").exists() and (place / "front.json").read_text() == "old":
            (place / "front.json").unlink()
            raise KeyboardInterrupt
        remove(place, **how)

    monkeypatch.setattr("shutil.rmtree", stop)
    with pytest.raises(KeyboardInterrupt), new.writing() as (folder, _):
        (folder / "front.json").write_text("new")
    monkeypatch.undo()
    assert find_problems(new.path) == []
    assert (new.path / "front.json").read_text() == "new" and new.is_done()
    with new.writing() as (folder, _):
        (folder / "front.json").write_text("newer")
    assert [p.name for p in tmp_path.iterdir()] == ["front"]
