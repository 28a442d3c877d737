from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.question import ANSWERS, Answer, Option, Question, every_question
from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.next_question import (
    NextQuestion,
    choose_question,
    information_gain,
    is_enough,
    random_question,
    shown,
)
from paretune.functional.particles import Prior
from paretune.functional.tradeoff_posterior import TradeOffPosterior, entropy

FRONT = [(0.0, 1.0), (0.3, 0.9), (0.6, 0.7), (0.8, 0.4), (1.0, 0.0)]
OPTIONS = [Option(f"policy-{i}", rewards) for i, rewards in enumerate(FRONT)]
QUESTIONS = every_question(OPTIONS, "how ?")
SMALL = Prior(temperatures=(0.1, 0.5), steps=7)


def chances_of(posterior: TradeOffPosterior, question: Question) -> np.ndarray:
    """``(3,)`` what a posterior expects to hear."""
    logs = posterior.particles.answer_log_chances(
        [question.first.rewards], [question.second.rewards]
    )
    return np.asarray(posterior.chances.ravel() @ np.exp(logs[:, 0]))


class TestInformation:
    def test_two_points_by_hand(self) -> None:
        # Which of two people is asking, 50:50; one says "first" with 0.8, the other with 0.2:
        # log 2 - H(0.8) = 0.6931 - 0.5004. Where both say the same, nothing; where each is sure
        # of another answer, log 2.
        answers = np.array(
            [
                [[0.8, 0.2, 0], [0.5, 0.4, 0.1], [1, 0, 0]],
                [[0.2, 0.8, 0], [0.5, 0.4, 0.1], [0, 0, 1]],
            ]
        )
        hidden = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
        found = information_gain([0.5, 0.5], answers, np.arange(2))
        np.testing.assert_allclose(found, [np.log(2) - hidden, 0, np.log(2)], atol=1e-12)

    def test_uneven_prior_by_hand(self) -> None:
        answers = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]]])
        found = information_gain([0.9, 0.1], answers, np.arange(2))
        assert found == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)))

    def test_what_differs_inside_a_group_is_worth_nothing(self) -> None:
        answers = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]]] * 2)
        p = np.full(4, 0.25)
        assert information_gain(p, answers, np.array([0, 0, 1, 1])) == pytest.approx(0)
        assert information_gain(p, answers, np.array([0, 1, 0, 1])) == pytest.approx(np.log(2))

    def test_many_persons_at_once(self) -> None:
        rng = np.random.default_rng(0)
        p, answers = rng.dirichlet([1] * 12, 5), rng.dirichlet([1] * 3, (12, 7))
        group_of = np.arange(12) % 4
        together = information_gain(p, answers, group_of)
        alone = [information_gain(row, answers, group_of) for row in p]
        np.testing.assert_allclose(together, alone, atol=1e-12)

    def test_particles_differ(self) -> None:
        with pytest.raises(ShapeError, match="as many particles"):
            information_gain([0.5, 0.5], np.zeros((3, 1, 3)), np.arange(3))

    @given(seed=st.integers(0, 1000))
    def test_is_the_expected_fall_of_entropy(self, seed: int) -> None:
        """The identity that makes it worth asking: and so entropy never rises on average."""
        rng = np.random.default_rng(seed)
        posterior = TradeOffPosterior(2, prior=SMALL)
        for _ in range(rng.integers(4)):
            a, b = rng.random((2, 2))
            question = Question(Option("x", tuple(a)), Option("y", tuple(b)))
            posterior = posterior.observe(question, ANSWERS[rng.integers(3)])
        chosen = choose_question(posterior, QUESTIONS)
        assert chosen is not None
        after = [
            entropy(posterior.observe(chosen.question, answer).taste_chances) for answer in ANSWERS
        ]
        fall = entropy(posterior.taste_chances) - chances_of(posterior, chosen.question) @ after
        assert fall == pytest.approx(chosen.gain, abs=1e-8)
        assert fall >= -1e-12


