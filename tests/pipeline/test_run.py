import hashlib
import json
import os
import signal

import pytest

from paretune.core.results import RunResult, to_json
from paretune.errors import BusyError, ConfigError, InputError, Interrupted, RunError
from paretune.pipeline.config import load_config
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.run import (
    Voice,
    execute,
    load_result,
    report_stage,
    stepped_methods,
    stored_config,
)
from paretune.safety.files import read_json
from paretune.safety.manifest import find_problems

METHODS = [
    # 41 steps: the last one falls between two log lines.
    {"method": "sft", "train": {"steps": 41, "batch_size": 2}},
    {"method": "best_of_n", "n": 2, "tradeoffs": {"grid": 1}},
    {"method": "rewarded_soups", "train": {"lora": {"rank": 2, "alpha": 4}}},
    {"method": "dpo", "labels": "mixed", "tradeoffs": [{"helpful": 0.3, "concise": 0.7}]},
    {"method": "pareto_hqd", "k": 8, "steps": 2, "batch_size": 4, "stage2_prompts": 6},
]


def weights_of(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def test_every_method_runs_from_nothing_to_a_report_and_is_not_repeated(tmp_path, tiny_config):
    config = tiny_config(methods=METHODS)
    finished = execute(config, tmp_path / "tiny")
    assert finished.failed == {}
    assert finished.report is not None and finished.report.stat().st_size > 10_000
    result = finished.result
    assert [m.name for m in result.methods] == [m["method"] for m in METHODS]
    by_name = {m.name: m for m in result.methods}
    assert [p.policy for p in by_name["rewarded_soups"].points] == [
        "expert-1",
        "merge(expert-0:0.5, expert-1:0.5)",
        "expert-0",
    ]
    assert by_name["pareto_hqd"].cost.policies == 6
    assert by_name["best_of_n"].cost.train_seconds == 0
    assert all(p.n_replies == 12 for m in result.methods for p in m.points)
    assert RunResult.from_json(json.loads(json.dumps(to_json(result)))) == result
    assert load_result(finished.run) == result
    assert read_json(tmp_path / "tiny" / "status.json")["state"] == "done"
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert "rewarded_soups" in card and "AutoModelForCausalLM" in card
    assert load_config(tmp_path / "tiny" / "run.yaml") == config
    adapter = tmp_path / "tiny" / "4-policies" / "rewarded_soups" / "expert-0"
    assert (adapter / "adapter_model.safetensors").exists()
    assert not list((tmp_path / "tiny").rglob("*.bin"))

    before = weights_of(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    again = execute(config, tmp_path / "tiny")
    assert again.result == result
    assert weights_of(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == stamps


def test_an_added_method_trains_alone_and_changed_settings_are_refused(tmp_path, tiny_config):
    execute(tiny_config(), tmp_path / "tiny")
    old = weights_of(tmp_path)
    more = [{"method": "rewarded_soups"}, {"method": "sft"}]
    result = execute(tiny_config(methods=more), tmp_path / "tiny").result
    assert [m.name for m in result.methods] == ["rewarded_soups", "sft"]
    assert old.items() <= weights_of(tmp_path).items()
    with pytest.raises(ConfigError, match=r"settings\.learning_rate .* -> 0\.0001"):
        execute(tiny_config(train={"learning_rate": 1e-4}), tmp_path / "tiny")
    with pytest.raises(ConfigError, match="seed"):
        execute(tiny_config(seed=1), tmp_path / "tiny")


def test_processes_give_the_same_policies_as_one(tmp_path, tiny_config):
    execute(tiny_config(), tmp_path / "one" / "tiny", "train")
    execute(tiny_config(workers=2), tmp_path / "two" / "tiny", "train")
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "two") != {}


def test_a_method_that_fails_is_told_and_the_others_finish(tmp_path, tiny_config):
    methods = [
        {"method": "sft"},
        {"method": "dpo", "train": {"learning_rate": 1e30}},
    ]
    finished = execute(tiny_config(methods=methods), tmp_path / "tiny")
    assert any("diverged" in problem for problem in finished.failed.values())
    sft, dpo = finished.result.methods
    assert sft.failed is None and sft.hypervolume is not None
    assert dpo.failed is not None and "diverged" in dpo.failed
    assert not any((tmp_path / "tiny" / "4-policies" / "dpo").iterdir())
    assert read_json(tmp_path / "tiny" / "status.json")["state"] == "failed"


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, tiny_config):
    config = tiny_config()
    whole = execute(config, tmp_path / "whole" / "tiny").result

    class Stop(BaseException):
        """As a signal would do it: not an Exception that a task could swallow."""

    def stop_at(stage):
        def say(text):
            if text.startswith(stage):
                raise Stop

        return Voice(say=say)

    path = tmp_path / "parts" / "tiny"
    for stage in ("base", "comparisons", "policies"):
        with pytest.raises(Stop):
            execute(config, path, voice=stop_at(stage))
    calls = 0

    def watch(share, done, total, running):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Stop

    with pytest.raises(Stop):
        execute(config, path, voice=Voice(watch=watch))
    parts = execute(config, path).result
    assert [m.points for m in parts.methods] == [m.points for m in whole.methods]
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "whole")


