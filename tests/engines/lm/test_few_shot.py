"""Visits: prompts with a user's pairs, and the pair that is learned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paretune.core.record import Comparison, PreferenceData, Record, Response
from paretune.core.shots import Examples, FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import User
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.few_shot import encode_visits, visits_of
from paretune.engines.lm.shot_budget import rows_of
from paretune.errors import InputError
from paretune.functional.shots import deal_comparisons, other_users
from paretune.functional.users import draw_users

CHAT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }} {% elif m.role == 'user' %}"
    "<user> {{ m.content }} {% else %}<bot> {{ m.content }} <eos> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)
USERS = (User("ann", TradeOff((1.0, 0.0))), User("bob", TradeOff((0.2, 0.8))))


def world(labels: list[tuple[float, float]], start: int = 0) -> PreferenceData:
    """A prompt each; texts name their comparison and their place."""
    records = [
        Record(
            f"q{i}",
            (Response(f"first{i}", {"a": 0.5, "b": 0.1}), Response(f"second{i}", {"a": 0.25})),
            (Comparison(0, 1, {"a": a, "b": b}),),
        )
        for i, (a, b) in enumerate(labels, start=start)
    ]
    return PreferenceData.from_records(records, ("a", "b"))


@pytest.fixture
def encoder(lab: Any) -> Encoder:
    return Encoder(lab.tokenizer(CHAT), 4096, 64)


def prompts(visits: Any) -> list[str]:
    return ["\n".join(turn.content for turn in prompt) for prompt in visits.data.prompts]


def test_the_pair_is_ordered_for_its_user(encoder: Encoder) -> None:
    data = world([(0.5, -1.0), (-0.25, 0.0)])
    examples = Examples(np.array([0, 1, 0]), np.array([0, 0, 1]))
    found = visits_of(encoder, data, USERS, examples, FewShot(n_shots=(0, 0)), seed=0)
    # ann wants a: .5 and -.25; bob wants b: .1 - .8.
    assert found.data.texts == ("first0", "second0", "second0", "first0", "second1", "first1")
    np.testing.assert_array_equal(found.data.labels, [[0.5, -1], [-0.5, 1], [0.25, 0]])
    np.testing.assert_allclose(found.gaps, [0.5, 0.7, 0.25])
    np.testing.assert_array_equal(found.data.weights, [[1, 0], [0.2, 0.8], [1, 0]])
    np.testing.assert_array_equal(found.data.rewards.values[2:4], [[0.25, np.nan], [0.5, 0.1]])
    assert found.data.first.tolist() == [0, 2, 4] and found.data.second.tolist() == [1, 3, 5]
    assert found.data.prompt_of.tolist() == [0, 0, 1, 1, 2, 2]
    assert [p.split()[-1] for p in prompts(found)] == ["q0", "q0", "q1"]


def test_shots_show_the_users_taste(encoder: Encoder) -> None:
    data = world([(0.5, -1.0)] * 6)
    examples = Examples(np.repeat([0, 1], 6), np.tile(np.arange(6), 2))
    found = visits_of(encoder, data, USERS, examples, FewShot(n_shots=(3, 3)), seed=0)
    assert found.n_shots.tolist() == [3] * 12
    for visit, text in enumerate(prompts(found)):
        query = int(examples.comparison_of[visit])
        liked = "first" if visit < 6 else "second"
        shown = [i for i in range(6) if f"### Preferred response\n{liked}{i}\n" in text]
        assert len(shown) == 3 and query not in shown
        assert text.count("### Preferred response") == 3
        assert f"q{query}" not in text[: text.rindex("### Question")], "no shared prompt"


def test_epochs_show_other_pairs_of_the_same_examples(encoder: Encoder) -> None:
    data = world([(0.5, -1.0)] * 8)
    examples = deal_comparisons(2, 8, 8, seed=0)
    settings = FewShot(n_shots=(1, 4))
    both = visits_of(encoder, data, USERS, examples, settings, seed=3, epochs=(0, 1))
    assert both.example_of.tolist() == [*range(16), *range(16)]
    assert both.epoch_of.tolist() == [0] * 16 + [1] * 16
    later = visits_of(encoder, data, USERS, examples, settings, seed=3, epochs=[1])
    assert later.data.prompts == both.data.prompts[16:]
    assert sum(a != b for a, b in zip(prompts(later), prompts(both)[:16], strict=True)) >= 14
    assert both.counts.asked == 32 and sum(both.counts.n_shots.values()) == 32
    assert set(both.counts.n_shots) == {1, 2, 3, 4}


def test_what_is_left_out_is_counted(lab: Any) -> None:
    data = world([(0.5, -1.0), (0.0, 1.0), (np.nan, 1.0), (0.5, 0.5), (0.03, 0.0)])
    data = replace(data, prompts=(" ".join(["w9"] * 80), *data.prompts[1:]))
    encoder = Encoder(lab.tokenizer(CHAT), 4096, 64)
    settings = FewShot(n_shots=(2, 2), max_prompt_tokens=60)
    found = visits_of(encoder, data, USERS[:1], deal_comparisons(1, 5, 5, 0), settings, seed=0)
    # The second is a tie to ann, the third unknown, the first too long; the last is asked but
    # tells too little to be shown. Only the first and the fourth can be shown.
    texts = sorted(found.data.texts[::2])
    assert texts == ["first3", "first4"]
    counts = found.counts
    assert (counts.asked, counts.undecided, counts.too_long) == (5, 2, 1)
    # Visit of 3: shot 0, which is too long. Visit of 4: shots 0 and 3, of which 0 may be dropped
    # alone only if it is the older one.
    shown = {t: int(n) for t, n in zip(found.data.texts[::2], found.n_shots, strict=True)}
    assert shown["first3"] == 0 and counts.dropped == 3 - shown["first4"]
    assert counts.shortened == 2
    assert max(map(len, rows_of(found.prompt_ids))) <= 60


def test_nothing_left_is_an_error(encoder: Encoder) -> None:
    data = world([(0.0, 1.0), (0.0, -1.0)])
    with pytest.raises(InputError, match="no visit of 2 to ask \\(2 without a preference"):
        visits_of(encoder, data, USERS[:1], deal_comparisons(1, 2, 2, 0), FewShot(), seed=0)


def test_somebody_elses_pairs_and_words(encoder: Encoder) -> None:
    users = draw_users(6, 2, seed=0)
    rng = np.random.default_rng(0)
    data = world([tuple(row) for row in rng.uniform(-1, 1, (40, 2))])
    examples = deal_comparisons(6, 40, 10, seed=0)
    others = other_users(examples.user_of, 6, seed=0)
    settings = FewShot(n_shots=(2, 2), shows_weights=True)
    own = visits_of(encoder, data, users, examples, settings, seed=0)
    found = visits_of(encoder, data, users, examples, settings, seed=0, shown_by=others)
    # What is asked and what is right stay the same; what is shown is the other's.
    assert found.data.texts == own.data.texts
    np.testing.assert_array_equal(found.data.weights, own.data.weights)
    theirs = dict(zip(examples.user_of[own.example_of], own.data.prompts, strict=True))
    for example, prompt in zip(found.example_of, found.data.prompts, strict=True):
        assert prompt[0] == theirs[int(others[example])][0]


def test_a_pool_of_other_data(encoder: Encoder) -> None:
    bank, asked = world([(0.5, 0.5)] * 4), world([(1.0, -1.0)] * 3, start=2)
    pool = Examples(np.zeros(4, np.int64), np.arange(4))
    examples = Examples(np.zeros(3, np.int64), np.arange(3))
    found = visits_of(
        encoder, asked, USERS, examples, FewShot(n_shots=(4, 4)), seed=0, pool=pool,
        pool_data=bank,
    )  # fmt: skip
    # Prompts q2 and q3 are in the bank as well.
    assert found.n_shots.tolist() == [3, 3, 4]
    assert "q2" not in prompts(found)[0].replace("q2", "", 1)


def test_generated_descriptions_begin_the_reply(encoder: Encoder) -> None:
    data = world([(0.5, -1.0)] * 4)
    settings = FewShot(n_shots=(1, 1), description="generate")
    users = (replace(USERS[0], description="Wants w7."), USERS[1])
    found = visits_of(encoder, data, users, deal_comparisons(2, 4, 2, 0), settings, seed=0)
    assert set(found.prefixes[:2]) == {"User description: Wants w7.\nResponse:"}
    assert found.prefixes[2].startswith("User description: This user cares more about b than")
    encoded, described = encode_visits(encoder, found)
    lengths = found.prompt_ids.lengths
    # Prompt, then the description: five words for ann.
    assert described.tolist()[:2] == [5, 5]
    np.testing.assert_array_equal(encoded.prompts.lengths, lengths + described)
    assert encoded.prompts[0][:-5].tolist() == found.prompt_ids[0].tolist()
    # Responses are the answers alone: one word and the end.
    assert encoded.responses.lengths.tolist() == [2] * 8


def test_ids_are_those_of_the_encoder(encoder: Encoder) -> None:
    data = world([(0.5, -1.0)] * 4)
    found = visits_of(
        encoder, data, USERS, deal_comparisons(2, 4, 4, 0), FewShot(n_shots=(0, 2)), seed=0
    )
    encoded, described = encode_visits(encoder, found)
    plain = encoder.encode(found.data.prompts, found.data.texts, found.data.prompt_of)
    for ours, theirs in ((encoded.prompts, plain.prompts), (encoded.responses, plain.responses)):
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    assert not described.any() and found.keeps_prefix and encoded.cut_responses == 0


def test_a_cut_response_is_counted_at_every_visit(lab: Any) -> None:
    encoder = Encoder(lab.tokenizer(CHAT), 4096, max_response_tokens=2)
    data = world([(0.5, -1.0)] * 2)
    texts = list(data.texts)
    texts[0] = "w6 w7 w8"
    found = visits_of(
        encoder, replace(data, texts=tuple(texts)), USERS, deal_comparisons(2, 2, 2, 0),
        FewShot(n_shots=(0, 0)), seed=0, epochs=(0, 1),
    )  # fmt: skip
    encoded, _ = encode_visits(encoder, found)
    assert encoded.cut_responses == 4
