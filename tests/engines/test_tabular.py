from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.core.job import PairOrder, Pool, Replies, TrainingJob
from paretune.core.objective import Objectives
from paretune.core.policy import Steering
from paretune.core.record import Message, PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError, RunError, ShapeError
from paretune.functional.losses import PairBatch, dpo_loss, weighted_dpo_loss
from paretune.functional.pairing import keep_labelled, order_by_objective
from paretune.functional.select import select_all

EVEN = TradeOff.even(2)
REFERENCE = torch.log_softmax(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]).double(), -1)
REWARDS = torch.tensor([[[0, 3], [1, 2], [2, 1]], [[1, 0], [0, 1], [3, 3]]]).double()


def make_data(
    comparisons: list[tuple[int, int, float, float]], counts: Any = None
) -> PreferenceData:
    columns = np.array(comparisons, dtype=float).reshape(-1, 4)
    return PreferenceData(
        prompts=("p", "q"),
        texts=tuple("abcdef"),
        prompt_of=np.array([0, 0, 0, 1, 1, 1]),
        rewards=RewardMatrix(Objectives.of("x", "y"), REWARDS.numpy().reshape(6, 2)),
        first=columns[:, 0].astype(np.int64),
        second=columns[:, 1].astype(np.int64),
        labels=columns[:, 2:],
        multiplicity=None if counts is None else np.array(counts, dtype=float),
    )


ACTIONS = np.array([0, 1, 2, 0, 1, 2])
NOISY = [
    (0, 1, 1.0, -1.0),
    (0, 1, 1.0, 1.0),
    (0, 1, -1.0, 1.0),
    (1, 2, 1.0, 1.0),
    (1, 2, -1.0, -1.0),
]


def engine(comparisons: Any = NOISY, counts: Any = None, **more: Any) -> TabularEngine:
    return TabularEngine(Table(REFERENCE), make_data(comparisons, counts), ACTIONS, REWARDS, **more)


def sft(name: str = "sft", rows: Any = select_all, **more: Any) -> TrainingJob:
    return TrainingJob(name, "sft", EVEN, rows, **more)


def dpo(name: str = "dpo", index: int = 0, beta: float = 1.0, **more: Any) -> TrainingJob:
    rule, loss = partial(order_by_objective, index=index), partial(dpo_loss, beta=beta)
    return TrainingJob(name, "pairwise", EVEN, rule, loss, **more)


def only(row: int, pool: Pool) -> np.ndarray:
    return np.array([row])


def pick(name: str) -> Steering:
    return Steering("pick", (name,), (1.0,), EVEN)


def policy(table: TabularEngine, *jobs: TrainingJob) -> Tensor:
    """The policy of the last job."""
    return table.steered(table.train(jobs), pick(jobs[-1].id))


