"""A whole comparison in seconds: search, seeds, results; interrupted, with failures, refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.core.comparison_results import ComparisonResult
from paretune.errors import ConfigError, RunError
from paretune.pipeline.compare import check_comparison, compare, load_comparison, plan_text
from paretune.pipeline.compare_progress import Progress, Weight, weight_left
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import Voice, execute
from paretune.pipeline.search import search_config
from paretune.pipeline.tasks import TrainTask
from paretune.safety.files import read_json
from paretune.safety.manifest import write_manifest

TINY = {
    "name": "tiny",
    "objectives": ["helpful", "concise"],
    "data": {"world": "handy", "scenario": "A", "pairs": 48},
}
METHODS = [
    {"method": "rewarded_soups", "search": {"beta": [0.1, 0.5]}},
    {"method": "rewarded_soups", "label": "twin", "beta": 0.5},
    {"method": "best_of_n", "n": 2},
]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A trained base: what it is worth is no matter here."""
    from paretune.pipeline.base import base_of

    config = parse_config(TINY | {"base": {"corpus": 128}, "methods": METHODS[2:]})
    return base_of(config, RunFolder(tmp_path_factory.mktemp("base") / "tiny"))


@pytest.fixture
def without_reports(monkeypatch):
    """Figures and pages of runs are tested elsewhere, and take most of a second each."""
    page = Path("report.html")
    monkeypatch.setattr("paretune.pipeline.run.report_stage", lambda *_: page)
    monkeypatch.setattr("paretune.reporting.comparison_page.write_comparison", lambda *_: page)


@pytest.fixture
def recipe(tiny_config, base):
    def build(**changes):
        values = {"methods": METHODS, "compare": {"seeds": 2}, "generate": {"max_new_tokens": 8}}
        values["evaluate"] = {"prompts": 6, "resamples": 100, "samples": 1}
        values |= {"tradeoffs": {"grid": 1}, "base": {"path": base}}
        return tiny_config(**values | changes)

    return build


def test_a_comparison_from_nothing_and_again(tmp_path, recipe, monkeypatch):
    config, folder = recipe(base={"corpus": 128}), tmp_path / "tiny"
    compared = compare(config, folder)
    result = compared.result
    assert compared.failed == {}
    assert [m.name for m in result.methods] == ["rewarded_soups", "twin", "best_of_n"]
    assert result.seeds == (0, 1) and result.runs == ("seed-0", "seed-1")
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [
        "bases", "search", "seed-0", "seed-1",
    ]  # fmt: skip
    soups, twin, best = result.methods
    assert [s.options for s in soups.tried] == [{"beta": 0.1}, {"beta": 0.5}]
    scores = [s.score for s in soups.tried]
    assert soups.chosen == soups.tried[scores.index(max(scores))].options
    assert twin.tried == best.tried == () and soups.search_seconds > 0
    assert best.values["train_seconds"] == (0.0, 0.0)
    assert all(v > 0 for v in soups.values["train_seconds"])
    assert {(d.first, d.second) for d in result.duels} == {
        (a.name, b.name) for a in result.methods for b in result.methods if a is not b
    }
    assert "2 seeds and 6 prompts" in result.duels_from
    assert len(list((folder / "bases").glob("*/model.safetensors"))) == 3
    # The search looked at validation prompts alone.
    prompts = [
        set(read_json(folder / run / "1-records" / "prompts.json")) for run in ("search", "seed-0")
    ]
    assert not prompts[0] & prompts[1]
    assert (
        ComparisonResult.from_json(json.loads((folder / "comparison.json").read_text())) == result
    )
    assert load_comparison(folder)[0] == result
    assert (folder / "comparison.html").stat().st_size > 10_000

    def never(*_):
        raise AssertionError("nothing is done twice")

    monkeypatch.setattr("paretune.pipeline.compare.execute", never)
    assert compare(config, folder).result == result


