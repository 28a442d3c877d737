import hashlib
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from paretune.bench.advice import AXES, Advice
from paretune.bench.advice.dataset import write_dataset
from paretune.core.record import PreferenceData
from paretune.data.reader import read_all
from paretune.data.sources import DataSource
from paretune.errors import ConfigError, InputError, ShapeError

PROMPT = "tell me about tea , give a reason and a tip . what is 2 plus 3 ?"


@pytest.fixture(scope="module")
def records():
    return Advice().preferences(600, seed=1)


def test_parts_of_the_split_are_disjoint():
    world = Advice()
    parts = [world.train_prompts, world.validation_prompts, world.test_prompts]
    assert [len(set(part)) for part in parts] == [1200, 150, 150]
    assert len(set().union(*parts)) == 1500
    assert set(Advice(seed=1).test_prompts) != set(world.test_prompts)


def test_columns_follow_the_axes_asked_for():
    text = "people like tea because it is cheap . tea is like a song . you fool ."
    every = Advice().score(PROMPT, text)
    np.testing.assert_allclose(every, [0.5, 0.5, 0.5, 1, 1 / 3, 0.5])
    world = Advice(("creativity", "helpfulness"))
    assert world.objectives.names == ("creativity", "helpfulness")
    np.testing.assert_array_equal(world.score(PROMPT, text), every[[4, 0]])
    np.testing.assert_array_equal(world.scales, Advice().scales[[4, 0]])
    assert world.reward_matrix([PROMPT], [text]).objectives == world.objectives
    assert world.score_many([], []).shape == (0, 2)
    assert world.is_well_formed(PROMPT, text)
    assert not world.is_well_formed(PROMPT, f"{text} {text}")
    assert not world.is_well_formed(PROMPT, "")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (("helpfulness", "creativty"), "unknown objective 'creativty'.*creativity"),
        (("helpfulness",), "expected two or more different ones"),
        (("helpfulness", "helpfulness"), "expected two or more different ones"),
    ],
)
def test_bad_axes_are_refused(axes, message):
    with pytest.raises(ConfigError, match=message):
        Advice(axes)


def test_bad_input_is_refused():
    world = Advice()
    with pytest.raises(InputError, match="found 'hello'"):
        world.score("hello", "x")
    with pytest.raises(ShapeError, match="1 prompts and 2 replies"):
        world.score_many([PROMPT], ["a", "b"])
    for draw in (world.corpus, world.preferences):
        with pytest.raises(InputError, match="n = -1"):
            draw(-1)
    with pytest.raises(InputError, match="found 1 replies, expected 2 to 16"):
        world.preferences(1, n_replies=1)
    with pytest.raises(ConfigError, match="unknown part 'dev'"):
        world.prompts("dev")


def test_rows_depend_on_their_number_alone(records):
    world = Advice()
    assert world.preferences(7, seed=1) == records[:7]
    assert world.preferences(7, seed=2) != records[:7]
    assert world.corpus(5) == world.corpus(50)[:5] != world.corpus(5, seed=1)
    assert Advice(("creativity", "helpfulness")).corpus(5) == world.corpus(5)
    more = world.preferences(7, seed=1, n_replies=5)
    for few, many in zip(records[:7], more, strict=True):
        assert many.responses[:2] == few.responses
        assert len({r.text for r in many.responses}) == 5
        assert many.comparisons == few.comparisons


def test_records_ask_prompts_of_their_part():
    world = Advice()
    for part in ("train", "validation", "test"):
        asked = {record.prompt for record in world.preferences(60, part=part)}
        assert asked <= set(world.prompts(part))
        assert len(asked) > 30
    assert {prompt for prompt, _ in world.corpus(100)} <= set(world.train_prompts)


def test_labels_are_score_differences_in_scales_cut_at_one(records):
    world = Advice()
    data = PreferenceData.from_records(records, AXES)
    expected = np.clip(data.margins / world.scales, -1, 1)
    np.testing.assert_allclose(data.labels, expected, atol=1e-11)
    texts, prompts = [r.text for r in records[0].responses], [records[0].prompt] * 2
    np.testing.assert_array_equal(data.rewards.values[:2], world.score_many(prompts, texts))
    # One pair in ten lies beyond the scale where the scale is no tie of many; none far below.
    assert ((np.abs(data.margins) > world.scales + 1e-9).mean(axis=0) <= 0.13).all()
    assert (world.scales >= 0.05).all() and not (data.labels == 0).all(axis=1).all()


def test_scales_are_set_by_training_pairs_whatever_is_drawn():
    np.testing.assert_allclose(Advice().scales, [2 / 3, 1, 1, 5 / 12, 2 / 3, 1])
    assert Advice(seed=1).scales.shape == (6,)


def test_data_are_the_same_bytes_on_every_machine(records):
    """Frozen digests: if one moves, every published number of the world moves with it."""

    def digest(rows):
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    world = Advice()
    assert digest(list(world.train_prompts)) == "ee14255c996d12e3"
    assert digest(world.corpus(2000)) == "1c8ff8afc30604dc"
    rows = [asdict(record) for record in records[:300]]
    assert all(c.pop("weights") == {} for row in rows for c in row["comparisons"])
    assert digest(rows) == "6ebbccfb6ff4f60d"


def test_a_data_set_survives_its_files(tmp_path):
    world = Advice(("helpfulness", "creativity"))
    assert write_dataset(world, tmp_path / "new", 40) == {"train": 40, "validation": 4, "test": 4}
    source = DataSource(str(tmp_path / "new" / "train.jsonl"), format="records")
    read = read_all([source], world.objectives)
    assert read.records == tuple(world.preferences(40, n_replies=4))
    scales = json.loads((tmp_path / "new" / "scales.json").read_text())
    assert scales == dict(zip(world.objectives, world.scales.tolist(), strict=True))


def test_data_need_neither_torch_nor_transformers():
    code = (
        "import sys; from paretune.bench.advice import Advice; world = Advice(); "
        "world.preferences(3); world.known_front(); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