class TestPairwise:
    def test_by_hand(self) -> None:
        """Of three comparisons of two actions two prefer the first: log-odds log 2 over beta."""
        found = policy(engine(), dpo(beta=0.5))
        ratio = found - REFERENCE
        assert float(ratio[0, 0] - ratio[0, 1]) == pytest.approx(2 * np.log(2), abs=1e-5)
        assert float(ratio[0, 1] - ratio[0, 2]) == pytest.approx(0, abs=1e-5)
        torch.testing.assert_close(found[1], REFERENCE[1], atol=1e-9, rtol=0)

    def test_flipped_pairs_choose_the_second(self) -> None:
        found = policy(engine(), dpo(index=1)) - REFERENCE
        # Objective y: one of three prefers the first.
        assert float(found[0, 0] - found[0, 1]) == pytest.approx(np.log(2), abs=1e-5)

    def test_labels_turn_with_the_pair(self) -> None:
        """A loss that reads the labels must not care which side a rule calls chosen."""
        rules = [partial(keep_labelled, weights=(0.3, 0.7)), partial(order_by_objective, index=0)]
        loss = partial(weighted_dpo_loss, beta=1.0, weights=(0.3, 0.7))
        jobs = [TrainingJob(f"j{i}", "pairwise", EVEN, r, loss) for i, r in enumerate(rules)]
        table = engine()
        trained = table.train(jobs)
        policies = [table.steered(trained, pick(job.id)) for job in jobs]
        assert total_variation(*policies) < 1e-6
        assert total_variation(policies[0], REFERENCE) > 0.01

    def test_multiplicity_counts_like_repeats(self) -> None:
        repeated = [c for c, n in zip(NOISY, (1, 3, 2, 1, 2), strict=True) for _ in range(n)]
        counted = policy(engine(NOISY, (0.5, 1.5, 1.0, 0.5, 1.0)), dpo())
        assert total_variation(policy(engine(repeated), dpo()), counted) < 1e-6
        assert total_variation(policy(engine(), dpo()), counted) > 0.01

    def test_reference_and_tokens_reach_the_loss(self) -> None:
        seen: list[PairBatch] = []

        def spy(batch: PairBatch) -> Tensor:
            seen.append(batch)
            return dpo_loss(batch, beta=1.0)

        job = dataclasses.replace(dpo(), loss=spy)
        engine([(0, 1, 1.0, 0.5), (5, 4, -1.0, np.nan), *NOISY[1:]]).train([job])
        batch = seen[0]
        torch.testing.assert_close(batch.ref_chosen[:2], REFERENCE[[0, 1], [0, 1]])
        torch.testing.assert_close(batch.ref_rejected[:2], REFERENCE[[0, 1], [1, 2]])
        assert torch.equal(batch.chosen_tokens, torch.ones(6).double())
        expected = torch.tensor([[1.0, 0.5], [1.0, torch.nan]]).double()
        torch.testing.assert_close(batch.labels[:2], expected, equal_nan=True)

    def test_keys_come_from_the_seed(self) -> None:
        seen: list[np.ndarray] = []

        def rule(labels: np.ndarray, keys: np.ndarray) -> PairOrder:
            seen.append(keys)
            return order_by_objective(labels, keys, index=0)

        for seed in (0, 0, 1):
            engine(seed=seed).train([dataclasses.replace(dpo(), rows=rule)])
        assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).all()
        assert seen[0].dtype == np.uint64 and len(seen[0]) == len(NOISY)


class TestPlan:
    def test_a_job_starts_where_another_ended(self) -> None:
        # Fine-tuning on context p leaves context q where the first job put it.
        first, second = sft("one", partial(only, 5)), sft("two", partial(only, 0), start="one")
        found = policy(engine(), first, second)
        assert found.exp()[0, 0] > 0.999 and found.exp()[1, 2] > 0.999

    def test_order_of_the_plan_does_not_matter(self) -> None:
        jobs = [sft("two", partial(only, 0), start="one"), sft("one", partial(only, 5))]
        there, back = engine().train(jobs), engine().train(jobs[::-1])
        assert set(there) == {"one", "two"}
        assert all(torch.equal(there[name], back[name]) for name in there)

    def test_jobs_do_not_touch_each_other(self) -> None:
        alone = engine().train([dpo("a")])["a"]
        assert torch.equal(engine().train([dpo("a"), dpo("b", start="a", index=1)])["a"], alone)

    @pytest.mark.parametrize("model", [Table(REFERENCE), TanhNetwork(REFERENCE)])
    def test_both_policies_reach_the_same_minimum(self, model: Table | TanhNetwork) -> None:
        table = dataclasses.replace(engine(), model=model)
        # Context q has no comparison; only a network moves it along.
        assert total_variation(policy(table, dpo())[:1], policy(engine(), dpo())[:1]) < 1e-6


