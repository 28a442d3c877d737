"""What worker processes do: train one job, or let one policy reply. All state is on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from paretune.core.job import Replies, TrainingJob
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData, Prompt, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import InputError
from paretune.functional.collapse import collapse_cause
from paretune.pipeline.comparisons import Materials, read_materials
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.records import read_test_prompts
from paretune.pipeline.replies import (
    candidate_utility,
    draw,
    load_steered,
    read_replies,
    score_drawn,
    write_replies,
)
from paretune.pipeline.rewards import Role, read_normalizer, scorers
from paretune.pipeline.worlds import world_of
from paretune.scoring.score import score_responses
from paretune.scoring.scorer import Scorer

if TYPE_CHECKING:
    from paretune.engines.lm.checkpoints import Checkpoints

Progress = Callable[[int, int], None]
REPLIES = "replies.jsonl"


@final
@dataclass(frozen=True)
class Place:
    """Where a task works: it finds everything else on disk.

    Args:
        config: of the run.
        run: folder of the run.
        base: path or hub id of the base.
    """

    config: RunConfig
    run: RunFolder
    base: str


class Task(Protocol):
    """A piece of work whose result is a sealed folder."""

    @property
    def id(self) -> str:
        """Unique in the run."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""

    @property
    def method(self) -> str:
        """Name of the method it belongs to."""

    @property
    def weight(self) -> float:
        """Rough cost, for progress."""

    @property
    def sealed(self) -> Sealed:
        """The folder it makes."""

    def perform(self, place: Place, progress: Progress) -> None:
        """Do it, in a worker."""


@final
@dataclass(frozen=True)
class TrainTask:
    """Train one job of one method, or the jobs of one group together.

    Args:
        method: name of the method in the results.
        jobs: one, or all of a group.
        start: folder of the policy it goes on from; ``None`` for the base.
        settings: of the run, for this method.
        sealed: the folder: the policy itself, or of a group one folder a policy.
        needs: tasks that must be done before.
        weight: rough cost, for progress.
    """

    method: str
    jobs: tuple[TrainingJob, ...]
    start: Path | None
    settings: TrainSettings
    sealed: Sealed
    needs: tuple[str, ...]
    weight: float

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.method}/{self.sealed.path.name}"

    @property
    def folders(self) -> dict[str, Path]:
        """Folder of every policy it makes, by job."""
        if self.jobs[0].group is None:
            return {self.jobs[0].id: self.sealed.path}
        return {job.id: self.sealed.path / job.id for job in self.jobs}

    @property
    def _checkpoints(self) -> Checkpoints | None:
        """Beside the folder it makes, and of these very inputs: no other job goes on from them."""
        from paretune.engines.lm.checkpoints import Checkpoints

        minutes, path = self.settings.checkpoint_minutes, self.sealed.path
        name = f".{path.name}.checkpoints-{self.sealed.identity[:16]}"
        return Checkpoints(path.with_name(name), minutes) if minutes else None

    def perform(self, place: Place, progress: Progress) -> None:
        """Train and save the policies, going on from where a killed run stopped."""
        from paretune.engines.lm.jobs import train_jobs
        from paretune.engines.lm.models import load_tokenizer

        here, job = _context(place), self.jobs[0]
        inputs = here.job_data
        if isinstance(job.source, Replies):
            inputs = _reply_data(place, self.method, job.source)
        settings = replace(self.settings, seed=self.settings.seed + place.config.seed)
        with self.sealed.writing() as (folder, facts):
            model = _start_model(place, self.start, settings)
            losses: list[float] = []

            def watch(step: int, steps: int, numbers: Any) -> None:
                if "loss" in numbers:  # the library's last log line holds totals instead
                    losses.append(numbers["loss"])
                place.run.log({"stage": 4, "task": self.id, "step": step, **numbers})
                progress(step, steps)

            save, cost = train_jobs(
                self.jobs, inputs, model, here.encoder.pad_id, settings, folder, watch,
                self._checkpoints,
            )  # fmt: skip
            staged = [folder / path.relative_to(self.sealed.path) for path in self.folders.values()]
            save(load_tokenizer(place.base), staged)
            facts.update(
                seconds=round(cost.seconds, 3), tokens=cost.tokens, steps=cost.steps,
                rows=cost.rows, last_loss=losses[-1] if losses else None,
                **({"floors": cost.floors} if cost.floors else {}),
            )  # fmt: skip
        if self._checkpoints is not None:
            self._checkpoints.clear()


