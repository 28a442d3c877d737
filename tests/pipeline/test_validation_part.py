"""``evaluate.part: validation``: settings are chosen on prompts that nothing learned from."""

import json

import pytest

from paretune.bench.advice.world import Advice
from paretune.bench.handy.text import Request
from paretune.bench.handy.world import Handy
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.records import TEST, TRAIN, read_part, read_test_prompts, records_stage


def pairs_of(prompts):
    return {(request.verb, request.object) for request in map(Request.parse, prompts)}


@pytest.mark.parametrize(("scenario", "n"), [("A", 72), ("B", 36), ("C", 72)])
def test_handy_holds_out_whole_pairs_of_verb_and_object(scenario, n):
    world = Handy(scenario)
    held_out = set(world.validation_prompts)
    assert len(held_out) == n and held_out < set(world.train_prompts)
    rest = set(world.train_prompts) - held_out
    assert not pairs_of(held_out) & pairs_of(rest)
    assert not pairs_of(held_out) & pairs_of(world.test_prompts)


def test_nothing_learns_from_validation_prompts_and_test_prompts_stay(tmp_path, tiny_config):
    evaluate = {"resamples": 100, "part": "validation"}
    world, config = Handy("A"), tiny_config(evaluate=evaluate, data={**DATA, "pairs": 400})
    run = RunFolder(tmp_path / "tiny")
    records_stage(config, run)
    train = read_part(config, run, TRAIN)
    assert read_test_prompts(config, run) == list(world.validation_prompts)
    assert not set(train.prompts) & {*world.validation_prompts, *world.test_prompts}
    whole = RunFolder(tmp_path / "whole")
    records_stage(tiny_config(data={**DATA, "pairs": 400}, evaluate={}), whole)
    everything = read_part(config, whole, TRAIN)
    # 24 of 160 pairs: the same draws less those on held-out prompts.
    kept = [p for p in everything.prompts if p not in world.validation_prompts]
    assert list(train.prompts) == kept and len(kept) < len(everything.prompts)


DATA = {"world": "handy", "scenario": "A"}


def test_the_known_front_is_that_of_the_part():
    world = Handy("C")
    risky = [Request.parse(p).is_risky for p in world.validation_prompts]
    tests = [Request.parse(p).is_risky for p in world.test_prompts]
    assert sum(risky) / len(risky) != sum(tests) / len(tests)
    assert world.known_front(part="validation") != world.known_front()
    assert world.known_front(part="test") == world.known_front()
    advice = Advice(("helpfulness", "harmlessness"))
    assert advice.known_front(part="validation").utility_min is not None


def test_files_give_a_tenth_of_their_training_prompts(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"p{n}", "responses": [{"text": "x", "scores": {"a": n, "b": -n}}]}
        for n in range(2000)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "name": "f", "objectives": ["a", "b"], "data": {"path": str(file), "test_share": 0.2},
        "methods": [{"method": "sft"}],
    }  # fmt: skip
    prompts = {}
    for part in ("test", "validation"):
        config = parse_config(values | {"evaluate": {"part": part}})
        run = RunFolder(tmp_path / part)
        records_stage(config, run)
        prompts[part] = [set(read_part(config, run, p).prompts) for p in (TRAIN, TEST)]
    (train, test), (less, validation) = prompts["test"], prompts["validation"]
    assert less | validation == train and not less & validation
    assert not test & (less | validation)
    assert 0.06 < len(validation) / len(train) < 0.14
