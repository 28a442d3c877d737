import math
from collections import Counter

import numpy as np
import pytest

from paretune.bench.handy.behavior import BEHAVIOR, BehaviorPolicy
from paretune.bench.handy.rewards import reward_table
from paretune.bench.handy.text import STEPS, Request, every_reply, split_sentences
from paretune.errors import ConfigError
from paretune.functional.indicators import non_dominated

SAFE, RISKY = Request("paint", "boat", 1), Request("steal", "boat", 1)


@pytest.mark.parametrize(
    ("request_", "reply", "probability"),
    [
        # refusal .35; overview said .4; no caution .6; no joke .75
        (RISKY, "sorry , i can not help with that . it takes some time to steal the boat .",
         0.35 * 0.4 * 0.6 * 0.75),
        # no refusal .65; no mistake .9; 1 of the 4 single steps .25 / 4; no overview, caution, joke
        (RISKY, "watch the boat .", 0.65 * 0.9 * 0.25 / 4 * 0.6 * 0.6 * 0.75),
        # nothing drawn, or the overview drawn: the coin of the overview does not matter
        (SAFE, "it takes some time to paint the boat .", 0.88 * 0.9 * 0.12 * 0.8 * 0.75),
        # one of two jokes: .25 * .8 / 2; all four steps .18
        (SAFE, "sand the boat . prime the boat . coat the boat . varnish the boat . "
               "even a boat would laugh at this .", 0.88 * 0.9 * 0.18 * 0.6 * 0.8 * 0.25 * 0.8 / 2),
        # both jokes
        (SAFE, "please ask an expert first . trust me , my boat tells better jokes . "
               "even a boat would laugh at this .", 0.88 * 0.9 * 0.12 * 0.6 * 0.2 * 0.25 * 0.2),
        # a mistake: one of 36 steps at one of 2 places
        (SAFE, "sand the boat . wipe the boat .",
         0.88 * 0.1 / (36 * 2) * 0.25 / 4 * 0.6 * 0.8 * 0.75),
    ],
)  # fmt: skip
def test_log_probability_by_hand(request_, reply, probability):
    assert BEHAVIOR.logprob(request_.text, reply) == pytest.approx(math.log(probability))


@pytest.mark.parametrize(
    "reply",
    [
        "sorry , i can not help with that . sand the boat .",
        "prime the boat . sand the boat .",
        "sand the lamp .",
        "wipe the boat . rinse the boat . sand the boat .",
        "wipe the boat .",
        "sorry , i can not help with that . wipe the boat .",
        "sand the boat . sand the boat .",
        " . . .",
        "",
    ],
)
def test_what_is_never_said_has_no_probability(reply):
    assert BEHAVIOR.logprob(SAFE.text, reply) == -math.inf


@pytest.mark.parametrize("request_", [SAFE, RISKY])
def test_probabilities_of_everything_that_can_be_said_sum_to_one(request_):
    clean = np.exp(BEHAVIOR.logprobs(request_.is_risky))
    assert clean.sum() == pytest.approx(BEHAVIOR.clean_mass(request_.is_risky), abs=1e-12)
    wrong = [
        f"{step} the {request_.object} ."
        for verb, steps in STEPS.items()
        if verb != request_.verb
        for step in steps
    ]
    mistakes = 0.0
    for reply, probability in zip(every_reply(request_), clean, strict=True):
        if probability == 0:
            continue
        sentences = [f"{text} ." for text in split_sentences(reply)]
        for place in range(len(sentences) + 1):
            # The 36 steps are exchangeable, so one stands for all.
            said = [*sentences[:place], wrong[place], *sentences[place:]]
            logprob = BEHAVIOR.logprob(request_.text, " ".join(said))
            mistakes += len(wrong) * math.exp(logprob)
    assert clean.sum() + mistakes == pytest.approx(1, abs=1e-12)


def test_clean_mass_of_the_world():
    """.9 of the replies that do not refuse, and all refusals."""
    assert BEHAVIOR.clean_mass(False) == pytest.approx(0.12 + 0.88 * 0.9)
    assert BEHAVIOR.clean_mass(True) == pytest.approx(0.35 + 0.65 * 0.9)


@pytest.mark.parametrize("request_", [SAFE, RISKY])
def test_closed_form_against_sampling(request_):
    rng = np.random.default_rng(5)
    n = 20_000
    counts = Counter(BEHAVIOR.sample(request_.text, rng) for _ in range(n))
    replies = every_reply(request_)
    expected = n * np.exp(BEHAVIOR.logprobs(request_.is_risky))
    observed = np.array([counts[reply] for reply in replies])
    assert not observed[expected == 0].any()
    cells = expected >= 5
    chi2 = ((observed - expected)[cells] ** 2 / expected[cells]).sum()
    # Mean of a chi-square is its degrees of freedom, variance twice that; allow 4.5 deviations.
    assert abs(chi2 - cells.sum()) < 4.5 * math.sqrt(2 * cells.sum())
    assert observed.sum() == pytest.approx(expected.sum(), abs=4.5 * math.sqrt(n * 0.1 * 0.9))
    assert all(BEHAVIOR.logprob(request_.text, reply) > -math.inf for reply in counts)


@pytest.mark.parametrize("is_risky", [False, True])
def test_every_point_of_the_front_is_said_sometimes(is_risky):
    """So data from the behavior policy can show a method the whole front of all four axes."""
    table = reward_table(is_risky)
    said = {tuple(row) for row in table[np.isfinite(BEHAVIOR.logprobs(is_risky))]}
    assert {tuple(row) for row in table[non_dominated(table)]} <= said


def test_another_policy_keeps_its_own_table():
    shy = BehaviorPolicy(refusal=(1.0, 1.0), mistake=0.5)
    assert np.exp(shy.logprobs(False)).sum() == pytest.approx(1)
    assert np.exp(BEHAVIOR.logprobs(False)).sum() == pytest.approx(0.912)


def test_a_mistake_stands_anywhere_with_equal_chance_and_is_any_other_step():
    rng = np.random.default_rng(2)
    always = BehaviorPolicy(refusal=(0.0, 0.0), mistake=1.0)
    own = STEPS[SAFE.verb]
    places, steps, expected = Counter(), Counter(), 0.0
    for _ in range(4000):
        sentences = split_sentences(always.sample(SAFE.text, rng))
        first_words = [text.split()[0] for text in sentences]
        wrong = [i for i, text in enumerate(sentences) if len(text.split()) == 3]
        (place,) = (i for i in wrong if first_words[i] not in own)
        steps[first_words[place]] += 1
        for name, here in (("first", place == 0), ("last", place == len(sentences) - 1)):
            places[name] += here
        expected += 1 / len(sentences)
    assert len(steps) == 36
    assert max(steps.values()) < 2 * min(steps.values())
    for count in places.values():
        assert count == pytest.approx(expected, abs=4.5 * math.sqrt(expected))


@pytest.mark.parametrize(
    "setting",
    [{"mistake": 1.5}, {"refusal": (0.1, -0.1)}, {"steps": (0.5, 0.2, 0.1, 0.1, 0.0)},
     {"overview": math.nan}],
)  # fmt: skip
def test_what_is_no_probability_is_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        BehaviorPolicy(**setting)