@final
@dataclass(frozen=True)
class RoundTask:
    """Replies of one job to training prompts, for jobs that learn from them."""

    method: str
    job_id: str
    policy: Path | None
    source: Replies
    sealed: Sealed
    needs: tuple[str, ...]
    weight: float

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.method}/{self.sealed.path.name}"

    def perform(self, place: Place, progress: Progress) -> None:
        """Draw, reward and write the replies."""
        from paretune.engines.lm.generate import Decoding

        here = _context(place)
        prompts = _round_prompts(here.job_data.data, self.source, place.config.seed)
        source, generate = self.source, place.config.generate
        decoding = Decoding(
            generate.max_new_tokens, source.temperature, source.top_p, place.config.seed + 1,
            generate.rows,
        )  # fmt: skip
        steering = Steering("pick", (self.job_id,), (1.0,), _any_tradeoff(place))
        with self.sealed.writing() as (folder, facts):
            model = load_steered(
                steering,
                {self.job_id: self.policy} if self.policy else {},
                place.base,
                place.config.quantize,
            )
            drawn = draw(
                model, here.encoder, prompts, steering, decoding, source.per_prompt,
                progress=progress,
            )  # fmt: skip
            rewards = score_drawn(drawn, prompts, here.scorers("rewards"))
            write_replies(folder / REPLIES, drawn, rewards, place.config.objectives)
            facts.update(seconds=round(drawn.seconds, 3), tokens=drawn.n_tokens)


@final
@dataclass(frozen=True)
class ReplyTask:
    """Replies of one method at one trade-off to the evaluation prompts."""

    method: str
    steering: Steering
    policies: Mapping[str, Path]
    sealed: Sealed
    needs: tuple[str, ...]
    weight: float

    @property
    def id(self) -> str:
        """Unique in the run."""
        return f"{self.method}/replies/{self.sealed.path.name}"

    def perform(self, place: Place, progress: Progress) -> None:
        """Draw, judge and write the replies."""
        from paretune.engines.lm.generate import Decoding

        config, here, steering = place.config, _context(place), self.steering
        prompts = here.test_prompts
        generate = config.generate
        decoding = Decoding(
            generate.max_new_tokens, generate.temperature, generate.top_p, config.seed,
            generate.rows,
        )  # fmt: skip

        def rate(prompt_of: Any, texts: list[str]) -> Any:
            asked = [prompts[int(n)] for n in prompt_of]
            rewards = score_responses(asked, texts, here.scorers("rewards"))
            return candidate_utility(steering, read_normalizer(config, place.run), rewards)

        with self.sealed.writing() as (folder, facts):
            model = load_steered(steering, self.policies, place.base, config.quantize)
            drawn = draw(
                model, here.encoder, prompts, steering, decoding, config.evaluate.draws, rate,
                progress,
            )  # fmt: skip
            rewards = score_drawn(drawn, prompts, here.scorers("judges"))
            world = world_of(config)
            well_formed = world and [
                world.is_well_formed(str(prompts[int(n)]), text)
                for n, text in zip(drawn.prompt_of, drawn.texts, strict=True)
            ]
            write_replies(folder / REPLIES, drawn, rewards, config.objectives, well_formed)
            facts.update(seconds=round(drawn.seconds, 3), tokens=drawn.n_tokens)


