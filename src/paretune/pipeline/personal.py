"""Personalization measured: what a few-shot policy prefers and writes for users it never met."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from paretune.core.job import Shown, TrainingJob
from paretune.core.policy import Steering
from paretune.core.record import Prompt
from paretune.core.shots import FewShot
from paretune.engines.lm.encode import Encoded, Encoder, Ragged
from paretune.engines.lm.few_shot import Visits, encode_visits
from paretune.engines.lm.shot_budget import words_of
from paretune.functional.few_shot_prompt import description_prefix, split_generated
from paretune.functional.losses import PairBatch
from paretune.pipeline.folder import Sealed
from paretune.pipeline.replies import positions_of
from paretune.pipeline.shown import asking, description_tokens, in_unit_range, shot_encoder
from paretune.pipeline.tasks import Place, Progress, context
from paretune.pipeline.user_questions import (
    Condition,
    Questions,
    pair_conditions,
    reply_questions,
)
from paretune.scoring.score import score_responses

PAIRS, USER_REPLIES = "pairs.npz", "replies.jsonl"
POLICY = "policy"

Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class UserTask:
    """Ask the policy of one few-shot method on behalf of new users.

    It writes ``pairs.npz``: the trade-offs of the new users, ``user_weights (U, M)``, and of each
    condition of :func:`~paretune.pipeline.user_questions.pair_conditions` the columns
    ``<condition>_example_of``, ``_user_of``, ``_comparison_of``, ``_n_shots`` and ``_margins``, a
    row a pair; and ``replies.jsonl``, a line a reply. A margin is the log-ratio of policy and
    reference for the response that the user prefers, minus that for the other one: as the loss of
    the training sees it, so a token where that is length-normalized, and summed otherwise.

    Args:
        method: name of the method in the results.
        steering: of the method, at any trade-off: how prompts show pairs.
        job: the one that trained the policy.
        policy: its folder.
        reference: folder of the reference policy of the job; ``None`` for the base.
        sealed: the folder it makes.
        needs: tasks that must be done before.
        weight: rough cost, for progress.
    """

    method: str
    steering: Steering
    job: TrainingJob
    policy: Path
    reference: Path | None
    sealed: Sealed
    needs: tuple[str, ...]
    weight: float

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.method}/{self.sealed.path.name}"

    @property
    def shots(self) -> FewShot:
        """How prompts show pairs when the policy is served."""
        assert self.steering.shots is not None
        return self.steering.shots

    def perform(self, place: Place, progress: Progress) -> None:
        """Ask for pairs and replies, first the policy, then its reference, and write both."""
        here, config, started = context(place), place.config, time.process_time()
        bank, source = here.job_data.data, self.job.source
        assert isinstance(source, Shown)
        data = in_unit_range(bank)
        new = asking(data, source, "test", config.seed)
        with self.sealed.writing() as (folder, facts):
            policy = _load(self.policy, place)
            encoder = shot_encoder(
                here.encoder, self.shots, positions_of(policy.config), bank.rewards.objectives
            )
            conditions = pair_conditions(data, encoder, source, self.shots, config.seed)
            questions = reply_questions(new, here.test_prompts, self.shots, config.seed)
            forms = reply_forms(self.shots)
            steps = iter(range(1, 2 * len(conditions) + len(forms) + 1))
            total = 2 * len(conditions) + len(forms)

            def step(value: Any) -> Any:
                progress(next(steps), total)
                return value

            room = description_tokens(encoder, self.shots, bank.rewards.objectives)
            writer = _Writer(encoder, place, room)
            if self.shots.description == "generate":
                conditions = {n: _described(policy, writer, c) for n, c in conditions.items()}
            encoded = {n: encode_visits(encoder, c.visits)[0] for n, c in conditions.items()}
            own = {n: step(_logps(policy, rows, encoder)) for n, rows in encoded.items()}
            texts: dict[str, list[str]] = {
                by: step(writer.texts(policy, questions.ids(encoder, form, data)))
                for by, form in forms.items()
                if by != "reference"
            }
            del policy  # one model at a time
            model = _load(self.reference, place)
            reference = {n: step(_logps(model, rows, encoder)) for n, rows in encoded.items()}
            form = forms["reference"]
            texts["reference"] = step(writer.texts(model, questions.ids(encoder, form, data)))
            margins = {
                n: pair_margins(self.job, c.visits, encoded[n], own[n], reference[n])
                for n, c in conditions.items()
            }
            weights = np.array([user.tradeoff.weights for user in new.users])
            np.savez(folder / PAIRS, **_columns(conditions, margins), user_weights=weights)
            _write_replies(folder / USER_REPLIES, place, questions, texts)
            facts.update(
                seconds=round(time.process_time() - started, 3),
                users=len(new.users),
                descriptions=told_apart(
                    encoder, [words_of(u, bank.rewards.objectives) for u in new.users]
                ),
                pairs={n: len(m) for n, m in margins.items()},
            )


def reply_forms(shots: FewShot) -> dict[str, FewShot]:
    """Who replies, and what the prompt tells of the user.

    Args:
        shots: how prompts show pairs when the policy is served.

    Returns:
        ``policy`` and ``reference`` with the user's own pairs; ``zero-shot`` with nothing about
        the user; ``described`` with the user in words and no pair, for policies that were trained
        with descriptions in the prompt.

    Example:
        >>> {by: form.n_shots[1] for by, form in reply_forms(FewShot()).items()}
        {'policy': 4, 'reference': 4, 'zero-shot': 0}
    """
    bare = replace(shots, n_shots=(0, 0), shows_weights=False)
    is_given = shots.description == "given"
    forms = {
        POLICY: shots,
        "reference": shots,
        # A policy that writes descriptions itself is not told anything by being asked for one.
        "zero-shot": replace(bare, description="none") if is_given else bare,
    }
    return forms | ({"described": bare} if is_given else {})


def pair_margins(
    job: TrainingJob, visits: Visits, encoded: Encoded, own: Floats, reference: Floats
) -> Floats:
    """How much a policy prefers the response that each visit's user prefers.

    Args:
        job: that trained the policy: its ``step_loss`` says whether log-ratios are a token.
        visits: V of them.
        encoded: their ids.
        own: ``(2V,)`` log-probabilities under the policy, nats.
        reference: the same under the reference policy, with the same prompts.

    Returns:
        ``(V,)`` nats, a token or summed; > 0 where the policy agrees with the user.
    """
    pairs = [torch.from_numpy(column.astype(np.float64)) for column in (own, reference)]
    lengths = torch.from_numpy(encoded.responses.lengths.astype(np.float64))
    (chosen, rejected), (ref_chosen, ref_rejected), (n_chosen, n_rejected) = (
        column.view(-1, 2).unbind(1) for column in (*pairs, lengths)
    )
    batch = PairBatch(
        chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected,
        torch.from_numpy(visits.data.labels),
    )  # fmt: skip
    found = batch.log_ratio_margin if job.step_loss is None else job.step_loss.margins(batch)
    return np.asarray(found.numpy())


def told_apart(encoder: Encoder, texts: Sequence[str]) -> tuple[int, int]:
    """How many different texts there are, and how many are left as tokens.

    A tokenizer without the words of a description makes all descriptions one.
    """
    distinct = sorted(set(texts))
    ids, _ = encoder.encode_responses(distinct)
    return len(distinct), len({tuple(ids[n].tolist()) for n in range(len(distinct))})


def read_pairs(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The columns of ``pairs.npz``."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_user_replies(path: Path, objectives: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By who replied (``policy`` or an opponent): user_of, prompt_of, texts, rewards."""
    with path.open(encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    found: dict[str, dict[str, Any]] = {}
    for by in dict.fromkeys(row["by"] for row in rows):
        mine = [row for row in rows if row["by"] == by]
        found[by] = {
            "user_of": np.asarray([row["user"] for row in mine], dtype=np.int64),
            "prompt_of": np.asarray([row["prompt"] for row in mine], dtype=np.int64),
            "texts": [row["reply"] for row in mine],
            "rewards": np.asarray(
                [[row["rewards"][name] for name in objectives] for row in mine], dtype=np.float64
            ),
        }
    return found


def _load(folder: Path | None, place: Place) -> Any:
    from paretune.engines.lm.models import load_base, load_policy

    if folder is None:
        return load_base(place.base, is_frozen=True, quantize=place.config.quantize)
    return load_policy(folder, place.base, quantize=place.config.quantize)


def _logps(model: Any, encoded: Encoded, encoder: Encoder) -> Floats:
    from paretune.engines.lm.reference import reference_logps

    return reference_logps(model, encoded, np.arange(len(encoded.responses)), encoder.pad_id)


@final
class _Writer:
    """Draws replies as the run decodes; every policy draws with the same random numbers."""

    def __init__(self, encoder: Encoder, place: Place, room: int) -> None:
        self._encoder, self._place, self._room = encoder, place, room

    def texts(self, model: Any, ids: Ragged) -> list[str]:
        """One answer a prompt, descriptions left out."""
        made = self._raw(model, ids, self._place.config.generate.max_new_tokens + self._room)
        return [split_generated(text)[1] for text in made] if self._room else made

    def prefixes(self, model: Any, ids: Ragged) -> tuple[str, ...]:
        """How replies begin that describe the user first; empty where the policy does not."""
        made = (split_generated(text)[0] for text in self._raw(model, ids, self._room, 0.0))
        return tuple(description_prefix(words) if words else "" for words in made)

    def _raw(
        self, model: Any, ids: Ragged, n_tokens: int, temperature: float | None = None
    ) -> list[str]:
        from paretune.engines.lm.forward import fast_dtype
        from paretune.engines.lm.generate import Decoding, generate

        config, encoder = self._place.config, self._encoder
        asked = config.generate
        warmth = asked.temperature if temperature is None else temperature
        decoding = Decoding(n_tokens, warmth, asked.top_p, config.seed, asked.rows)
        replies = generate(
            model, ids, int(encoder.tokenizer.eos_token_id), encoder.pad_id, decoding,
            dtype=fast_dtype(next(model.parameters()).device),
        )  # fmt: skip
        return encoder.decode([reply for (reply,) in replies])


def _described(model: Any, writer: _Writer, condition: Condition) -> Condition:
    """The same questions after the policy's own words about the user, not the true ones."""
    prefixes = writer.prefixes(model, condition.visits.prompt_ids)
    return replace(condition, visits=replace(condition.visits, prefixes=prefixes))


def _columns(
    conditions: Mapping[str, Condition], margins: Mapping[str, Floats]
) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {}
    for name, condition in conditions.items():
        rows = condition.visits.example_of
        columns[f"{name}_example_of"] = rows
        columns[f"{name}_user_of"] = condition.queries.user_of[rows]
        columns[f"{name}_comparison_of"] = condition.queries.comparison_of[rows]
        columns[f"{name}_n_shots"] = condition.visits.n_shots
        columns[f"{name}_margins"] = margins[name]
    return columns


def _write_replies(
    path: Path, place: Place, questions: Questions, texts: Mapping[str, list[str]]
) -> None:
    """One JSON line a reply: user, prompt number, whose reply, text, rewards as judged."""
    here, objectives = context(place), place.config.objectives
    prompts: list[Prompt] = [here.test_prompts[int(n)] for n in questions.prompt_of]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for by, replies in texts.items():
            rewards = score_responses(prompts, replies, here.scorers("judges"))
            for row, text in enumerate(replies):
                line = {
                    "user": int(questions.user_of[row]),
                    "prompt": int(questions.prompt_of[row]),
                    "by": by,
                    "reply": text,
                    "rewards": dict(zip(objectives, map(float, rewards[row]), strict=True)),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
