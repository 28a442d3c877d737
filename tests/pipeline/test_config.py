import copy

import pytest

from paretune.errors import ConfigError
from paretune.pipeline.config import load_config, parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import _write_facts as write_facts
from paretune.pipeline.run import stored_config

GOOD = {
    "name": "mine",
    "objectives": ["helpful", "harmless"],
    "data": {"path": "records.jsonl"},
    "base": {"path": "model"},
    "methods": [{"method": "dpo", "labels": "weighted"}],
}


def changed(**changes):
    values = copy.deepcopy(GOOD)
    for key, value in changes.items():
        target = values
        *path, last = key.split("__")
        for part in path:
            target = target.setdefault(part, {})
        target[last] = value
    return values


def test_a_good_configuration_has_its_defaults():
    config = parse_config(GOOD)
    assert config.axes.names == ("helpful", "harmless")
    assert len(config.tradeoffs_of(config.methods[0])) == 11
    assert config.train.learning_rate == 2e-4
    assert config.methods[0].name == "dpo"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trian": {}}, r"trian: unknown key \(did you mean 'train'\?\)"),
        ({"train__lerning_rate": 1}, r"did you mean 'learning_rate'\?"),
        ({"train__lora": {"rnk": 4}}, r"did you mean 'rank'\?"),
        ({"train__learning_rate": -1}, "learning_rate: found -1.0, expected > 0"),
        ({"train__epochs": "many"}, "train.epochs"),
        ({"objectives": ["a", "a"]}, "a name is repeated"),
        ({"objectives": ["no spaces"]}, "expected letters"),
        ({"rewards": {"helpfull": {"column": "x"}}}, r"did you mean 'helpful'\?"),
        ({"rewards": {"helpful": {}}}, "expected one of column, function, model, trained"),
        ({"rewards": {"helpful": {"column": "a", "model": "b"}}}, "expected one of column"),
        ({"tradeoffs": [{"helpful": 0.7, "harmless": 0.4}]}, "sum 1.1, expected sum 1"),
        ({"tradeoffs": [{"helpful": -0.5, "harmless": 1.5}]}, "expected weights >= 0"),
        ({"tradeoffs": [{"funny": 1.0}]}, "unknown objective 'funny'"),
        ({"tradeoffs": {"grid": 0}}, "tradeoffs"),
        ({"methods": []}, "methods"),
        ({"methods": [{"method": "dppo"}]}, r"did you mean 'dpo'\?"),
        ({"methods": [{"method": "dpo", "bta": 1}]}, r"unknown option 'bta'"),
        ({"methods": [{"method": "dpo", "beta": 0}]}, "beta"),
        ({"methods": [{"method": "dpo"}, {"method": "dpo"}]}, "'dpo' comes twice"),
        ({"methods": [{"method": "dpo", "train": {"stpes": 3}}]}, "stpes"),
        ({"data": {}}, "expected one of path, files"),
        ({"data": {"path": "a", "world": "handy"}}, "expected one of path, files"),
        ({"data__test_share": 1.5}, "data.test_share"),
        ({"evaluate": {"box": {"low": [0], "high": [1]}}}, "expected 2 numbers"),
        ({"name": "../up"}, "name"),
        ({"objectives": ["helpful"]}, "expected at least two"),
        ({"seed": 2**31}, "seed"),
        ({"train__seed": 2**31}, r"train\.seed"),
        ({"train__learning_rate": float("nan")}, "learning_rate: found nan, expected a finite"),
        ({"train__adam_beta2": 1.0}, r"adam_beta2: found 1\.0, expected in \(0, 1\)"),
        ({"train__lora": {"alpha": float("inf")}}, "alpha inf"),
        ({"tradeoffs": []}, "tradeoffs: List should have at least 1"),
        ({"tradeoffs": "many"}, r"expected \{grid: N\} or a list of \{objective: weight\}"),
        ({"tradeoffs": [{"helpful": "much"}]}, r"^configuration: tradeoffs\.0\.helpful: [^\n]*$"),
        ({"tradeoffs": [{"helpful": 1}, {"helpful": 1}]}, "found 2 trade-offs at 1-0"),
        (
            {
                "tradeoffs": [
                    {"helpful": 0.50001, "harmless": 0.49999},
                    {"helpful": 0.50002, "harmless": 0.49998},
                ]
            },
            r"found 2 trade-offs at 0\.5-0\.5",
        ),
        (
            {"methods": [{"method": "modpo", "axis": "harmless"}]},
            "modpo.axis: found objective 1 without a weight in trade-off 1-0",
        ),
        ({"methods": [{"method": "dpo", "label": "../../up"}]}, r"methods\.0\.label"),
        ({"methods": [{"method": "dpo", "label": ""}]}, r"methods\.0\.label"),
        ({"methods": [{"method": "dpo", "label": "reference"}]}, "found the name 'reference'"),
        (
            {"methods": [{"method": "dpo", "train": {"max_response_tokens": 8}}]},
            "expected below the run's own train",
        ),
        ({"base__build": {"hidden": 8}}, "found path and build"),
        ({"evaluate": {"box": {"low": [1, 0], "high": [0, 1]}}}, "expected low < high"),
        ({"evaluate": {"box": {"low": [float("nan"), 0], "high": [1, 1]}}}, "expected low < high"),
    ],
)
def test_what_is_refused_and_what_the_message_says(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(changed(**changes))


def test_every_problem_is_told_at_once_with_its_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: x\nobjectives: [a, b]\ndata: {path: r.jsonl}\nbase: {path: m}\n"
        "methods:\n  - method: dpo\n    bta: 1\ntradeoffs:\n  - {a: .9, b: .3}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}:8: tradeoffs: ")
    assert lines[1].startswith(f"{path}:6: methods.0: ")
    assert len(lines) == 2