class _Context:
    """What a worker keeps between tasks of one run."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._scorers: dict[Role, dict[str, Scorer]] = {}

    @functools.cached_property
    def _materials(self) -> Materials:
        return read_materials(self._place.config, self._place.run, self._place.base)

    @property
    def job_data(self) -> Any:
        """Rows that jobs train on."""
        return self._materials.job_data

    @property
    def encoder(self) -> Any:
        """The run's encoder."""
        return self._materials.encoder

    @functools.cached_property
    def test_prompts(self) -> list[Prompt]:
        """The evaluation prompts."""
        return read_test_prompts(self._place.config, self._place.run)

    def scorers(self, role: Role) -> dict[str, Scorer]:
        """Scorers of a role, loaded once."""
        if role not in self._scorers:
            self._scorers[role] = scorers(self._place.config, self._place.run, role)
        return self._scorers[role]


_contexts: dict[Path, _Context] = {}


def forget() -> None:
    """Drop what was kept for earlier tasks: their run may have changed on disk since."""
    _contexts.clear()


def _context(place: Place) -> _Context:
    if place.run.path not in _contexts:
        forget()
        _contexts[place.run.path] = _Context(place)
    return _contexts[place.run.path]


def _start_model(place: Place, start: Path | None, settings: TrainSettings) -> Any:
    from paretune.engines.lm.models import add_adapter, load_base, load_policy

    if start is not None:
        return load_policy(start, place.base, train=True, quantize=place.config.quantize)
    if settings.lora is None:
        return load_base(place.base)
    model = load_base(place.base, is_frozen=True, quantize=place.config.quantize)
    return add_adapter(model, settings.lora, settings.seed)


def round_folder(run: RunFolder, method: str, job_id: str, source: Replies) -> Path:
    """Where the replies of a round lie: beside the policy that gave them."""
    from paretune.core.description import identity

    return run.stage(4) / method / f"{job_id}.replies-{identity(replace(source, of=()))[:8]}"


def _round_prompts(data: PreferenceData, source: Replies, seed: int) -> list[Prompt]:
    rng = np.random.default_rng([seed, 5])
    n = min(source.prompts, data.n_prompts)
    chosen = np.sort(rng.choice(data.n_prompts, size=n, replace=False))
    return [data.prompts[int(i)] for i in chosen]


def _reply_data(place: Place, method: str, source: Replies) -> Any:
    """Rounds as training rows: broken replies are left out, repeated ones joined and counted."""
    from paretune.engines.lm.job_data import JobData

    here = _context(place)
    data: PreferenceData = here.job_data.data
    objectives = place.config.objectives
    prompts = _round_prompts(data, source, place.config.seed)
    found: dict[tuple[int, str], Response] = {}
    for job_id in source.of:
        rows = read_replies(round_folder(place.run, method, job_id, source) / REPLIES, objectives)
        for number, text, values in zip(
            rows["prompt_of"], rows["texts"], rows["rewards"], strict=True
        ):
            if collapse_cause(text) is not None:
                continue
            key, scores = (
                (int(number), text),
                dict(zip(objectives, map(float, values), strict=True)),
            )
            count = found[key].count + 1 if key in found else 1
            found[key] = Response(text, scores, count)
    records = [Record(prompts[number], (reply,)) for (number, _), reply in found.items()]
    if source.with_offline:
        counts = np.ones(len(data.texts), dtype=int) if data.counts is None else data.counts
        offline = zip(data.texts, data.prompt_of, data.rewards.values, counts, strict=True)
        for text, row, values, count in offline:
            scores = dict(zip(objectives, map(float, values), strict=True))
            records.append(Record(data.prompts[int(row)], (Response(text, scores, int(count)),)))
    if not records:
        raise InputError(f"{method}: every reply of {source.of} is empty or collapsed")
    rows_data = PreferenceData.from_records(records, objectives)
    rows_data = rows_data.with_rewards(RewardMatrix(place.config.axes, rows_data.rewards.values))
    encoded = here.encoder.encode(rows_data.prompts, rows_data.texts, rows_data.prompt_of)
    return JobData(rows_data, encoded, np.full(len(rows_data.texts), np.nan))


def _any_tradeoff(place: Place) -> Any:
    from paretune.core.tradeoff import TradeOff

    return TradeOff.even(len(place.config.objectives))
