import time
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


def bomb(levels: int, merge: str = "") -> str:
    """Every level holds the one below it nine times."""
    first = "a0: &a0 {x: 1}" if merge else "a0: &a0 [x, x, x]"
    parts = [f"[{', '.join([f'*a{n}'] * 9)}]" for n in range(levels)]
    lines = [f"a{n}: &a{n} " + (f"{{<<: {p}}}" if merge else p) for n, p in enumerate(parts, 1)]
    return "\n".join([first, *lines])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(30), "more than 50,000 values once aliases are unfolded"),
        (bomb(30, "<<"), "more than 50,000 values once aliases are unfolded"),
        ("a: [" + "x," * 300_000 + "]", "more than 50,000 values"),
        ("a: 1\nb: " + "9" * 5000, r"yaml:2: found a number of 5,000 signs"),
        ("a: " + "1:" * 300_000 + "1", "found a number of 600,001 signs"),
        ("? " + "1:" * 300_000 + "1\n: a", "found a number of 600,001 signs"),
        ("a: 2001-13-01", "not YAML: month must be"),
        ("a: !!int x", "not YAML"),
    ],
)
def test_a_small_file_never_becomes_large_work(tmp_path, text, message):
    started = time.process_time()
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, text))
    assert time.process_time() - started < 5
    with pytest.raises(ConfigError, match="--set a: "):
        apply_overrides({}, ["a=" + text])


def test_aliases_as_recipes_use_them_are_fine(tmp_path):
    values, where = read_yaml(write(tmp_path, "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n"))
    assert values == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert where[("c", "y")] == 3


def test_a_file_over_a_mebibyte_is_not_read(tmp_path):
    with pytest.raises(ConfigError, match="found 1048577 bytes, expected at most 1048576"):
        read_yaml(write(tmp_path, "#" * (1 << 20) + "\n"))


def test_an_empty_override_is_nothing():
    assert apply_overrides({"a": 1}, ["a="]) == {"a": None}