class TestReplies:
    def pool(self, table: TabularEngine, source: Replies, **more: Any) -> Pool:
        seen: list[Pool] = []

        def rule(pool: Pool) -> np.ndarray:
            seen.append(pool)
            return np.array([0])

        jobs = [sft("a", partial(only, 2)), sft("b", partial(only, 5))]
        table.train([*jobs, sft("c", rule, source=source, **more)])
        return seen[0]

    def test_rows_are_replies_of_the_named_jobs_with_their_rewards(self) -> None:
        pool = self.pool(engine(), Replies(("a", "b"), prompts=600, per_prompt=2))
        assert len(pool.rewards) == 2 * 600 * 2
        action = pool.text_of - pool.prompt_of * 3
        np.testing.assert_array_equal(pool.rewards, REWARDS.numpy()[pool.prompt_of, action])
        np.testing.assert_array_equal(np.bincount(pool.prompt_of), [1200, 1200])
        # a answers "c" in context p and like the reference in q; b the other way round.
        by_a, by_b = action[:1200], action[1200:]
        in_p = pool.prompt_of[:1200] == 0
        assert (by_a[in_p] == 2).mean() > 0.99 and (by_b[~in_p] == 2).mean() > 0.99
        share = np.bincount(by_a[~in_p], minlength=3) / 600
        np.testing.assert_allclose(share, REFERENCE[1].exp().numpy(), atol=0.06)

    def test_temperature_and_nucleus(self) -> None:
        source = Replies(("base",), prompts=200, temperature=0.5, top_p=0.5)
        pool = self.pool(engine(), source)
        action = pool.text_of - pool.prompt_of * 3
        assert set(action[pool.prompt_of == 0]) == {1} and set(action[pool.prompt_of == 1]) <= {
            0,
            1,
        }

    def test_drawn_by_the_seed_and_the_source(self) -> None:
        source = Replies(("base",), prompts=50)
        same = [self.pool(engine(), source).text_of for _ in range(2)]
        np.testing.assert_array_equal(*same)
        for other in (
            self.pool(engine(seed=1), source),
            self.pool(engine(), dataclasses.replace(source, top_p=0.999)),
        ):
            assert (other.text_of != same[0]).any()

    def test_every_context_replies_at_least_once(self) -> None:
        pool = self.pool(engine(), Replies(("base",), prompts=1))
        np.testing.assert_array_equal(pool.prompt_of, [0, 1])

    def test_with_the_records(self) -> None:
        pool = self.pool(engine(), Replies(("base",), prompts=10, with_offline=True))
        assert len(pool.rewards) == 6 + 10
        np.testing.assert_array_equal(pool.text_of[:6], np.arange(6))
        np.testing.assert_array_equal(pool.rewards[:6], REWARDS.numpy().reshape(6, 2))
        np.testing.assert_array_equal(pool.rounds, [0] * 6 + [1] * 10)

    @pytest.mark.parametrize("with_offline", [False, True])
    def test_pairwise_compares_replies_to_the_same_prompt(self, with_offline: bool) -> None:
        seen: list[np.ndarray] = []

        def rule(labels: np.ndarray, keys: np.ndarray) -> PairOrder:
            seen.append(labels)
            return order_by_objective(labels, keys, index=0)

        source = Replies(("base",), prompts=400, per_prompt=2, with_offline=with_offline)
        job = dataclasses.replace(dpo(beta=1.0), rows=rule, source=source)
        found = policy(engine(), job)
        labels = seen[0][len(NOISY) if with_offline else 0 :]
        # At most one comparison a prompt; equal replies are none.
        assert 150 < len(labels) < 300 and np.isin(labels, (-1, 0, 1)).all()
        # In context p the objectives disagree always, in q they agree on the best reply.
        best = found.exp().argmax(-1)
        assert best.tolist() == [2, 2]

    def test_rewards_are_needed(self) -> None:
        blind = dataclasses.replace(engine(), rewards=None)
        with pytest.raises(InputError, match="'c': found replies and no rewards"):
            blind.train([sft("c", source=Replies(("base",), prompts=1))])


