"""Joining rows of one prompt loses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.record import Comparison, Message, Record, Response
from paretune.data.joining import PromptJoin
from paretune.data.splits import split_of


def joined(*records: Record) -> list[Record]:
    join = PromptJoin()
    for record in records:
        join.add(record)
    return list(join.records())


def pair(labels, one="x", two="y", **scores) -> Record:
    return Record("p", (Response(one, scores), Response(two)), (Comparison(0, 1, labels),))


def test_pairs_of_three_texts_share_their_responses():
    (record,) = joined(pair({"a": 1.0}), pair({"a": -1.0}, two="z"), pair({"a": 0.0}, "y", "z"))
    assert [r.text for r in record.responses] == ["x", "y", "z"]
    assert [(c.first, c.second) for c in record.comparisons] == [(0, 1), (0, 2), (1, 2)]


def test_labels_of_different_objectives_meet_also_when_turned():
    (record,) = joined(pair({"a": 1.0}), pair({"b": 1.0, "c": 0.0}, "y", "x"))
    assert record.comparisons == (Comparison(0, 1, {"a": 1.0, "b": -1.0, "c": 0.0}),)


def test_labels_of_the_same_objective_stay_two_comparisons():
    (record,) = joined(pair({"a": 1.0}), pair({"a": 1.0}), pair({"a": 1.0}, "y", "x"))
    assert [c.labels for c in record.comparisons] == [{"a": 1.0}, {"a": 1.0}, {"a": -1.0}]
    assert {(c.first, c.second) for c in record.comparisons} == {(0, 1)}


def test_scores_meet_unless_they_disagree():
    one, two, other = (
        Record("p", (Response("x", scores),)) for scores in ({"a": 1.0}, {"b": 2.0}, {"a": 3.0})
    )
    (record,) = joined(one, two, other)
    # Given twice with scores that agree, once with another.
    both = Response("x", {"a": 1.0, "b": 2.0}, count=2)
    assert record.responses == (both, Response("x", {"a": 3.0}))


def test_equal_texts_of_one_row_stay_apart():
    row = Record("p", (Response("x"), Response("x")), (Comparison(0, 1, {"a": 0.0}),))
    (record,) = joined(row, row)
    assert len(record.responses) == 2
    assert all(c.first != c.second for c in record.comparisons)


def test_a_single_row_is_kept_as_it_is():
    row = pair({"a": 1.0})
    assert joined(row)[0] is row


def test_a_row_is_repeated_only_with_all_of_its_content():
    join = PromptJoin()
    assert not join.is_repeated(pair({"a": 1.0}))
    assert join.is_repeated(pair({"a": 1.0}))
    others = [
        pair({"a": -1.0}),
        pair({"b": 1.0}),
        pair({"a": 1.0}, "y", "x"),
        pair({"a": 1.0}, "xy", ""),
        pair({"a": 1.0}, a=0.5),
        Record("p", pair({}).responses),
        Record((Message("user", "p"),), pair({}).responses),
        Record((Message("system", "p"),), pair({}).responses),
        Record((Message("user", ""), Message("user", "p")), pair({}).responses),
    ]
    assert not any(join.is_repeated(other) for other in others)


texts = st.sampled_from("xyz")
names = st.sampled_from("abc")
numbers = st.sampled_from([-1.0, 0.0, 1.0])


@st.composite
def records(draw):
    found = draw(st.lists(st.builds(Response, texts, st.dictionaries(names, numbers)), min_size=2,
                          max_size=4))  # fmt: skip
    ends = st.permutations(range(len(found))).map(lambda order: order[:2])
    comparisons = draw(st.lists(st.tuples(ends, st.dictionaries(names, numbers)), max_size=3))
    return Record(
        draw(st.sampled_from(["p", "q"])),
        tuple(found),
        tuple(Comparison(first, second, labels) for (first, second), labels in comparisons),
    )


def facts(rows):
    """Every label and score as (prompt, texts, objective, value), labels in one direction."""
    scores = {
        (r.prompt, response.text, name, value)
        for r in rows
        for response in r.responses
        for name, value in response.scores.items()
    }
    labels = sorted(
        min(
            (r.prompt, r.responses[c.first].text, r.responses[c.second].text, name, value),
            (r.prompt, r.responses[c.second].text, r.responses[c.first].text, name, -value + 0.0),
        )
        for r in rows
        for c in r.comparisons
        for name, value in c.labels.items()
    )
    return scores, labels


@given(st.lists(records(), max_size=8))
def test_every_score_and_every_label_survives(rows):
    after = joined(*rows)
    assert facts(after) == facts(rows)
    assert len({r.prompt for r in after}) == len(after)
    for record in after:
        assert all(c.first != c.second for c in record.comparisons)


def test_comparisons_of_different_users_stay_apart():
    ann, bob = {"a": 1.0}, {"b": 1.0}
    rows = [
        Record("p", (Response("x"), Response("y")), (Comparison(0, 1, labels, user),))
        for labels, user in (({"a": 1.0}, ann), ({"b": 1.0}, bob), ({"b": -1.0}, ann))
    ]
    (record,) = joined(*rows)
    assert [c.weights for c in record.comparisons] == [ann, bob]
    assert record.comparisons[0].labels == {"a": 1.0, "b": -1.0}


def _fill(join: PromptJoin, prompts: Sequence[int], n_rows: int = 2) -> list[Record]:
    for row in range(n_rows):
        for i in prompts:
            join.add(Record(f"prompt {i}", (Response(f"reply {row} to {i}"),)))
    return list(join.records())


def test_a_budget_keeps_whole_prompts_whatever_the_order():
    everything = _fill(PromptJoin(), range(2000))
    one, other = PromptJoin(budget=200_000), PromptJoin(budget=200_000)
    some = _fill(one, range(2000))
    # Prompts are dropped whole, and which ones depends on their texts alone.
    assert all(len(record.responses) == 2 for record in some)
    assert [r for r in everything if r in some] == some
    assert {r.prompt for r in _fill(other, range(1999, -1, -1))} == {r.prompt for r in some}
    assert one.share == other.share < 1
    assert 0.7 * one.share < len(some) / 2000 < 1.3 * one.share


def test_a_budget_that_is_not_outgrown_changes_nothing():
    join = PromptJoin(budget=10**9)
    assert _fill(join, range(50)) == _fill(PromptJoin(), range(50))
    assert join.share == 1


def test_a_budget_never_leaves_nothing():
    join = PromptJoin(budget=1)
    assert len(_fill(join, range(20))) == 1
    assert join.share < 1


def test_a_sample_has_prompts_of_every_split():
    join = PromptJoin(budget=200_000)
    splits = Counter(split_of(record.prompt) for record in _fill(join, range(4000)))
    assert join.share <= 1 / 8
    assert 0.6 < splits["train"] / splits.total() < 0.95
