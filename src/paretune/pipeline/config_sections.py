"""The sections of a ``run.yaml``; every key is described where it is defined."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paretune.data.sources import RowRules
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.pipeline.judge_config import JudgeConfig

for _dataclass in (TrainSettings, LoraSettings, RowRules):
    _dataclass.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]

LARGEST_SEED = 2**31 - 1
"""Two of them, added, are still a seed of numpy and torch."""


class Strict(BaseModel):
    """A section that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(Strict):
    """Where records come from: a file, one file an objective, or the embedded world."""

    path: str | None = Field(None, description="file, dataset folder or hub id")
    files: dict[str, str] = Field({}, description="one file an objective; also `data.<objective>`")
    format: str = Field("auto", description="auto, records, pairs, responses or an importer")
    split: str | None = Field(None, description="split of a dataset folder or hub id")
    labels: dict[str, str] = Field({}, description="objective: its name in the files")
    limit: int | None = Field(None, ge=1, description="rows read of each file")
    on_bad: Literal["error", "skip"] = Field("error", description="what a bad row does")
    rules: RowRules = Field(
        RowRules(), description="what empty, equal, tied, repeated and too long texts do"
    )
    plain_prompts: bool = Field(False, description="prompts hold their own turn marks")
    test_share: float = Field(0.1, gt=0, lt=1, description="share of prompts kept for evaluation")
    world: Literal["handy", "advice"] | None = Field(None, description="an embedded language world")
    scenario: Literal["A", "B", "C", "D"] = Field("A", description="of the world handy")
    pairs: int = Field(2000, ge=1, description="comparisons drawn from the world")
    graded_labels: bool = Field(False, description="labels from scores tell by how much")
    pairs_per_prompt: int | None = Field(
        None, ge=1, description="comparisons made from scores, of each prompt; default all"
    )
    judge: JudgeConfig | None = Field(None, description="a language model that labels comparisons")

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        given = [n for n in ("path", "files", "world") if getattr(self, n)]
        if len(given) != 1:
            raise ValueError(
                f"found {given or 'nothing'}, expected one of path, files (data.<objective>), world"
            )
        if self.judge is not None and self.graded_labels:
            raise ValueError("found judge and graded_labels, expected one: both make the labels")
        return self


class TrainedReward(Strict):
    """A reward model trained on the run's own comparisons, from the run's base."""

    half: Literal["all", "first", "second"] = Field(
        "all", description="which training prompts it sees; judges should see the other half"
    )
    train: TrainSettings = Field(TrainSettings(epochs=1, batch_size=16), description="its training")


class RewardConfig(Strict):
    """One objective's reward: exactly one of column, function, model, trained."""

    column: str | None = Field(None, description="scores that the records hold")
    function: str | None = Field(None, description="file.py:name of a Python function")
    model: str | None = Field(None, description="folder or hub id of a classification model")
    revision: str | None = Field(None, description="commit or tag of a hub id in model")
    trained: TrainedReward | None = Field(None, description="a model trained on the comparisons")
    logit: int | None = Field(None, ge=0, description="which output of the model, if many")
    sign: Literal[1, -1] = Field(1, description="-1 where a smaller output is better")
    input: Literal["prompt+response", "response", "chat"] = Field(
        "prompt+response", description="what the model reads"
    )
    turns: dict[str, str] = Field({}, description="role: how a turn is written as text")
    max_tokens: int | None = Field(None, ge=8, description="longer inputs are cut and counted")

    @model_validator(mode="after")
    def _one_kind(self) -> RewardConfig:
        given = [n for n in ("column", "function", "model", "trained") if getattr(self, n)]
        if len(given) != 1:
            raise ValueError(
                f"found {given or 'nothing'}, expected one of column, function, model, trained"
            )
        return self


class BuildConfig(Strict):
    """A base from nothing: sizes of a Llama-shaped model and its tokenizer."""

    hidden: int = Field(128, ge=1)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(384, ge=1)
    max_positions: int = Field(512, ge=8)
    vocabulary: int = Field(4096, ge=259)


class BaseConfig(Strict):
    """The base policy: a local folder, a hub id, or built and trained from nothing."""

    path: str | None = Field(None, description="local folder or hub id")
    revision: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$", description="commit or tag of a hub id"
    )
    build: BuildConfig | None = Field(None, description="sizes of a base from nothing")
    corpus: int = Field(51200, ge=1, description="replies of the world that train its base")
    train: TrainSettings = Field(
        TrainSettings(
            learning_rate=4e-3, epochs=1, batch_size=32, warmup_steps=40, max_response_tokens=512
        ),
        description="language modelling of a base from nothing",
    )

    @model_validator(mode="after")
    def _one_start(self) -> BaseConfig:
        if self.path and self.build:
            raise ValueError("found path and build, expected one of the two")
        if self.revision and (not self.path or Path(self.path).exists()):
            raise ValueError("found revision without a hub id in path, expected both or none")
        return self

    @property
    def source(self) -> str | None:
        """Folder or hub id, as `owner/name@revision` where a revision is given."""
        return f"{self.path}@{self.revision}" if self.revision else self.path


class GenerateConfig(Strict):
    """Decoding, the same for every method."""

    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, ge=0, description="0 = greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    rows: int = Field(512, ge=1, description="replies in a batch")


class BoxConfig(Strict):
    """Raw rewards that count as 0 and as 1, one number an objective."""

    low: list[float]
    high: list[float]

    @model_validator(mode="after")
    def _has_room(self) -> BoxConfig:
        # Written so that NaN fails as well.
        if not all(lo < hi for lo, hi in zip(self.low, self.high, strict=False)):
            raise ValueError("expected low < high on every objective")
        return self


class EvaluateConfig(Strict):
    """How policies are measured."""

    prompts: int | None = Field(None, ge=1, description="test prompts used; default all")
    draws: int = Field(1, ge=1, description="replies a prompt")
    rewards: dict[str, RewardConfig] = Field({}, description="judges; default the run's rewards")
    box: BoxConfig | None = Field(None, description="frame of hypervolume; default training range")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of prompts")
    samples: int = Field(12, ge=0, description="prompts whose replies the report shows")
    part: Literal["test", "validation"] = Field(
        "test", description="validation: a tenth of the training prompts, which nothing learns from"
    )


class CompareConfig(Strict):
    """How ``paretune compare`` compares the methods of the file; no other verb reads it."""

    seeds: int = Field(5, ge=2, description="runs of everything; the first has the file's seed")
    settings: int = Field(4, ge=1, description="most settings that are tried for a method")
    search_tradeoffs: int = Field(2, ge=1, description="grid of the trade-offs of the search")
    search_seed: int = Field(1000, ge=0, le=LARGEST_SEED, description="of the search alone")
    criterion: Literal["both", "hypervolume", "utility_min"] = Field(
        "both", description="share of the possible that a setting is chosen by; both: their mean"
    )
