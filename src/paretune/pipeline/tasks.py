"""What worker processes do: train one job, or let one policy reply. All state is on disk."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

from paretune.core.adapter import TradeOffAdapter
from paretune.core.job import Replies, TrainingJob
from paretune.core.policy import Steering
from paretune.core.record import Prompt
from paretune.core.rewards import Normalizer
from paretune.engines.lm.settings import TrainSettings
from paretune.functional.candidates import candidate_utility
from paretune.pipeline.comparisons import Materials, read_materials
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.job_checkpoints import (
    METRICS,
    Say,
    checkpoints_of,
    silent,
    training_log,
)
from paretune.pipeline.job_inputs import conditioned_prompts, job_inputs, round_prompts
from paretune.pipeline.records import read_test_prompts
from paretune.pipeline.replies import (
    REPLIES,
    draw,
    load_steered,
    score_drawn,
    write_replies,
)
from paretune.pipeline.rewards import Role, read_normalizer, scorers
from paretune.pipeline.worlds import world_of
from paretune.safety.ledger import append_row
from paretune.scoring.score import score_responses
from paretune.scoring.scorer import Scorer

if TYPE_CHECKING:
    from paretune.engines.lm.checkpoints import Checkpoints

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True)
class Place:
    """Where a task works: it finds everything else on disk.

    Args:
        config: of the run.
        run: folder of the run.
        base: path or hub id of the base.
        say: hears what a person must know; a worker passes it on to the run.
    """

    config: RunConfig
    run: RunFolder
    base: str
    say: Say = silent


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
        needed: folder of every policy that the jobs need: their start, reference or experts.
        settings: of the run, for this method.
        sealed: the folder: the policy itself, or of a group one folder a policy.
        needs: tasks that must be done before.
        weight: rough cost, for progress.
        rounds: of a job that learns from replies, their folder by the job that gave them.
        allowed: settings that may differ from those a stopped job began with.
    """

    method: str
    jobs: tuple[TrainingJob, ...]
    needed: Mapping[str, Path]
    settings: TrainSettings
    sealed: Sealed
    needs: tuple[str, ...]
    weight: float
    rounds: Mapping[str, Path] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()

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

    def checkpoints(self, say: Say = silent) -> Checkpoints | None:
        """Beside the folder it makes; ``None`` where the settings ask for none."""
        return checkpoints_of(self.sealed, self.settings, self.allowed, say)

    def perform(self, place: Place, progress: Progress) -> None:
        """Train and save the policies, going on from where a killed run stopped."""
        from paretune.engines.lm.conditioned import conditioned
        from paretune.engines.lm.jobs import train_jobs
        from paretune.engines.lm.models import load_tokenizer

        here, job = context(place), self.jobs[0]
        settings = replace(self.settings, seed=self.settings.seed + place.config.seed)
        checkpoints = self.checkpoints(place.say)
        kept = contextlib.nullcontext() if checkpoints is None else checkpoints.kept()
        with kept, self.sealed.writing() as (folder, facts):
            log = training_log(folder, checkpoints)
            spent = 0.0 if checkpoints is None else checkpoints.spent()
            model = _start_model(place, self.needed.get(job.start), settings, job)
            inputs = job_inputs(place, here, self.method, job, self.needed, self.rounds)
            jobs: Sequence[TrainingJob] = self.jobs
            if job.condition is not None:
                job, inputs = conditioned(job, inputs, here.encoder, here.normalizer)
                jobs = [job]
            losses: list[float] = []
            skipped: list[int] = [0]

            def watch(step: int, steps: int, numbers: Any) -> None:
                if "loss" in numbers:  # the library's last log line holds totals instead
                    losses.append(numbers["loss"])
                skipped.append(int(numbers.get("skipped_steps", 0)))
                append_row(log, {"step": step, **numbers}, durable=True)  # as checkpoints are
                progress(step, steps)

            save, cost = train_jobs(
                jobs, inputs, model, here.encoder.pad_id, settings, folder, watch, checkpoints
            )
            staged = [folder / path.relative_to(self.sealed.path) for path in self.folders.values()]
            save(load_tokenizer(place.base), staged)
            if skipped[-1]:
                place.say(f"{self.id}: {skipped[-1]} steps were left out: not finite")
            if log.exists() and log.parent != folder:
                shutil.copy(log, folder / METRICS)
            facts.update(
                seconds=round(spent + cost.seconds, 3), tokens=cost.tokens, steps=cost.steps,
                rows=cost.rows, last_loss=losses[-1] if losses else None,
                **({"floors": cost.floors} if cost.floors else {}),
                **({"skipped_steps": skipped[-1]} if skipped[-1] else {}),
            )  # fmt: skip


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

        here = context(place)
        prompts = round_prompts(here.job_data.data, self.source, place.config.seed)
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
            asked, draws = prompts, source.per_prompt
            if source.condition is not None:
                # Every reply is told something of its own.
                asked, draws = conditioned_prompts(place, here, prompts, source, self.job_id), 1
            drawn = draw(model, here.encoder, asked, steering, decoding, draws, progress=progress)
            if len(asked) > len(prompts):
                drawn = replace(drawn, prompt_of=drawn.prompt_of // source.per_prompt)
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

        config, here, steering = place.config, context(place), self.steering
        prompts = here.test_prompts
        generate = config.generate
        decoding = Decoding(
            generate.max_new_tokens, generate.temperature, generate.top_p, config.seed,
            generate.rows,
        )  # fmt: skip

        def rate(prompt_of: Any, texts: list[str]) -> Any:
            asked = [prompts[int(n)] for n in prompt_of]
            rewards = score_responses(asked, texts, here.scorers("rewards"))
            return candidate_utility(steering, here.normalizer, rewards)

        with self.sealed.writing() as (folder, facts):
            model = load_steered(steering, self.policies, place.base, config.quantize)
            drawn = draw(
                model, here.encoder, prompts, steering, decoding, config.evaluate.draws, rate,
                progress, here.job_data.data, config.seed, here.normalizer,
            )  # fmt: skip
            rewards = score_drawn(drawn, prompts, here.scorers("judges"))
            world = world_of(config)
            well_formed = world and [
                world.is_well_formed(str(prompts[int(n)]), text)
                for n, text in zip(drawn.prompt_of, drawn.texts, strict=True)
            ]
            write_replies(folder / REPLIES, drawn, rewards, config.objectives, well_formed)
            facts.update(seconds=round(drawn.seconds, 3), tokens=drawn.n_tokens)


class Context:
    """What a worker keeps between tasks of one run."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._scorers: dict[Role, dict[str, Scorer]] = {}
        self.expert_logps: dict[Path, Any] = {}

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
    def normalizer(self) -> Normalizer:
        """Statistics of the training rewards."""
        return read_normalizer(self._place.config, self._place.run)

    @functools.cached_property
    def test_prompts(self) -> list[Prompt]:
        """The evaluation prompts."""
        return read_test_prompts(self._place.config, self._place.run)

    def scorers(self, role: Role) -> dict[str, Scorer]:
        """Scorers of a role, loaded once."""
        if role not in self._scorers:
            self._scorers[role] = scorers(self._place.config, self._place.run, role)
        return self._scorers[role]


_contexts: dict[Path, Context] = {}


def forget() -> None:
    """Drop what was kept for earlier tasks: their run may have changed on disk since."""
    _contexts.clear()


def context(place: Place) -> Context:
    """What this worker keeps of a run."""
    if place.run.path not in _contexts:
        forget()
        _contexts[place.run.path] = Context(place)
    return _contexts[place.run.path]


def _start_model(
    place: Place, start: Path | None, settings: TrainSettings, job: TrainingJob
) -> Any:
    from paretune.engines.lm.models import add_adapter, load_base, load_policy
    from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter
    from paretune.engines.lm.tradeoff_embedding import add_tradeoff_embedding

    if start is not None:
        return load_policy(start, place.base, train=True, quantize=place.config.quantize)
    if job.head is not None and job.head.kind == "state":
        return load_base(place.base, is_frozen=True, quantize=place.config.quantize)
    if isinstance(job.adapter, TradeOffAdapter):
        model = load_base(place.base, is_frozen=True, quantize=place.config.quantize)
        target = "all-linear" if settings.lora is None else settings.lora.target
        return add_tradeoff_adapter(model, job.adapter, target, settings.seed)
    if settings.lora is None:
        model = load_base(place.base)
    else:
        model = load_base(place.base, is_frozen=True, quantize=place.config.quantize)
        model = add_adapter(model, settings.lora, settings.seed)
    if job.adapter is not None:
        add_tradeoff_embedding(model, job.adapter, settings.seed)
    return model


def _any_tradeoff(place: Place) -> Any:
    from paretune.core.tradeoff import TradeOff

    return TradeOff.even(len(place.config.objectives))