def test_scientific_notation_without_a_dot_is_a_number(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: x\nobjectives: [a, b]\ndata: {path: r.jsonl}\nbase: {path: m}\n"
        "methods: [{method: dpo, beta: 1e-1}]\ntrain: {learning_rate: 1e-5}\n"
    )
    config = load_config(path)
    assert config.train.learning_rate == 1e-5
    assert config.build_method(config.methods[0]).beta == 0.1


def test_files_of_one_axis_may_stand_below_their_objective():
    config = parse_config(changed(data={"helpful": "a.jsonl", "harmless": "b.jsonl"}))
    assert config.data.files == {"helpful": "a.jsonl", "harmless": "b.jsonl"}


def test_a_recipe_with_empty_files_says_that_data_are_missing():
    with pytest.raises(ConfigError, match="expected one of path, files"):
        parse_config(changed(data={"helpful": None, "harmless": None}))


def test_a_method_may_train_differently_from_the_run():
    values = changed(methods=[{"method": "dpo", "train": {"learning_rate": 1e-3}}])
    config = parse_config(values)
    assert config.train_of(config.methods[0]).learning_rate == 1e-3
    assert config.train.learning_rate == 2e-4


def test_an_objective_may_be_named_in_an_option():
    values = changed(methods=[{"method": "dpo", "labels": "single", "objective": "harmless"}])
    config = parse_config(values)
    assert config.build_method(config.methods[0]).objective == 1


def test_a_stored_configuration_is_the_same(tmp_path):
    config = parse_config(changed(train={"lora": {"rank": 4}}, tradeoffs={"grid": 3}))
    run = RunFolder(tmp_path)
    write_facts(config, run)
    assert stored_config(run) == config


def test_files_are_found_beside_the_configuration_and_overrides_where_they_were_typed(
    tmp_path, monkeypatch
):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("rows.jsonl", "mine.py"):
        (home / name).write_text("")
    (home / "run.yaml").write_text(
        "name: x\nobjectives: [a, b]\ndata: {path: rows.jsonl}\nbase: {path: owner/name}\n"
        "rewards: {a: {function: mine.py:score}, b: {model: owner/reward}}\n"
        "methods: [{method: sft}]\n"
    )
    config = load_config(home / "run.yaml")
    assert config.data.path == str(home / "rows.jsonl")
    assert config.rewards["a"].function == f"{home / 'mine.py'}:score"
    assert (config.base.path, config.rewards["b"].model) == ("owner/name", "owner/reward")
    monkeypatch.chdir(tmp_path)
    typed = load_config(home / "run.yaml", ["data.path=rows.jsonl"])
    assert typed.data.path == "rows.jsonl"


def test_all_methods_share_one_base():
    own = [{"method": "dpo", "train": {"lora": {"quantize": "4bit"}}}]
    with pytest.raises(ConfigError, match="share one base"):
        parse_config(changed(methods=own))
    assert parse_config(changed(train={"lora": {"quantize": "4bit"}})).quantize == "4bit"
    assert parse_config(GOOD).quantize == "none"
