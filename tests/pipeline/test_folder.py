import json

import pytest

from paretune.errors import ConfigError, RunError
from paretune.pipeline.folder import MANIFEST, RunFolder, Sealed, locked, open_run, write_json


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
    with pytest.raises(ConfigError, match=r"train\.learning_rate changed"):
        other.is_done()
    assert (tmp_path / "stage" / "data.txt").read_text() == "data"


def test_identity_follows_the_inputs(tmp_path):
    one = Sealed(tmp_path, {"a": 1, "b": [1, 2]})
    same = Sealed(tmp_path, {"b": (1, 2), "a": 1})
    other = Sealed(tmp_path, {"a": 1, "b": [2, 1]})
    assert one.identity == same.identity != other.identity


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"found no run\.json"):
        open_run(tmp_path)
    write_json(tmp_path / "run.json", {})
    assert open_run(tmp_path) == RunFolder(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_a_damaged_manifest_is_told_with_its_place(tmp_path, text):
    sealed = make(tmp_path, seed=0)
    (sealed.path / MANIFEST).write_text(text)
    with pytest.raises(RunError, match=r"stage/manifest\.json: found a damaged manifest"):
        sealed.is_done()


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_was_cut_or_removed_is_found(tmp_path, damage):
    sealed = make(tmp_path, seed=0)
    data = sealed.path / "data.txt"
    data.write_text("da") if damage == "cut" else data.unlink()
    found = "found 2" if damage == "cut" else "found no file"
    with pytest.raises(RunError, match=rf"data\.txt: {found}, expected 4 bytes; .*remove"):
        sealed.is_done()


def test_complete_results_are_never_written_over(tmp_path):
    make(tmp_path, seed=0)
    with pytest.raises(RunError, match="kept them"):
        make(tmp_path, seed=0)
    assert (tmp_path / "stage" / "data.txt").read_text() == "data"


def test_one_process_at_a_time(tmp_path):
    lock = tmp_path / "run" / ".lock"
    with locked(lock), pytest.raises(RunError, match="another process at work"), locked(lock):
        pass
    with locked(lock):
        pass
