"""Who is asked what: users and prompts of training, validation and test stay apart."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

import numpy as np
import pytest

from paretune.bench.handy import Handy
from paretune.core.job import Shown
from paretune.core.record import PreferenceData
from paretune.core.shots import FewShot
from paretune.core.user import Part
from paretune.engines.lm.encode import Encoder
from paretune.errors import InputError
from paretune.pipeline.shown import (
    asking,
    check_asking,
    comparisons_of,
    description_tokens,
    in_unit_range,
    shot_encoder,
)

SOURCE = Shown(FewShot(), users=30)


@pytest.fixture(scope="module")
def data() -> PreferenceData:
    world = Handy("A")
    return in_unit_range(
        PreferenceData.from_records(world.preferences(600, seed=0), world.objectives.names)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_no_prompt_and_no_user_is_in_two_parts(data: PreferenceData, seed: int) -> None:
    prompts, users = {}, {}
    for part in get_args(Part):
        asked = asking(data, SOURCE, part, seed)
        rows = data.first[asked.examples.comparison_of]
        prompts[part] = set(data.prompt_of[rows].tolist())
        users[part] = {user.id for user in asked.users}
    for one, other in combinations(get_args(Part), 2):
        assert not prompts[one] & prompts[other]
        assert not users[one] & users[other]
    rows = np.concatenate([comparisons_of(data, part, seed) for part in get_args(Part)])
    assert sorted(rows) == list(range(data.n_comparisons)), "every comparison is in one part"


def test_too_few_prompts_are_told_before_anything_is_trained(data: PreferenceData) -> None:
    few = np.flatnonzero(data.prompt_of[data.first] == data.prompt_of[data.first][0])
    rows = {"first": data.first[few], "second": data.second[few], "labels": data.labels[few]}
    small = PreferenceData(data.prompts, data.texts, data.prompt_of, data.rewards, **rows)
    with pytest.raises(InputError, match="shots: found"):
        check_asking(small, SOURCE, 0)


def test_a_description_has_room_before_and_after_it_is_written() -> None:
    world = Handy("A")
    encoder, written = Encoder(world.tokenizer(), 100, 60), FewShot(description="generate")
    names = world.objectives
    room = description_tokens(encoder, written, names)
    assert room > 0
    assert shot_encoder(encoder, written, 400, names).max_prompt_tokens == 400 - 60 - room
    assert shot_encoder(encoder, FewShot(), 400, names).max_prompt_tokens == 400 - 60
    assert description_tokens(encoder, FewShot(description="given"), names) == 0