class TestChoose:
    def test_is_the_best_of_all(self) -> None:
        posterior = TradeOffPosterior(2).observe(QUESTIONS[0], "second")
        chosen = choose_question(posterior, QUESTIONS)
        assert chosen is not None
        for question in QUESTIONS[1:]:
            alone = choose_question(posterior, [question])
            assert alone is not None and alone.gain <= chosen.gain + 1e-9

    def test_more_questions_than_are_held_at_once(self) -> None:
        rng = np.random.default_rng(0)
        dull = [
            Question(Option(f"a{i}", (0.5, 0.5)), Option(f"b{i}", (0.5, 0.5 + w)))
            for i, w in enumerate(rng.random(300) / 100)
        ]
        telling = Question(Option("a", (1.0, 0.0)), Option("b", (0.0, 1.0)))
        chosen = choose_question(TradeOffPosterior(2, prior=SMALL), [*dull, telling])
        assert chosen is not None and chosen.question.key == telling.key

    def test_does_not_ask_twice(self) -> None:
        posterior, asked = TradeOffPosterior(2, prior=SMALL), set()
        for _ in QUESTIONS:
            chosen = choose_question(posterior, QUESTIONS)
            assert chosen is not None
            asked.add(chosen.question.key)
            posterior = posterior.observe(chosen.question, "same")
        assert len(asked) == len(QUESTIONS)
        assert choose_question(posterior, QUESTIONS) is None
        assert random_question(posterior, QUESTIONS) is None
        again = every_question(OPTIONS, "why ?")
        assert choose_question(posterior, [*QUESTIONS, *again]) is not None

    def test_the_mirror_of_what_was_asked_is_the_same_question(self) -> None:
        posterior = TradeOffPosterior(2).observe(QUESTIONS[0].mirrored(), "first")
        assert choose_question(posterior, QUESTIONS[:1]) is None

    def test_ties_go_to_the_first(self) -> None:
        twins = [
            Question(Option(f"a{i}", (1.0, 0.0)), Option(f"b{i}", (0.0, 1.0))) for i in range(3)
        ]
        chosen = choose_question(TradeOffPosterior(2, prior=SMALL), twins)
        assert chosen is not None and chosen.question.key == ("", "a0", "b0")

    def test_about_what_can_be_served(self) -> None:
        # Where one policy dominates the other, everybody wants it: nothing to find out.
        posterior = TradeOffPosterior(2)
        decided = choose_question(posterior, QUESTIONS, [[1.0, 0.5], [0.5, 0.5]])
        open_ = choose_question(posterior, QUESTIONS, [[1.0, 0.0], [0.0, 1.0]])
        assert decided is not None and decided.gain == 0
        assert open_ is not None and 0 < open_.gain <= np.log(2)

    def test_not_measured(self) -> None:
        with pytest.raises(NotScoredError):
            choose_question(TradeOffPosterior(2), QUESTIONS, [[0.1, float("nan")]])

    @pytest.mark.parametrize("n_objectives", [2, 3, 4, 5])
    def test_an_objective_that_never_varies(self, n_objectives: int) -> None:
        """Nothing is learned of it by sums, and asking goes on all the same."""
        rng = np.random.default_rng(n_objectives)
        rewards = rng.random((6, n_objectives))
        rewards[:, -1] = 0.5
        options = [Option(str(i), tuple(row)) for i, row in enumerate(rewards)]
        posterior = TradeOffPosterior(n_objectives)
        for _ in range(3):
            chosen = choose_question(posterior, every_question(options), rewards)
            assert chosen is not None and np.isfinite(chosen.gain)
            posterior = posterior.observe(chosen.question, "first")
        found = posterior.estimate()
        assert np.isfinite(found.tradeoff.weights).all()
        assert found.high[-1] - found.low[-1] > 0.1


class TestSides:
    def test_shown_is_a_fair_coin(self) -> None:
        swapped = [shown(QUESTIONS[0], seed) != QUESTIONS[0] for seed in range(400)]
        assert 0.4 < np.mean(swapped) < 0.6
        assert shown(QUESTIONS[0], 7) == shown(QUESTIONS[0], 7)

    def test_who_always_picks_the_left_one_has_no_taste(self) -> None:
        """On average over persons nothing is learned, and few are believed to be sure."""
        means, temperatures = [], []
        prior = Prior(steps=20)
        for seed in range(60):
            posterior = TradeOffPosterior(2, prior=prior)
            for prompt in range(8):
                questions = every_question([OPTIONS[0], OPTIONS[2], OPTIONS[4]], f"{prompt} ?")
                chosen = choose_question(posterior, questions, seed=seed)
                assert chosen is not None
                posterior = posterior.observe(chosen.question, "first")
            found = posterior.estimate()
            means.append(found.tradeoff.weights[0])
            temperatures.append(found.temperature)
        assert np.mean(means) == pytest.approx(0.5, abs=0.06)
        assert np.median(temperatures) > TradeOffPosterior(2, prior=prior).estimate().temperature