def test_a_signal_ends_a_run_of_one_process_inside_a_task(tmp_path, tiny_config):
    def watch(share, done, total, running):
        if running:  # inside a task, where a plain Exception would only fail the task
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="type the same command again"):
        execute(tiny_config(), tmp_path / "tiny", "train", Voice(watch=watch))
    assert read_json(tmp_path / "tiny" / "status.json")["state"] == "interrupted"
    (kept,) = (tmp_path / "tiny" / "4-policies").glob("*/*")
    assert kept.name.endswith(".checkpoints"), "the training saved before it ended"
    reference = execute(tiny_config(), tmp_path / "whole" / "tiny", "train").run.stage(4)
    policies = execute(tiny_config(), tmp_path / "tiny", "train").run.stage(4)
    assert weights_of(policies) == weights_of(reference) != {}
    logs = [sorted(p.read_text() for p in f.rglob("metrics.jsonl")) for f in (policies, reference)]
    assert logs[0] == logs[1] != []


def test_a_run_in_use_is_refused_and_damage_is_set_aside(tmp_path, tiny_config):
    path = tmp_path / "tiny"
    config = tiny_config()

    def twice(text):
        if text.startswith("base"):
            with pytest.raises(BusyError, match=rf"found process {os.getpid()} on .* at work"):
                execute(config, path, "data")

    finished = execute(config, path, "data", Voice(say=twice))
    facts = (path / "run.json").read_text()
    with pytest.raises(ConfigError, match="seed 0 -> 1"):
        execute(tiny_config(seed=1), path, "data")
    assert (path / "run.json").read_text() == facts
    assert read_json(path / "status.json")["state"] == "done"
    file = finished.run.stage(3) / "comparisons.npz"
    file.write_bytes(file.read_bytes()[:-9])
    said = []
    again = execute(config, path, "data", Voice(say=said.append)).run.stage(3)
    assert any(f"damaged: {file}: found " in text and "expected" in text for text in said)
    assert any("set aside in .damaged/" in text for text in said)
    assert (path / ".damaged" / "3-comparisons" / "comparisons.npz").exists()
    assert find_problems(again) == []


