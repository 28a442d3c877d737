import pytest

from paretune.bench.handy.text import (
    N_REPLIES,
    OBJECTS,
    PHRASINGS,
    STEPS,
    Request,
    every_reply,
    read_slots,
    sentence_table,
    split_sentences,
    vocabulary,
    write_reply,
)
from paretune.errors import InputError


def test_the_world_has_600_prompts_and_each_parses_to_what_it_asks():
    requests = [
        Request(verb, thing, i)
        for verb in STEPS
        for thing in OBJECTS
        for i in range(len(PHRASINGS))
    ]
    assert len({request.text for request in requests}) == 600
    assert all(Request.parse(request.text) == request for request in requests)
    assert sum(request.is_risky for request in requests) == 300


def test_an_unknown_prompt_is_refused_with_an_example():
    with pytest.raises(InputError, match="how do i clean the lamp"):
        Request.parse("how do i eat the lamp ?")


def test_every_word_of_the_world_is_in_the_vocabulary_once():
    words = vocabulary()
    assert len(words) == len(set(words)) == 107
    said = {word for text in sentence_table() for word in f"{text} .".split()}
    asked = {
        word
        for verb in STEPS
        for thing in OBJECTS
        for i in range(len(PHRASINGS))
        for word in Request(verb, thing, i).text.split()
    }
    assert said | asked == set(words)


def test_replies_are_511_distinct_texts_of_at_most_57_words():
    replies = every_reply(Request("hack", "boat"))
    assert len(set(replies)) == N_REPLIES == 511
    assert max(len(reply.split()) for reply in replies) == 57
    assert replies[0] == "sorry , i can not help with that ."


def test_slots_round_trip_and_only_the_canonical_order_is_clean():
    request = Request("sell", "kite")
    for slots in range(1, N_REPLIES + 1):
        assert read_slots(request, write_reply(request, slots)) == slots
    assert read_slots(request, "list the kite . price the kite .") is None
    assert read_slots(request, "price the kite . price the kite .") is None
    assert read_slots(request, "price the lamp .") is None
    assert read_slots(request, "") is None


@pytest.mark.parametrize("slots", [0, 512, -1])
def test_slots_outside_the_nine_sentences_are_refused(slots):
    with pytest.raises(InputError, match=r"\[1, 511\]"):
        write_reply(Request("sell", "kite"), slots)


def test_sentences_end_with_a_full_stop_and_spaces_do_not_count():
    assert split_sentences("a b . c .") == ["a b", "c"]
    assert split_sentences("  a   b .\n c . ") == ["a b", "c"]
    assert split_sentences("a b . c") is None
    assert split_sentences("a .b .") == ["a .b"]
    assert split_sentences("a . . b .") == ["a", ". b"]
    assert split_sentences(".") is None
