from pathlib import Path

import pytest

from paretune.errors import ConfigError
from paretune.pipeline.strict_yaml import apply_overrides, read_yaml


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def test_values_come_with_their_lines(tmp_path):
    values, where = read_yaml(write(tmp_path, "a: 1\nb:\n  c: [x, y]\n"))
    assert values == {"a": 1, "b": {"c": ["x", "y"]}}
    assert where[("a",)] == 1
    assert where[("b", "c")] == 3
    assert where[("b", "c", 1)] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: a: the key is repeated"),
        ("a: [1\n", "not YAML"),
        ("- a\n", "found list, expected keys"),
        ("a: !!python/object/apply:os.system [ls]\n", "not YAML"),
        ("a: &a [*a]\n", "found a value that holds itself"),
        ("a: " + "[" * 5000, "nested too deep"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: found no such file"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_overrides_reach_into_mappings_and_lists():
    values = {"train": {"epochs": 1}, "methods": [{"beta": 0.1}, {"beta": 0.2}]}
    apply_overrides(values, ["train.epochs=3", "methods.1.beta=0.5", "data.helpful=a b.jsonl"])
    assert values["train"] == {"epochs": 3}
    assert values["methods"] == [{"beta": 0.1}, {"beta": 0.5}]
    assert values["data"] == {"helpful": "a b.jsonl"}


@pytest.mark.parametrize("override", ["train.epochs", "=3", "seed.x=1", "methods.5.beta=1"])
def test_overrides_that_lead_nowhere_are_refused(override):
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"seed": 0, "methods": [{}]}, [override])
