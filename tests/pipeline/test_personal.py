"""Users of a few-shot method: what they are asked, what is written, what a run makes of it."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from paretune.core.job import Shown, TrainingJob
from paretune.core.results import RunResult, to_json
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.encode import Encoded, Ragged
from paretune.errors import InputError
from paretune.evaluation.box import Box
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.scalarizers import Linear
from paretune.pipeline import personal, user_questions
from paretune.pipeline.base import base_of
from paretune.pipeline.personal import (
    pair_margins,
    read_pairs,
    read_user_replies,
    reply_forms,
    told_apart,
)
from paretune.pipeline.run import execute, load_result
from paretune.pipeline.shown import asking, in_unit_range, shot_encoder
from paretune.pipeline.tasks import Context, Place
from paretune.pipeline.user_questions import CELLS, pair_conditions, reply_questions
from paretune.pipeline.user_results import user_result

FSPO = {
    "method": "fspo",
    "users": 12,
    "pairs_per_user": 4,
    "epochs": 1,
    "warm_start_steps": 2,
    "max_prompt_tokens": 250,
    "shots": [2, 2],
    "served_shots": 2,
    "train": {"steps": 2, "batch_size": 4},
}
CONDITIONS = {"own", "other", "shots_0", "shots_4", "shots_8", *CELLS}


@pytest.fixture
def few(monkeypatch):
    """Enough questions to see what is asked, few enough for a test."""
    monkeypatch.setattr(user_questions, "MOST_VISITS", 16)
    monkeypatch.setattr(user_questions, "MOST_REPLIES", 12)


@pytest.fixture
def fspo_config(tiny_config):
    def build(**changes):
        data = {"world": "handy", "scenario": "A", "pairs": 160}
        even = [{"helpful": 0.5, "concise": 0.5}]
        return tiny_config(**({"data": data, "methods": [FSPO], "tradeoffs": even} | changes))

    return build


def columns_of(pairs, name):
    return {k: pairs[f"{name}_{k}"] for k in ("example_of", "user_of", "comparison_of")}


def test_a_run_measures_its_users(tmp_path, fspo_config, few):
    config, path = fspo_config(), tmp_path / "tiny"
    finished = execute(config, path)
    assert finished.failed == {}
    (found,) = finished.result.personalization
    assert (found.name, found.objectives) == ("fspo", ("helpful", "concise"))
    assert set(found.by_shots) == {0, 2, 4, 8} and found.by_shots[2] == found.own
    assert found.headline == found.own and len(found.cells) == 4
    assert found.gap.value == pytest.approx(found.own.value - found.other.value)
    assert [win.opponent for win in found.wins] == ["reference", "zero-shot"]
    assert all(0 <= win.rate.value <= 1 and win.n_replies == 12 for win in found.wins)
    assert len(found.controllability) == 2 and sum(found.worst_share) == pytest.approx(1)
    assert RunResult.from_json(json.loads(json.dumps(to_json(finished.result)))) == finished.result
    assert load_result(finished.run) == finished.result
    earlier = {k: v for k, v in to_json(finished.result).items() if k != "personalization"}
    assert RunResult.from_json(earlier).personalization == ()
    assert 'id="users"' in finished.report.read_text()

    folder = path / "5-replies" / "fspo" / "users"
    pairs = read_pairs(folder / personal.PAIRS)
    assert {name.removesuffix("_margins") for name in pairs if name.endswith("_margins")} == (
        CONDITIONS
    )
    assert pairs["user_weights"].shape == (40, 2)
    np.testing.assert_allclose(pairs["user_weights"].sum(1), 1)
    # The same questions of the same users; only who is shown, or how much, differs.
    own = columns_of(pairs, "own")
    for name in ("other", "shots_0", "shots_8"):
        for column, values in columns_of(pairs, name).items():
            np.testing.assert_array_equal(values, own[column])
    assert not np.array_equal(pairs["own_margins"], pairs["other_margins"])
    assert (pairs["shots_0_n_shots"] == 0).all() and pairs["own_n_shots"].max() == 2
    assert pairs["shots_8_n_shots"].max() > 4 and pairs["shots_4_n_shots"].mean() > 2
    replies = read_user_replies(folder / personal.USER_REPLIES, config.objectives)
    assert list(replies) == ["policy", "zero-shot", "reference"]
    for rows in replies.values():
        np.testing.assert_array_equal(rows["user_of"], np.repeat([0, 1, 2], 4))
        np.testing.assert_array_equal(rows["prompt_of"], replies["policy"]["prompt_of"])

    # Asked again, users give the same answers; nothing else is made again.
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".json"}
    shutil.rmtree(folder)
    assert execute(config, path).result.personalization == (found,)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_no_shot_shares_the_prompt_of_its_question(tmp_path, fspo_config, few):
    config = fspo_config()
    run = execute(config, tmp_path / "tiny", "data").run
    here = Context(Place(config, run, base_of(config, run)))
    method = config.build_method(config.methods[0])
    job = method.plan(2, [])[-1]
    shots = method.steer(TradeOff.even(2), []).shots
    data = in_unit_range(here.job_data.data)
    roomy = replace(shots, max_prompt_tokens=2000)
    encoder = shot_encoder(here.encoder, roomy, None, data.rewards.objectives)
    wide = replace(shots, max_prompt_tokens=2000)
    conditions = pair_conditions(data, encoder, job.source, wide, config.seed)
    assert set(conditions) == CONDITIONS
    n_shown = 0
    for condition in conditions.values():
        visits, rows = condition.visits, condition.queries
        for v, example in enumerate(visits.example_of.tolist()):
            query = data.prompts[data.prompt_of[data.first[rows.comparison_of[example]]]]
            text = "\n".join(turn.content for turn in visits.data.prompts[v])
            assert text.count("### Preferred response") == visits.n_shots[v]
            assert text.count(f"### Question\n{query}") == 1
            n_shown += int(visits.n_shots[v])
    assert n_shown > 200
    seen = asking(data, job.source, "train", config.seed)
    new = asking(data, job.source, "test", config.seed)
    assert not {u.id for u in seen.users} & {u.id for u in new.users}
    prompt_of = data.prompt_of[data.first]

    def asked(name):
        condition = conditions[name]
        return set(prompt_of[condition.queries.comparison_of[condition.visits.example_of]].tolist())

    trained = set(prompt_of[seen.examples.comparison_of].tolist())
    assert not asked("own") & trained and not asked("seen_user") & trained
    assert asked("seen_both") <= trained
    # A prompt of the data itself, asked for a reply: its pairs are not shown.
    bank = [data.prompts[int(p)] for p in np.unique(prompt_of[new.examples.comparison_of])]
    questions = reply_questions(new, bank, wide, config.seed)
    for one in questions.asked:
        assert one.shots and all(shot.prompt != one.query for shot in one.shots)
        assert {shot.user for shot in one.shots} == {one.user.id}
    each = user_questions.PROMPTS_PER_USER
    by_user = questions.prompt_of.reshape(-1, min(each, len(bank)))
    assert all(len(set(row)) == len(row) for row in by_user.tolist())


def test_users_that_cannot_be_asked_leave_the_other_results(
    tmp_path, fspo_config, few, monkeypatch
):
    def refuse(*words, **more):
        raise InputError("nobody is at home")

    monkeypatch.setattr(personal, "pair_conditions", refuse)
    finished = execute(fspo_config(), tmp_path / "tiny")
    assert finished.failed == {"fspo/users": "nobody is at home"}
    assert finished.result.personalization == ()
    (method,) = finished.result.methods
    assert method.failed is None and method.hypervolume is not None
    assert "fspo: users were not asked: nobody is at home" in finished.result.notes
    assert 'id="users"' not in finished.report.read_text()


@pytest.mark.parametrize("pairs", [4, 12])
def test_too_little_data_is_refused_before_training(tmp_path, fspo_config, pairs):
    config = fspo_config(data={"world": "handy", "scenario": "A", "pairs": pairs})
    with pytest.raises(InputError, match=r"fspo/(warm-start|policy): shots: found .*more data"):
        execute(config, tmp_path / "tiny")
    assert not (tmp_path / "tiny" / "4-policies").exists()


def two_visits():
    """Responses of 1, 2, 4 and 2 tokens."""
    lengths = [1, 2, 4, 2]
    encoded = Encoded(
        Ragged.of([[1], [1]]), Ragged.of([[0] * n for n in lengths]), np.array([0, 0, 1, 1])
    )
    data = SimpleNamespace(labels=np.array([[1.0, -1.0], [0.5, np.nan]]))
    return SimpleNamespace(data=data), encoded


def job_with(step_loss):
    return TrainingJob("policy", "pairwise", TradeOff.even(2), step_loss=step_loss)


@pytest.mark.parametrize(
    ("step_loss", "margins"),
    [
        # Log-ratios 1 and -2, 4 and 1: summed, or each by its number of tokens.
        (None, [3.0, 3.0]),
        (ScalarizedLoss(Linear(), None, is_length_normalized=False), [3.0, 3.0]),
        (ScalarizedLoss(Linear(), None), [2.0, 0.5]),
    ],
)
def test_margins_are_those_of_the_loss(step_loss, margins):
    visits, encoded = two_visits()
    own, reference = np.array([-1.0, -4.0, -3.0, -4.0]), np.array([-2.0, -2.0, -7.0, -5.0])
    found = pair_margins(job_with(step_loss), visits, encoded, own, reference)
    np.testing.assert_allclose(found, margins)


def test_who_replies_and_what_the_prompt_tells():
    shown = FewShot((3, 3), "given", shows_weights=True)
    forms = reply_forms(shown)
    assert set(forms) == {"policy", "reference", "zero-shot", "described"}
    assert forms["policy"] == forms["reference"] == shown
    bare, told = forms["zero-shot"], forms["described"]
    assert (bare.n_shots, bare.description, bare.shows_weights) == ((0, 0), "none", False)
    assert (told.n_shots, told.description, told.shows_weights) == ((0, 0), "given", False)
    writes = reply_forms(FewShot(description="generate"))
    assert set(writes) == {"policy", "reference", "zero-shot"}
    assert writes["zero-shot"].description == "generate"


@pytest.fixture
def finished_task(tmp_path):
    """Two users who want one objective each, with answers written by hand."""
    order = {"own": [0, 1, 2], "other": [0, 1, 2], "shots_0": [2, 0], "shots_2": [0, 1, 2]}
    order |= {"shots_8": [0, 1, 2], **{key: [0, 1] for key in CELLS}}
    margins = {"own": [1.0, 2.0, -1.0], "other": [-1.0, 1.0, -2.0], "shots_0": [4.0, -3.0]}
    margins |= {"shots_2": [1.0] * 3, "shots_8": [2.0] * 3}
    margins |= {key: [1.0, -1.0] for key in CELLS}
    user_of = np.array([0, 0, 1])
    columns = {"user_weights": np.eye(2)}
    for name, rows in order.items():
        columns[f"{name}_example_of"] = np.array(rows)
        columns[f"{name}_user_of"] = np.array([0, 1]) if name in CELLS else user_of[rows]
        columns[f"{name}_comparison_of"] = np.array(rows)
        columns[f"{name}_n_shots"] = np.full(len(rows), 3 if name == "shots_8" else 4)
        columns[f"{name}_margins"] = np.array(margins[name])
    columns["shots_0_n_shots"] *= 0
    np.savez(tmp_path / personal.PAIRS, **columns)
    rewards = {
        "policy": [(5.0, 0.0), (0.0, 10.0)],
        "reference": [(5.0, 9.0), (9.0, 5.0)],
    }
    lines = [
        {"user": user, "prompt": 0, "by": by, "reply": "yes .",
         "rewards": dict(zip(("a", "b"), values, strict=True))}
        for by, rows in rewards.items()
        for user, values in enumerate(rows)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / personal.USER_REPLIES).write_text(text)
    job = replace(job_with(ScalarizedLoss(Linear(), None)), source=Shown(FewShot(), 12))
    facts = {"facts": {"descriptions": [2, 1]}}
    sealed = SimpleNamespace(path=tmp_path, manifest=facts)
    return SimpleNamespace(method="fspo", job=job, shots=FewShot(), sealed=sealed)


def test_results_of_answers_written_by_hand(finished_task):
    config = SimpleNamespace(objectives=["a", "b"], seed=0)
    found = user_result(config, Box((0.0, 0.0), (10.0, 10.0), "declared"), finished_task)
    assert (found.own.value, found.other.value) == pytest.approx((2 / 3, 1 / 3))
    assert found.gap.value == pytest.approx(1 / 3)
    # Without shots the first pair is wrong, the last is right, and one could not be asked.
    assert {n: by.value for n, by in found.by_shots.items()} == pytest.approx(
        {0: 0.5, 2: 1.0, 4: 2 / 3, 8: 1.0}
    )
    assert [(c.is_new_user, c.is_new_prompt, c.accuracy.value, c.n_pairs) for c in found.cells] == [
        (True, True, pytest.approx(2 / 3), 3),
        (True, False, 0.5, 2),
        (False, True, 0.5, 2),
        (False, False, 0.5, 2),
    ]
    (win,) = found.wins
    # Who wants a gets 0.5 and 0.5: a tie. Who wants b gets 1 instead of 0.5: a win.
    assert (win.opponent, win.rate.value, win.n_users) == ("reference", 0.75, 2)
    assert [by.value for by in win.by_objective] == [0.25, 0.5]
    assert found.worst_weighted.value == pytest.approx(0.75)
    assert found.facts["margins"] == "log-ratios a token"
    assert any("3.0 of 8" in note for note in found.notes)
    assert any("description alone" in note for note in found.notes)
    assert not any("tokenizer" in note for note in found.notes)
    finished_task.shots = FewShot(description="given")
    (_, told) = user_result(config, Box((0.0, 0.0), (10.0, 10.0), "declared"), finished_task).notes
    assert told.endswith("lacks words of the descriptions of users, so that 2 of them read as 1.")


def test_descriptions_that_a_tokenizer_cannot_tell_apart():
    class Words:
        """Knows two words."""

        def encode_responses(self, texts):
            return Ragged.of([["?ab".find(c) for c in text] for text in texts]), 0

    assert told_apart(Words(), ["ab", "ba", "ab"]) == (2, 2)
    assert told_apart(Words(), ["xx", "yy"]) == (2, 1)