class TestCondition:
    def ask(self, prompt: str, *told: object) -> str:
        return {"p": "q", "q": "p"}[prompt]

    def test_trains_and_answers_through_the_prompt(self) -> None:
        job = sft(rows=partial(only, 2), condition=self.ask)
        table = engine()
        trained = table.train([job])
        plain = table.steered(trained, pick("sft")).exp()
        # The row is of context p; its prompt reads q.
        assert plain[1, 2] > 0.999 and total_variation(plain[:1].log(), REFERENCE[:1]) < 1e-9
        steering = Steering("condition", ("sft",), (1.0,), EVEN, condition=self.ask)
        torch.testing.assert_close(table.steered(trained, steering).exp(), plain[[1, 0]])
        torch.testing.assert_close(table.steered(trained, steering, [0]).exp(), plain[[1]])

    def test_must_lead_to_a_context(self) -> None:
        with pytest.raises(InputError, match="conditioned prompt 'elsewhere', expected a context"):
            engine().train([sft(condition=lambda prompt, given, normalizer: "elsewhere")])

    def test_the_last_turn_of_a_conversation(self) -> None:
        turns = (Message("user", "hi"), Message("user", "p"))
        data = dataclasses.replace(make_data(NOISY), prompts=(turns, "q"))
        table = dataclasses.replace(engine(), data=data)
        found = policy(table, sft(rows=partial(only, 2), condition=self.ask))
        assert found.exp()[1, 2] > 0.999


class TestSteering:
    experts = (dpo("a"), dpo("b", index=1))

    def test_base(self) -> None:
        torch.testing.assert_close(engine().steered({}, pick("base")), REFERENCE)
        torch.testing.assert_close(engine().steered({}, pick("base"), [1, 1]), REFERENCE[[1, 1]])

    def test_merge_and_mix_by_hand(self) -> None:
        table = engine()
        trained = table.train(self.experts)
        a, b = (table.steered(trained, pick(name)) for name in "ab")
        expected = torch.log_softmax(0.25 * a + 0.75 * b, dim=-1)
        for kind in ("merge", "mix"):
            steering = Steering(kind, ("a", "b"), (0.25, 0.75), TradeOff((0.25, 0.75)))
            torch.testing.assert_close(table.steered(trained, steering), expected)

    def test_merging_with_the_base_weakens(self) -> None:
        table = engine()
        trained = table.train(self.experts)
        half = Steering("merge", ("a", "base"), (0.5, 0.5), EVEN)
        a = table.steered(trained, pick("a"))
        expected = torch.log_softmax(0.5 * a + 0.5 * REFERENCE, dim=-1)
        torch.testing.assert_close(table.steered(trained, half), expected)


class TestErrors:
    def test_group(self) -> None:
        with pytest.raises(InputError, match="'dpo': found group 'heads', expected none"):
            engine().train([dpo(group="heads")])

    def test_nothing_to_train_on(self) -> None:
        with pytest.raises(InputError, match="'dpo': its pair rule kept none of 0 comparisons"):
            engine([]).train([dpo()])
        with pytest.raises(InputError, match="'sft': its row rule chose none of 6 rows"):
            engine().train([sft(rows=lambda pool: np.zeros(0, dtype=np.int64))])

    def test_a_pairwise_job_needs_a_loss(self) -> None:
        with pytest.raises(InputError, match="found a pairwise job without a loss"):
            engine().train([dataclasses.replace(dpo(), loss=None)])

    def test_plan_that_cannot_run(self) -> None:
        with pytest.raises(ConfigError, match="not planned"):
            engine().train([dpo(start="elsewhere")])

    def test_no_minimum_to_reach(self) -> None:
        job = dataclasses.replace(dpo(), loss=lambda batch: -batch.log_ratio_margin)
        with pytest.raises(RunError, match=r"'dpo': found a gradient of .*, expected at most"):
            engine().train([job])

    def test_hard_labels_end_where_the_loss_is_flat(self) -> None:
        found = policy(engine([(0, 1, 1.0, 1.0)]), dpo())
        assert float(found.exp()[0, 1]) < 1e-6

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model": Table(REFERENCE[:1])}, "found 2 prompts, expected 1"),
            ({"action_of": ACTIONS[:5]}, r"found action_of \(5,\), expected \(6,\)"),
            ({"rewards": REWARDS[:, :2]}, r"found rewards \(2, 2, 2\), expected \(2, 3, M\)"),
        ],
    )
    def test_columns_must_fit_the_table(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ShapeError, match=message):
            dataclasses.replace(engine(), **change)
