"""The collapse detector on hand cases and on sound prose."""

import pytest

from paretune.errors import InputError
from paretune.functional.collapse import collapse_cause, collapse_shares

BROKEN = [
    ("", "short"),
    (" \n\t", "short"),
    ("Yes.", "short"),
    ("I can!!!", "short"),
    (". . . . . . . . . . . .", "short"),
    ("I am sorry I am sorry I am sorry I am sorry", "loop"),
    ("The answer is no no no no no no no no no no", "loop"),
    ("Well, you can do it, you can do it, you can do it, you can do it.", "loop"),
    ("NO, No, no, NO, No, no, NO, No, no, please!", "loop"),
    ("it is good . it is good . it is good . it is", "loop"),
    ("sorry , i with with with with that", "loop"),
    ("the the cat cat sat sat on a mat", "loop"),
    (
        "Please remember to wash the red car with warm water and soap today. One. "
        "Please remember to wash the red car with warm water and soap today. Two. "
        "Please remember to wash the red car with warm water and soap today. Three. "
        "Please remember to wash the red car with warm water and soap today. Four.",
        "repeats",
    ),
    (
        "one two three four five six seven eight nine ten one two three four five six seven eight "
        "nine ten one two three four five six seven eight nine ten",
        "repeats",
    ),
]

SOUND = [
    "No, thank you.",
    "I do not know.",
    "That is very, very kind of you.",
    "He had had enough of that that day.",
    "Ha ha ha! That was a good one, tell me another.",
    "We need eggs, milk, bread, salt, oil, tea, rice and soap.",
    "Step 1: open the lid. Step 2: pour the water. Step 3: close the lid. Step 4: press start.",
    "I can't help with that, but here's what you could do instead: ask a licensed electrician.",
    "先把水烧开，然后加入面条，煮三分钟。",
    "The first bus leaves at 7:00, the second at 7:30, the third at 8:00 and the last at 8:30.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity.",
    "# Install\n\nRun `pip install .` in a fresh environment. Python 3.11 or newer is needed. The "
    "first run builds a small cache below the user's home; delete the folder to start again.",
    "## Usage\n\n- `read` loads a file, - `write` stores a file, - `check` compares two files.\n\n"
    "Each verb takes `--help`. Results go to standard output, messages to standard error.",
    "Contributions are welcome. Open an issue first if the change is large; small fixes can go "
    "straight into a pull request. Please add a test that fails without your change, run the "
    "formatter, and describe what a user will notice.",
    "| name | size | speed |\n| --- | --- | --- |\n| small | 10 MB | fast |\n| large | 90 MB | slow"
    " |\n\n* * * * * * * * * * * * * *\n\n====================\n",
    "See [one](https://example.org/docs/guide/one.html), [two](https://example.org/docs/guide/two.html"
    "), [three](https://example.org/docs/guide/three.html), [four](https://example.org/docs/guide/"
    "four.html), and [five](https://example.org/docs/guide/five.html).",
]


@pytest.mark.parametrize(("text", "cause"), BROKEN)
def test_a10_broken_replies_and_their_cause(text, cause):
    assert collapse_cause(text) == cause


@pytest.mark.parametrize("text", SOUND)
def test_a10_sound_replies(text):
    assert collapse_cause(text) is None


def test_two_words_are_short_and_three_are_not():
    assert collapse_cause("Good morning!") == "short"
    assert collapse_cause("Good morning, Ann!") is None


def test_a_loop_needs_three_copies_nine_tokens_and_a_share_of_the_text():
    clause = "come back in the morning "
    assert collapse_cause("please " + 2 * clause) is None
    assert collapse_cause("please " + 3 * clause) == "loop"
    assert collapse_cause("a b a b a b a b") is None, "eight tokens"
    assert collapse_cause("a b a b a b a b a") == "loop", "nine tokens"
    words = " ".join(f"w{i}" for i in range(21))
    assert collapse_cause(words + " a b c a b c a b c") == "loop", "9 of 30 tokens"
    assert collapse_cause(words + " w a b c a b c a b c") is None, "9 of 31 tokens"


def test_a_period_of_nine_is_no_loop_but_repeats():
    text = " ".join([*"abcdefghi"] * 4)
    assert collapse_cause(text) == "repeats"


def test_repeats_need_twenty_tokens_and_half_of_the_4_grams():
    # Two copies of ten: 17 4-grams, of which 10 are distinct and 7 repeat.
    assert collapse_cause(" ".join([*"abcdefghij"] * 2)) is None
    # Three copies of ten: 27 4-grams, 10 distinct.
    assert collapse_cause(" ".join([*"abcdefghij"] * 3)) == "repeats"
    # Eight words and then again: half of the 4-grams repeat, but 19 tokens are too few to judge.
    assert collapse_cause(" ".join([*"abcdefgh"] * 2 + [*"abc"])) is None
    assert collapse_cause(" ".join([*"abcdefgh"] * 2 + [*"abcd"])) == "repeats"


def test_punctuation_runs_are_no_doubled_words():
    assert collapse_cause("Wait for it ... here it comes !!! Done now") is None


def test_runs_of_real_punctuation_are_a_loop():
    assert collapse_cause("I am not sure " + "!" * 20) == "loop"


def test_case_does_not_hide_a_loop():
    assert collapse_cause("Do it DO IT do It dO iT do it do it") == "loop"


def test_shares_by_hand():
    texts = ["Yes.", "go on, " * 6, "This one is a fine reply.", "This one is fine as well."]
    shares = collapse_shares(texts, malformed=0.25)
    assert (shares.short, shares.loop, shares.repeats) == (0.25, 0.25, 0.0)
    assert shares.malformed == 0.25
    assert shares.total == 0.5


def test_no_reply_has_no_shares():
    with pytest.raises(InputError, match="no reply"):
        collapse_shares([])