@pytest.mark.slow
def test_twins_train_once_and_are_charged_alike(tmp_path, recipe, without_reports):
    methods = [METHODS[1], {**METHODS[1], "label": "again"}]
    result = compare(recipe(methods=methods), tmp_path / "tiny").result
    twin, again = result.methods
    assert twin.values["train_seconds"] == again.values["train_seconds"]
    assert twin.values["hypervolume"] == again.values["hypervolume"]
    assert [d.probability for d in result.duels] == [0.5] * 4
    spent = result.seconds["training"]
    assert spent == pytest.approx(sum(twin.values["train_seconds"]), abs=0.01)
    assert not (tmp_path / "tiny" / "search").exists() and result.seconds["search"] == 0


def test_a_killed_comparison_goes_on_where_it_was(tmp_path, recipe, monkeypatch, without_reports):
    config = recipe(methods=METHODS[:1])

    class Killed(BaseException):
        """As a signal would do it."""

    done, perform = [], TrainTask.perform

    def kill_at(number):
        def killed(self, place, progress):
            if len(done) == number:
                raise Killed
            done.append((place.run.name, self.id))
            perform(self, place, progress)

        return killed

    folder = tmp_path / "tiny"
    for number in (1, 4, 6):  # in the search, at its end, in the second seed
        monkeypatch.setattr(TrainTask, "perform", kill_at(number))
        with pytest.raises(Killed):
            compare(config, folder)
    monkeypatch.setattr(TrainTask, "perform", kill_at(-1))
    (soups,) = compare(config, folder).result.methods
    assert len(done) == len(set(done)) == 8  # nothing was trained twice
    assert len(soups.tried) == 2 and None not in soups.values["hypervolume"]


def test_a_method_that_fails_on_seeds_is_told_and_the_others_finish(
    tmp_path, recipe, without_reports
):
    methods = [METHODS[1], {"method": "sft", "train": {"learning_rate": 1e30}}]
    compared = compare(recipe(methods=methods), tmp_path / "tiny")
    twin, sft = compared.result.methods
    assert twin.failed is None and twin.intervals
    assert sft.failed.startswith("failed on 2 of 2 seeds, first: sft/sft: training diverged")
    assert sft.intervals == {} and list(compared.failed) == ["sft"]
    assert compared.result.duels == ()
    assert load_comparison(tmp_path / "tiny")[0].methods[1].failed == sft.failed


def test_a_setting_that_fails_is_not_chosen_and_one_without_any_is_left_out(
    tmp_path, recipe, without_reports
):
    methods = [
        {"method": "sft", "search": {"train.learning_rate": [1e30, 5e-4]}},
        {"method": "dpo", "label": "lost", "search": {"train.learning_rate": [1e30, 2e30]}},
        {"method": "best_of_n", "n": 2},
    ]
    said = []
    compared = compare(recipe(methods=methods), tmp_path / "tiny", Voice(say=said.append))
    sft, lost, best = compared.result.methods
    assert sft.failed is None and best.failed is None
    assert sft.chosen == {"train.learning_rate": 5e-4}
    assert "diverged" in sft.tried[0].failed and sft.tried[0].score is None
    assert lost.failed.startswith("all 2 settings failed, first: ")
    assert lost.values == {} and lost.intervals == {}
    assert not (tmp_path / "tiny" / "seed-0" / "4-policies" / "lost").exists()
    assert any(text.startswith("lost: all 2 settings failed") for text in said)


def test_a_search_of_nothing_but_failures_leaves_the_others(tmp_path, recipe, without_reports):
    methods = [
        {"method": "sft", "search": {"train.learning_rate": [1e30, 2e30]}},
        {"method": "best_of_n", "n": 2},
    ]
    sft, best = compare(recipe(methods=methods), tmp_path / "tiny").result.methods
    assert best.failed is None and best.intervals
    assert sft.failed.startswith("all 2 settings failed, first: every method failed, first sft-1/")
    only = recipe(methods=methods[:1], name="only")
    with pytest.raises(RunError, match="every setting of every method failed"):
        compare(only, tmp_path / "only")


def of(result):
    """What was measured, without the seconds it took."""
    return [m.values["hypervolume"] for m in result.methods]


