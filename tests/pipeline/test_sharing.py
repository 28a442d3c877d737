"""Two methods of a run that plan the same training run it once, and are both charged for it."""

from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import execute
from paretune.pipeline.sweep import plan_run
from paretune.pipeline.tasks import RoundTask, TrainTask

TWINS = [
    {"method": "rewarded_soups", "beta": 0.5},
    {"method": "rewarded_soups", "label": "twin", "beta": 0.5},
    {"method": "rewarded_soups", "label": "other", "beta": 0.25},
    {"method": "rewarded_soups", "label": "faster", "beta": 0.5, "train": {"learning_rate": 1e-3}},
]
HQD = {"method": "pareto_hqd", "k": 8, "steps": 2, "batch_size": 4, "stage2_prompts": 6}


def planned(tmp_path, config):
    return plan_run(config, RunFolder(tmp_path / "tiny"), (96, 48), 12, "above")


def of_kind(plan, kind):
    return [task for task in plan.policies if isinstance(task, kind)]


def test_the_same_training_is_one_task_and_any_difference_makes_two(tmp_path, tiny_config):
    _, first, twin, other, faster = planned(tmp_path, tiny_config(methods=TWINS))
    assert [t.id for t in twin.policies] == ["rewarded_soups/expert-0", "rewarded_soups/expert-1"]
    assert all(mine is theirs for mine, theirs in zip(first.policies, twin.policies, strict=True))
    assert [t.id for t in other.policies] == ["other/expert-0", "other/expert-1"]
    assert [t.id for t in faster.policies] == ["faster/expert-0", "faster/expert-1"]
    middle = twin.replies[1]
    assert middle.id == "twin/replies/0.5-0.5"
    assert middle.needs == ("rewarded_soups/expert-0", "rewarded_soups/expert-1")
    assert {path.parent.name for path in middle.policies.values()} == {"rewarded_soups"}


def test_jobs_share_whatever_they_are_called(tmp_path, tiny_config):
    """What a policy follows from, not its name, decides: who comes first is no matter."""
    config = tiny_config(methods=TWINS)
    alone = tiny_config(methods=TWINS[1:2])
    (_, _, twin, *_), (_, same) = planned(tmp_path, config), planned(tmp_path, alone)
    assert [t.sealed.identity for t in twin.policies] == [t.sealed.identity for t in same.policies]
    assert [t.sealed.identity for t in twin.replies] == [t.sealed.identity for t in same.replies]


def test_rounds_are_shared_and_what_learns_from_them_is_not(tmp_path, tiny_config):
    methods = [HQD, {**HQD, "label": "fewer", "k": 8, "stage2_pool": "generated+pareto"}]
    _, first, second = planned(tmp_path, tiny_config(methods=methods))
    mine, theirs = of_kind(second, TrainTask), of_kind(first, TrainTask)
    assert [t.id for t in mine[:3]] == [t.id for t in theirs[:3]]  # stage 1
    assert [t.method for t in mine[3:]] == ["fewer"] * 3
    # Sources differ in what is added to the replies, which is part of the round.
    assert {t.method for t in of_kind(second, RoundTask)} == {"fewer"}
    methods[1] = {**HQD, "label": "fewer", "k": 8, "max_per_prompt": 1}
    config = tiny_config(methods=methods)
    _, first, second = planned(tmp_path, config)
    assert {t.method for t in of_kind(second, TrainTask)} == {"fewer"}


def test_replies_of_the_base_are_drawn_once(tmp_path, tiny_config):
    heads = {"method": "mopo", "steps": 2, "candidates": 4, "candidate_prompts": 4}
    methods = [heads, {**heads, "label": "more", "steps": 3}]
    _, first, second = planned(tmp_path, tiny_config(methods=methods))
    rounds = of_kind(second, RoundTask)
    assert rounds and rounds == of_kind(first, RoundTask)
    (task,) = of_kind(second, TrainTask)
    assert task.method == "more"
    assert set(task.needs) == {r.id for r in rounds}
    assert list(task.rounds.values()) == [r.sealed.path for r in rounds]


def test_shared_work_runs_once_and_everybody_is_charged(tmp_path, tiny_config):
    methods = [*TWINS[:2], HQD, {**HQD, "label": "one", "stages": 1, "stage2_prompts": 10_000}]
    finished = execute(tiny_config(methods=methods), tmp_path / "tiny")
    assert finished.failed == {}
    soups, twin, two, one = finished.result.methods
    assert twin.cost.train_seconds == soups.cost.train_seconds > 0
    assert twin.cost.train_tokens == soups.cost.train_tokens > 0
    assert twin.cost.policies == soups.cost.policies == 2
    assert 0 < one.cost.train_tokens < two.cost.train_tokens
    assert one.cost.policies == 3 and two.cost.policies == 6
    assert [p.means for p in twin.points] == [p.means for p in soups.points]
    assert 0 < two.cost.answer_tokens < two.cost.reply_tokens  # rounds are no answers
    assert twin.cost.answer_tokens == twin.cost.reply_tokens
    policies = tmp_path / "tiny" / "4-policies"
    assert not (policies / "twin").exists() and not (policies / "one").exists()
    notes = "\n".join(finished.result.notes)
    assert "twin plans 2 of its trainings and rounds as rewarded_soups does" in notes
    assert "one plans 3 of its trainings and rounds as pareto_hqd does" in notes


def test_a_shared_training_that_fails_fails_everybody_who_needs_it(tmp_path, tiny_config):
    broken = {"method": "rewarded_soups", "train": {"learning_rate": 1e30}}
    methods = [{"method": "sft"}, broken, {**broken, "label": "twin"}]
    sft, *both = execute(tiny_config(methods=methods), tmp_path / "tiny").result.methods
    assert sft.failed is None
    assert all("rewarded_soups/expert-0" in m.failed for m in both)