@pytest.mark.parametrize("text", ["{}", "[]", '{"config": 3}'])
def test_a_damaged_run_json_is_told(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises((RunError, ConfigError), match=r"run\.json: "):
        stored_config(RunFolder(tmp_path))


def test_a_report_knows_who_answers_with_what_it_trained_and_nothing_else(tmp_path, write_run):
    write_run(tmp_path)
    run = RunFolder(tmp_path)
    assert stepped_methods(run) == ("dpo",)
    page = report_stage(run, load_result(run)).read_text()
    assert '"stepped": ["dpo"]' in page
    (tmp_path / "run.json").write_text("{}")
    assert stepped_methods(run) == ()


def test_a_damaged_front_is_told(tmp_path):
    with Sealed(tmp_path / "6-front", {}).writing() as (folder, _):
        (folder / "front.json").write_text("{}")
    with pytest.raises(RunError, match=r"front\.json: found KeyError.*paretune eval"):
        load_result(RunFolder(tmp_path))
    (tmp_path / "6-front" / "front.json").write_text("[]")
    with pytest.raises(RunError, match=r"front\.json: found other content.*paretune eval"):
        load_result(RunFolder(tmp_path))


def test_objectives_that_are_not_the_scenario_are_refused(tmp_path, tiny_config):
    with pytest.raises(ConfigError, match=r"expected \['helpful', 'concise'\] for scenario A"):
        execute(tiny_config(objectives=["helpful", "funny"]), tmp_path / "tiny")


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4}])
def test_heads_of_a_group_are_trained_once_and_mixed(tmp_path, tiny_config, lora):
    method = {"method": "mopo", "steps": 4, "lag": 2, "thresholds": {"helpful": 0.4}}
    train = {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16}
    config = tiny_config(methods=[method], train=train | ({"lora": lora} if lora else {}))
    finished = execute(config, tmp_path / "tiny")
    assert finished.failed == {}
    (found,) = finished.result.methods
    assert (found.cost.policies, len(found.points)) == (2, 3)
    assert [p.policy for p in found.points] == [
        "primary-1", "merge(primary-0:0.5, primary-1:0.5)", "primary-0"
    ]  # fmt: skip
    # Only a policy that answers alone has a goal to be held against; helpful has its floor there.
    alone, mixed, other = found.points
    assert [(c.objective, c.floor) for c in alone.constraints] == [
        ("concise", None), ("helpful", 0.4)
    ]  # fmt: skip
    assert mixed.constraints == ()
    assert [c.objective for c in other.constraints] == ["helpful"]
    group = tmp_path / "tiny" / "4-policies" / "mopo" / "heads"
    assert sorted(p.name for p in group.iterdir() if p.is_dir()) == ["primary-0", "primary-1"]
    log = [json.loads(line) for line in (group / "multipliers.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 1, 2, 2, 3, 3, 4, 4]
    before = weights_of(tmp_path)
    assert execute(config, tmp_path / "tiny").result == finished.result
    assert weights_of(tmp_path) == before


def test_candidates_come_from_the_reference_and_are_drawn_once(tmp_path, tiny_config):
    method = {"method": "mopo", "steps": 2, "lag": None, "candidates": 3, "primary": "helpful"}
    config = tiny_config(methods=[method])
    finished = execute(config, tmp_path / "tiny")
    assert finished.failed == {}
    (drawn,) = (tmp_path / "tiny" / "4-policies" / "mopo").glob("base.replies-*/replies.jsonl")
    rows = [json.loads(line) for line in drawn.read_text().splitlines()]
    prompts = {row["prompt"] for row in rows}
    assert len(rows) == 3 * len(prompts) and len(prompts) > 20
    assert all(set(row["rewards"]) == {"helpful", "concise"} for row in rows)
    stamp = drawn.stat().st_mtime_ns
    execute(config, tmp_path / "tiny")
    assert drawn.stat().st_mtime_ns == stamp


def test_a_floor_out_of_reach_is_refused_before_training(tmp_path, tiny_config):
    method = {"method": "mopo", "primary": "helpful", "reward_floors": {"concise": 1.5}}
    with pytest.raises(InputError, match=r"mopo/primary-0: floors: concise >= 1\.5 cannot be met"):
        execute(tiny_config(methods=[method]), tmp_path / "tiny")
    assert not (tmp_path / "tiny" / "4-policies").exists()
