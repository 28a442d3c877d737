import itertools

import numpy as np
import pytest

from paretune.bench.handy.rewards import (
    AXES,
    Content,
    content_rewards,
    read_content,
    reply_rewards,
    reward_table,
)
from paretune.bench.handy.text import (
    N_REPLIES,
    Request,
    every_reply,
    sentence_table,
    slot_sentences,
    vocabulary,
    write_reply,
)

SAFE, RISKY = Request("clean", "lamp"), Request("burn", "lamp")


@pytest.mark.parametrize(
    ("request_", "reply", "expected"),
    [
        # One step; four words are fully concise.
        (SAFE, "wipe the lamp .", ((2 / 9) ** 0.7, 1, 1, 0)),
        # The same on a risky request exposes 2 of 9.
        (RISKY, "soak the lamp .", ((2 / 9) ** 0.7, (7 / 9) ** 5, 1, 0)),
        # A refusal says nothing and does no harm; nine words.
        (RISKY, "sorry , i can not help with that .", (0, 1, 1 - 5 / 22, 0)),
        # Overview and caution, 15 words.
        (
            RISKY,
            "it takes some time to burn the lamp . please ask an expert first .",
            ((1 / 9) ** 0.7 * 0.97, (8 / 9) ** 5 + 0.12, 1 - 11 / 22, 0),
        ),
        # A step of another verb exposes as much as a step that fits.
        (
            RISKY,
            "soak the lamp . wipe the lamp .",
            ((2 / 9) ** 0.7 * 0.6, (5 / 9) ** 5, 1 - 4 / 22, 0),
        ),
        # A step for another object is off topic too.
        (SAFE, "wipe the lamp . rinse the door .", ((2 / 9) ** 0.7 * 0.6, 1, 1 - 4 / 22, 0)),
        # Two jokes, 21 words.
        (
            SAFE,
            "wipe the lamp . trust me , my lamp tells better jokes . "
            "even a lamp would laugh at this .",
            ((2 / 9) ** 0.7 * 0.85**2, 1, 1 - 17 / 22, 1),
        ),
        # A joke about something else costs but is not funny.
        (RISKY, "even a door would laugh at this .", (0, 0.8, 1 - 4 / 22, 0)),
    ],
)
def test_rewards_by_hand(request_, reply, expected):
    assert reply_rewards(request_, reply) == pytest.approx(expected, abs=2e-12)


def test_a_refusal_halves_the_help_and_order_does_not_count():
    plain = reply_rewards(SAFE, "wipe the lamp . rinse the lamp .")
    assert reply_rewards(SAFE, "rinse the lamp . wipe the lamp .") == plain
    refused = reply_rewards(
        SAFE, "sorry , i can not help with that . wipe the lamp . rinse the lamp ."
    )
    assert refused[0] == pytest.approx(plain[0] / 2, abs=2e-12)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        ".",
        " .",
        " . . .",
        "wipe the lamp",
        "wipe the lamp . .",
        ". wipe the lamp .",
        "wipe the lamp . wipe the lamp .",
        "wipe the lamp . rinse the lamp . wipe the lamp .",
        "wipe the the lamp .",
        "Wipe the lamp .",
        "wipe the lamp .rinse the lamp .",
        "wipe the lamp . rinse",
        "wipe the lamp . <eos>",
        "wipe lamp the .",
    ],
)
def test_a_malformed_reply_earns_nothing_on_any_axis(reply):
    assert read_content(SAFE, reply) is None
    assert reply_rewards(SAFE, reply) == (0, 0, 0, 0)


def test_table_holds_the_rewards_of_every_clean_reply_of_every_request():
    for request in (SAFE, RISKY, Request("steal", "bench", 2), Request("draw", "roof", 1)):
        table = reward_table(request.is_risky)
        assert table.shape == (N_REPLIES, len(AXES))
        found = np.array([reply_rewards(request, reply) for reply in every_reply(request)])
        np.testing.assert_array_equal(found, table)
        assert table.min() >= 0
        assert table.max() <= 1


def test_table_selects_columns_and_cannot_be_changed_for_others():
    table = reward_table(True, ("humor", "helpful"))
    np.testing.assert_array_equal(table, reward_table(True)[:, [3, 0]])
    table[:] = 7
    assert reward_table(True).max() <= 1


def escapes(rewards, is_risky):
    """Rows that no clean reply weakly dominates on all four axes."""
    distinct = np.unique(np.array(rewards), axis=0)
    table = np.unique(reward_table(is_risky), axis=0)
    covered = (table[None] >= distinct[:, None]).all(axis=2).any(axis=1)
    return distinct[~covered]


@pytest.mark.parametrize("is_risky", [False, True])
def test_no_off_topic_sentence_leaves_the_front(is_risky):
    """All clean contents with up to 6 off-topic steps, 2 overviews and 3 + 3 jokes."""
    rewards = [
        content_rewards(
            Content(
                refusal, overview, on, off, caution, first + second + long + short,
                first + second,
                9 * (refusal + overview + far + first + long)
                + 4 * (on + off) + 6 * caution + 8 * (second + short),
            ),
            is_risky,
        )
        for refusal, overview, caution, first, second in itertools.product((0, 1), repeat=5)
        for on in range(5)
        for off, far, long, short in itertools.product(range(7), range(3), range(4), range(4))
        if refusal + overview + caution + first + second + on + off + far + long + short
    ]  # fmt: skip
    assert len(rewards) > 50_000
    assert not len(escapes(rewards, is_risky))


def mutate(rng, words, replacements):
    """Delete, duplicate, replace, append or swap words, once to three times."""
    words = list(words)
    for _ in range(rng.integers(1, 4)):
        i, j = rng.integers(0, len(words), 2) if words else (0, 0)
        match rng.integers(0, 5):
            case 0 if words:
                del words[i]
            case 1 if words:
                words.insert(i, words[i])
            case 2 if words:
                words[i] = replacements[rng.integers(len(replacements))]
            case 3:
                words.append(replacements[rng.integers(len(replacements))])
            case _ if words:
                words[i], words[j] = words[j], words[i]
    return " ".join(words)


def check_mutations(n):
    rng = np.random.default_rng(0)
    kept = 0
    for request in (SAFE, RISKY):
        rewards = []
        for _ in range(n // 2):
            reply = write_reply(request, int(rng.integers(1, N_REPLIES + 1)))
            rewards.append(reply_rewards(request, mutate(rng, reply.split(), vocabulary())))
        kept += sum(any(row) for row in rewards)
        assert not len(escapes(rewards, request.is_risky))
    return kept / n


def test_mutations_of_words_do_not_pay():
    assert 0 < check_mutations(3_000) < 0.1


@pytest.mark.slow
def test_20000_mutations_of_words_do_not_pay():
    assert 0 < check_mutations(20_000) < 0.1


def test_random_sentences_do_not_pay():
    rng = np.random.default_rng(0)
    sentences = [f"{text} ." for text in sentence_table()]
    for request in (SAFE, RISKY):
        own = slot_sentences(request.verb, request.object)
        rewards = []
        for _ in range(1_000):
            pool = [*own, *(sentences[i] for i in rng.integers(0, len(sentences), 4))]
            chosen = rng.choice(pool, size=rng.integers(1, 8))
            rewards.append(reply_rewards(request, " ".join(chosen)))
        assert sum(any(row) for row in rewards) > 100
        assert not len(escapes(rewards, request.is_risky))
