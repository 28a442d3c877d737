"""compare on the command line: plans, refusals, exit codes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from paretune.cli.main import app, main
from paretune.core.comparison_results import ComparisonResult, MethodComparison

RECIPES = sorted(Path(__file__).parents[2].joinpath("recipes").glob("compare_*.yaml"))
RECIPE = {
    "name": "x",
    "objectives": ["helpful", "concise"],
    "data": {"world": "handy", "scenario": "A", "pairs": 48},
    "methods": [{"method": "sft", "search": {"train.steps": [1, 2]}}, {"method": "best_of_n"}],
    "compare": {"seeds": 2},
}


def write(path, **changes):
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return str(path)


def invoke(*words):
    return CliRunner().invoke(app, ["compare", *words])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_plan(recipe, tmp_path):
    found = invoke(str(recipe), "--dry-run", "--runs", str(tmp_path / "runs"))
    assert found.exit_code == 0, found.output
    values = yaml.safe_load(recipe.read_text())
    assert f"comparison {values['name']} in" in found.output
    for method in values["methods"]:
        assert f"  {method.get('label', method['method'])}: " in found.output
    assert not (tmp_path / "runs").exists()


def test_seeds_and_settings_from_the_command_line(tmp_path):
    path = write(tmp_path / "x.yaml")
    found = invoke(path, "--dry-run", "--seeds", "3", "--set", "compare.search_seed=9")
    assert "seeds: 0, 1, 2; of the search: 9" in found.output
    assert "sft: 1 policies, 11 trade-offs; 2 settings searched" in found.output
    assert invoke(path, "--dry-run", "--seeds", "1").exit_code == 2


def refused(monkeypatch, capsys, *words, verb="compare"):
    monkeypatch.setattr("sys.argv", ["paretune", verb, *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().err


def test_problems_of_all_recipes_are_told_at_once(tmp_path, monkeypatch, capsys):
    first = write(tmp_path / "a.yaml", methods=[{"method": "sftt"}])
    second = write(tmp_path / "b.yaml", methods=[{"method": "sft", "search": {"x": [1]}}])
    code, said = refused(monkeypatch, capsys, first, second, "--runs", str(tmp_path / "runs"))
    assert code == 2
    assert "a.yaml" in said and "did you mean 'sft'" in said
    assert "b.yaml" in said and "methods.0.search" in said
    assert not (tmp_path / "runs").exists()


def test_two_recipes_of_one_name_are_refused(tmp_path, monkeypatch, capsys):
    paths = [write(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    code, said = refused(monkeypatch, capsys, *paths, "--dry-run")
    assert code == 2 and "found the name 'x' twice" in said


def test_data_that_a_method_refuses_are_told_before_any_training(tmp_path, monkeypatch, capsys):
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "p", "response": "r", "scores": {"helpful": 1, "concise": 0}}
    rows.write_text(json.dumps(row) + "\n")
    path = write(tmp_path / "a.yaml", data={"path": str(rows)}, base={"build": {}})
    code, said = refused(monkeypatch, capsys, path, "--runs", str(tmp_path / "runs"))
    assert code == 2 and "cannot reward new replies" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["compare", "run"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["helpful"]}, "found ['helpful'], expected at least two to trade off"),
        (
            {"methods": [{"method": "sft"}, {"method": "modpo", "axis": 0}]},
            "methods.1: modpo.axis: found objective 0 without a weight in trade-off 0-1",
        ),
    ],
)
def test_what_no_trade_off_is_defined_for_is_told_before_any_training(
    tmp_path, monkeypatch, capsys, verb, changes, message
):
    path = write(tmp_path / "a.yaml", **changes)
    code, said = refused(monkeypatch, capsys, path, "--runs", str(tmp_path / "runs"), verb=verb)
    assert code == 2 and message in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_exit_code_1_when_a_method_failed(tmp_path, monkeypatch, as_json):
    """Others finished: the result is shown, with what to look at next."""
    methods = (
        MethodComparison("sft", "sft", 1, (), {}, {}, {}, "failed on 1 of 2 seeds"),
        MethodComparison("best_of_n", "best_of_n", 1, (), {}, {}, {}),
    )
    result = ComparisonResult(
        "x", ("helpful", "concise"), (0, 1), ("seed-0", "seed-1"), methods, (), "", "", "both", 4, 6
    )
    compared = SimpleNamespace(
        folder=tmp_path / "runs" / "x", result=result, page=tmp_path / "c.html",
        failed={"sft": "failed on 1 of 2 seeds"},
    )  # fmt: skip
    monkeypatch.setattr("paretune.pipeline.compare.check_comparison", lambda config: None)
    monkeypatch.setattr("paretune.pipeline.compare.compare", lambda *_: compared)
    found = invoke(write(tmp_path / "x.yaml"), *(["--json"] if as_json else []))
    assert found.exit_code == 1
    if as_json:
        (row,) = json.loads(found.stdout)
        assert ComparisonResult.from_json(row) == result
    else:
        assert "result: " in found.stdout and "next:   paretune report" in found.stdout
    assert "paretune: failed: sft: failed on 1 of 2 seeds" in found.stderr