def test_damage_between_two_starts_is_found_and_made_again(tmp_path, recipe, without_reports):
    config, folder = recipe(methods=METHODS[1:]), tmp_path / "tiny"
    result = compare(config, folder).result
    seed = folder / "seed-0"
    (replies,) = (seed / "5-replies" / "best_of_n" / "1-0").glob("replies*")
    policy = next((seed / "4-policies" / "twin").glob("*"))
    for file, damage in (
        (replies, replies.read_bytes().replace(b"0", b"1", 1)),
        (policy / "manifest.json", b"{"),
        (seed / "6-front" / "front.json", b"{"),
        (seed / "status.json", b"{"),
        (seed / "run.json", b"{"),
    ):
        assert file.read_bytes() != damage, file
        file.write_bytes(damage)
        said = []
        again = compare(config, folder, Voice(say=said.append)).result
        assert of(again) == of(result), file
        assert any(str(file) in text for text in said) or file.parent == seed
        assert file.read_bytes() != damage, file


def test_what_a_failed_training_left_is_no_cost(tmp_path, recipe, without_reports):
    config, folder = recipe(methods=METHODS[2:]), tmp_path / "tiny"
    left = folder / "seed-0" / "4-policies" / "dpo" / ".dpo-1-0.checkpoints" / "checkpoint-5"
    left.mkdir(parents=True)
    write_manifest(left, {"step": 5, "seconds": 100.0, "identity": {}})
    assert compare(config, folder).result.seconds["training"] == 0


def test_other_settings_in_the_same_folder_are_refused(tmp_path, recipe, without_reports):
    compare(recipe(methods=METHODS[2:]), tmp_path / "tiny")
    with pytest.raises(ConfigError, match="found results of other settings"):
        compare(recipe(methods=METHODS[2:], generate={"max_new_tokens": 9}),
                tmp_path / "tiny")  # fmt: skip
    more = recipe(methods=METHODS[2:], compare={"seeds": 3})
    assert compare(more, tmp_path / "tiny").result.seeds == (0, 1, 2)


def test_what_a_run_would_refuse_is_refused_before_anything_is_written(tmp_path, recipe):
    config = recipe(methods=[{"method": "pareto_hqd", "k": 10_000, "stages": 1}])
    with pytest.raises(ConfigError, match="for scenario B"):
        check_comparison(recipe(data={"world": "handy", "scenario": "B", "pairs": 48}))
    check_comparison(recipe())
    assert plan_text(config, tmp_path / "x") and not (tmp_path / "x").exists()


def test_prompts_that_settings_are_chosen_by_measure_no_method(recipe):
    measured = {"prompts": 6, "resamples": 100, "samples": 1, "part": "validation"}
    with pytest.raises(ConfigError, match=r"evaluate\.part: found validation, expected test"):
        check_comparison(recipe(evaluate=measured))
    check_comparison(recipe(evaluate=measured, methods=METHODS[1:]))  # nothing is chosen


def test_the_plan_counts_settings_and_policies(tmp_path, recipe):
    text = plan_text(recipe(), tmp_path / "tiny")
    assert "rewarded_soups: 2 policies, 2 trade-offs; 2 settings searched" in text
    assert "best_of_n: 0 policies, 2 trade-offs" in text
    assert "seeds: 0, 1; of the search: 1000" in text


def test_a_damaged_result_is_told(tmp_path):
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(RunError, match=r"comparison\.json: found KeyError"):
        load_comparison(tmp_path)


def test_progress_is_of_all_runs_and_only_of_what_was_left(tmp_path, recipe):
    shares = []
    voice = Voice(watch=lambda share, done, total, running: shares.append((share, running)))
    progress = Progress({"search": Weight(1.0, 1.0), "seed-0": Weight(0.0, 2.0)}, voice)
    first, second = progress.of_run("search"), progress.of_run("seed-0")
    first.step("base", 1, 2)
    first.step("records", 1, 2)  # only the base takes long
    first.watch(0.5, 1, 2, "a/b")
    progress.finish("search")
    second.watch(0.5, 1, 2, "a/b")
    assert shares == [
        (0.125, "search/base"), (0.375, "search/a/b"), (0.75, "seed-0/a/b"),
    ]  # fmt: skip
    config = search_config(recipe(base={"corpus": 128}))
    run = RunFolder(tmp_path / "search")
    before = weight_left(config, run)
    assert before.base == 128 and before.tasks > 0
    execute(config, run.path, "train")
    after = weight_left(config, run)
    assert after.base == 0 and 0 < after.tasks < before.tasks
    assert replace(before, base=0.0).total == before.tasks