class TestRandom:
    def test_every_question_has_its_turn(self) -> None:
        drawn = [random_question(TradeOffPosterior(2), QUESTIONS, seed) for seed in range(200)]
        assert {q.key for q in drawn if q is not None} == {q.key for q in QUESTIONS}

    def test_repeats(self) -> None:
        one = random_question(TradeOffPosterior(2), QUESTIONS, 3)
        assert one == random_question(TradeOffPosterior(2), QUESTIONS, 3)


class TestStop:
    def test_bounds(self) -> None:
        posterior = TradeOffPosterior(2)
        following = choose_question(posterior, QUESTIONS, FRONT)
        assert following is not None
        loss = posterior.best(FRONT).loss
        assert not is_enough(posterior, FRONT, following)
        assert is_enough(posterior, FRONT, following, loss=loss)
        assert not is_enough(posterior, FRONT, following, loss=loss - 1e-9)
        assert is_enough(posterior, FRONT, following, gain=following.gain)
        assert is_enough(posterior, FRONT, None, loss=0, gain=0)
        assert is_enough(posterior, FRONT, NextQuestion(QUESTIONS[0], 0.0), loss=0, gain=0)

    @pytest.mark.parametrize("wrong", [{"loss": -0.1}, {"gain": -0.1}])
    def test_negative(self, wrong: dict[str, float]) -> None:
        with pytest.raises(InputError, match="expected both >= 0"):
            is_enough(TradeOffPosterior(2), FRONT, None, **wrong)

    def test_a_clear_person_is_soon_understood(self) -> None:
        posterior = TradeOffPosterior(2)
        for prompt in range(20):
            questions = every_question(OPTIONS, f"{prompt} ?")
            following = choose_question(posterior, questions, FRONT)
            if is_enough(posterior, FRONT, following):
                break
            assert following is not None
            rated = [o.rewards[0] for o in (following.question.first, following.question.second)]
            answer: Answer = "first" if rated[0] > rated[1] else "second"
            posterior = posterior.observe(following.question, answer)
        assert 2 <= len(posterior.answers) <= 8
        assert posterior.best(FRONT).index == 4


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_asking_well_beats_asking_at_random(n_objectives: int) -> None:
    """Over seeded users, after five questions: less entropy and less utility lost."""
    rng = np.random.default_rng(n_objectives)
    prior = Prior(temperatures=(0.1, 0.3), same=(0.5,), steps=9)
    angles = np.sort(rng.random((12, n_objectives)))
    front = angles / np.linalg.norm(angles, axis=1, keepdims=True)
    options = [Option(str(i), tuple(row)) for i, row in enumerate(front)]
    questions = [Question(a, b) for a, b in combinations(options, 2)]
    left: dict[str, list[float]] = {"chosen": [], "random": []}
    for person in range(30):
        known = TradeOffPosterior(n_objectives, prior=prior).particles
        taste = int(rng.integers(known.n_tastes))
        for name, found in left.items():
            posterior = TradeOffPosterior(n_objectives, prior=prior)
            for _ in range(5):
                if name == "chosen":
                    following = choose_question(posterior, questions, seed=person)
                    question = following.question if following else None
                else:
                    question = random_question(posterior, questions, seed=person)
                assert question is not None
                logs = known.answer_log_chances([question.first.rewards], [question.second.rewards])
                chance = np.exp(logs[taste * known.n_noises, 0])
                posterior = posterior.observe(question, ANSWERS[rng.choice(3, p=chance)])
            found.append(entropy(posterior.taste_chances))
    assert np.mean(left["chosen"]) < np.mean(left["random"]) - 0.1
