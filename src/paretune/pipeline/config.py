"""The configuration of a run: one ``run.yaml``, read strictly.

Every key is described where it is defined; an unknown key is refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from paretune.core.method import Method
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.errors import ConfigError, nearest
from paretune.methods import build
from paretune.pipeline.judge_config import JudgeConfig, may_be_secret
from paretune.pipeline.meaning import problems_of
from paretune.pipeline.strict_yaml import Where, apply_overrides, read_yaml

for _dataclass in (TrainSettings, LoraSettings):
    _dataclass.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


_LARGEST_SEED = 2**31 - 1
"""Two of them, added, are still a seed of numpy and torch."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Of runs and methods: a folder name that stays where it is put."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DataConfig(_Strict):
    """Where records come from: a file, one file an objective, or the embedded world."""

    path: str | None = Field(None, description="file, dataset folder or hub id")
    files: dict[str, str] = Field({}, description="one file an objective; also `data.<objective>`")
    format: str = Field("auto", description="auto, records, pairs, responses or an importer")
    split: str | None = Field(None, description="split of a dataset folder or hub id")
    labels: dict[str, str] = Field({}, description="objective: its name in the files")
    limit: int | None = Field(None, ge=1, description="rows read of each file")
    on_bad: Literal["error", "skip"] = Field("error", description="what a bad row does")
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


class TrainedReward(_Strict):
    """A reward model trained on the run's own comparisons, from the run's base."""

    half: Literal["all", "first", "second"] = Field(
        "all", description="which training prompts it sees; judges should see the other half"
    )
    train: TrainSettings = Field(TrainSettings(epochs=1, batch_size=16), description="its training")


class RewardConfig(_Strict):
    """One objective's reward: exactly one of column, function, model, trained."""

    column: str | None = Field(None, description="scores that the records hold")
    function: str | None = Field(None, description="file.py:name of a Python function")
    model: str | None = Field(None, description="folder or hub id of a classification model")
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


class BuildConfig(_Strict):
    """A base from nothing: sizes of a Llama-shaped model and its tokenizer."""

    hidden: int = Field(128, ge=1)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(384, ge=1)
    max_positions: int = Field(512, ge=8)
    vocabulary: int = Field(4096, ge=259)


class BaseConfig(_Strict):
    """The base policy: a local folder, a hub id, or built and trained from nothing."""

    path: str | None = Field(None, description="local folder or hub id")
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
        return self


class GridConfig(_Strict):
    """A lattice on the simplex: every weight a multiple of 1/grid."""

    grid: int = Field(10, ge=1)


def _kind_of_tradeoffs(value: Any) -> str | None:
    if isinstance(value, list):
        return "list[]"
    return "GridConfig" if isinstance(value, dict | GridConfig) else None


TradeOffs = Annotated[
    Annotated[GridConfig, Tag("GridConfig")]
    | Annotated[list[dict[str, float]], Tag("list[]"), Field(min_length=1)],
    Discriminator(
        _kind_of_tradeoffs,
        custom_error_type="tradeoffs",
        custom_error_message="expected {grid: N} or a list of {objective: weight}",
    ),
]
"""A lattice, or named weights."""


class GenerateConfig(_Strict):
    """Decoding, the same for every method."""

    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(1.0, ge=0, description="0 = greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    rows: int = Field(512, ge=1, description="replies in a batch")


class BoxConfig(_Strict):
    """Raw rewards that count as 0 and as 1, one number an objective."""

    low: list[float]
    high: list[float]

    @model_validator(mode="after")
    def _has_room(self) -> BoxConfig:
        # Written so that NaN fails as well.
        if not all(lo < hi for lo, hi in zip(self.low, self.high, strict=False)):
            raise ValueError("expected low < high on every objective")
        return self


class EvaluateConfig(_Strict):
    """How policies are measured."""

    prompts: int | None = Field(None, ge=1, description="test prompts used; default all")
    draws: int = Field(1, ge=1, description="replies a prompt")
    rewards: dict[str, RewardConfig] = Field({}, description="judges; default the run's rewards")
    box: BoxConfig | None = Field(None, description="frame of hypervolume; default training range")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of prompts")
    samples: int = Field(6, ge=0, description="prompts shown side by side in the report")


class MethodConfig(BaseModel):
    """One method: its name, a label if it comes twice, its options beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    method: str
    label: str | None = Field(None, pattern=_NAME)
    train: dict[str, Any] = {}
    tradeoffs: TradeOffs | None = None

    @property
    def name(self) -> str:
        """What results call it."""
        return self.label or self.method

    @property
    def options(self) -> dict[str, Any]:
        """Options of the method itself."""
        return dict(self.model_extra or {})


class RunConfig(_Strict):
    """Everything a run needs to know."""

    name: str = Field(pattern=_NAME)
    seed: int = Field(0, ge=0, le=_LARGEST_SEED, description="of every draw")
    objectives: list[str] = Field(description="the axes, in order; larger is better")
    data: DataConfig
    rewards: dict[str, RewardConfig] = Field({}, description="default: the column of that name")
    base: BaseConfig = BaseConfig()
    tradeoffs: TradeOffs = GridConfig()
    methods: list[MethodConfig] = Field(min_length=1)
    train: TrainSettings = TrainSettings()
    generate: GenerateConfig = GenerateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    workers: int = Field(0, ge=0, description="processes; 0 = one a core, one a GPU")

    @property
    def axes(self) -> Objectives:
        """The objectives, checked."""
        return Objectives(tuple(self.objectives))

    @property
    def run_tradeoffs(self) -> list[TradeOff]:
        """Trade-offs of every method that names no others, in order."""
        return self._as_tradeoffs(self.tradeoffs)

    @property
    def quantize(self) -> str:
        """How the frozen base of adapters is loaded, the same for all methods and the reference."""
        return self.train.lora.quantize if self.train.lora else "none"

    def tradeoffs_of(self, method: MethodConfig) -> list[TradeOff]:
        """Trade-offs a method is trained and evaluated for, in order."""
        return self._as_tradeoffs(self.tradeoffs if method.tradeoffs is None else method.tradeoffs)

    def _as_tradeoffs(self, wanted: GridConfig | list[dict[str, float]]) -> list[TradeOff]:
        if isinstance(wanted, GridConfig):
            from paretune.functional.simplex import lattice

            return list(lattice(len(self.objectives), wanted.grid))
        return [TradeOff.from_mapping(weights, self.axes) for weights in wanted]

    def build_method(self, method: MethodConfig) -> Method:
        """The method object; objectives given by name become columns.

        A name stands for its number (``objective``, ``primary``), and names with values for one
        value an objective, in order (``thresholds``, ``reward_floors``).
        """
        options = method.options
        for option, value in options.items():
            if option in ("objective", "primary") and isinstance(value, str):
                options[option] = self.axes.index(value)
            elif option in ("thresholds", "reward_floors") and isinstance(value, Mapping):
                columns: list[Any] = [None] * len(self.objectives)
                for name, number in value.items():
                    columns[self.axes.index(name)] = number
                options[option] = columns
        return build(method.method, options)

    def train_of(self, method: MethodConfig) -> TrainSettings:
        """The run's training settings with the method's own on top."""
        if not method.train:
            return self.train
        merged = TypeAdapter(TrainSettings).dump_python(self.train) | method.train
        return TypeAdapter(TrainSettings).validate_python(merged)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and check a ``run.yaml``.

    Files that it names are looked for beside it first, then in the working directory; those of an
    override only in the working directory, where they were typed.

    Raises:
        ConfigError: naming ``file:line: key: what is wrong`` for every problem at once.
    """
    values, where = read_yaml(path)
    values = _beside(values, path.parent)
    return parse_config(apply_overrides(values, overrides), where, path)


def parse_config(
    values: Mapping[str, Any], where: Where | None = None, path: Path | None = None
) -> RunConfig:
    """A checked configuration from plain values.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    source = str(path) if path else "configuration"
    values = _objective_files(dict(values))
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(e, where or {}, source) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    problems = [
        f"{_place(key, where or {}, source)}: {'.'.join(map(str, key))}: {text}"
        for key, text in problems_of(config)
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _beside(values: Any, folder: Path, key: str = "") -> Any:
    """Values with every file that lies in ``folder`` named from the working directory."""
    if isinstance(values, dict):
        return {k: _beside(v, folder, f"{key}.{k}") for k, v in values.items()}
    # data.path, data.<objective>, data.files.<objective>, base.path, rewards.<objective>.<kind>
    is_place = key.startswith(".data.") and not key.startswith(".data.judge.")
    is_place = is_place or key == ".base.path"
    is_place = is_place or (".rewards." in key and key.endswith((".function", ".model")))
    if not isinstance(values, str) or not is_place or Path(values).is_absolute():
        return values
    file, colon, name = values.partition(":") if key.endswith(".function") else (values, "", "")
    found = folder / file
    return f"{found}{colon}{name}" if file and found.exists() else values


def _objective_files(values: dict[str, Any]) -> dict[str, Any]:
    """``data.helpful=FILE`` is short for ``data.files.helpful=FILE``."""
    data, objectives = values.get("data"), values.get("objectives")
    if isinstance(data, dict) and isinstance(objectives, list):
        rest = {k: v for k, v in data.items() if k not in objectives}
        # A recipe leaves its files empty (`helpful: null`); then nothing is given, not "null".
        files = {k: v for k, v in data.items() if k in objectives and v is not None}
        if len(rest) < len(data):
            rest["files"] = {**(rest.get("files") or {}), **files}
            values = {**values, "data": rest}
    return values


def _place(key: tuple[str | int, ...], where: Where, source: str) -> str:
    while key and key not in where:
        key = key[:-1]
    return f"{source}:{where[key]}" if key in where else source


_KNOWN: dict[str, Any] = {
    "": RunConfig, "data": DataConfig, "base": BaseConfig, "base.build": BuildConfig,
    "generate": GenerateConfig, "evaluate": EvaluateConfig, "evaluate.box": BoxConfig,
    "data.judge": JudgeConfig,
}  # fmt: skip


def _explain(error: Any, where: Where, source: str) -> str:
    # A union's branch names appear in the location; only real keys help the reader.
    key = tuple(part for part in error["loc"] if not (isinstance(part, str) and _is_branch(part)))
    place, name = _place(key, where, source), ".".join(map(str, key))
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_keys(key[:-1])
        return f"{place}: {name}: unknown key{nearest(str(key[-1]), known) if known else ''}"
    is_quiet = error["type"] == "missing" or may_be_secret(key, error["input"])
    found = "" if is_quiet else f" (found {error['input']!r:.80})"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {name or 'run'}: {message}{found}"


def _is_branch(part: str) -> bool:
    return part.startswith(("list[", "dict[", "function-", "dataclass[")) or part in (
        "GridConfig", "TrainSettings", "LoraSettings",
    )  # fmt: skip


def _known_keys(parent: tuple[str | int, ...]) -> list[str]:
    if parent and parent[-1] in ("train", "lora"):
        kind = TrainSettings if parent[-1] == "train" else LoraSettings
        return list(kind.__dataclass_fields__)
    if parent and parent[-1] == "trained":
        return list(TrainedReward.model_fields)
    if len(parent) >= 2 and parent[-2] == "rewards":
        return list(RewardConfig.model_fields)
    model = _KNOWN.get(".".join(map(str, parent)))
    return list(model.model_fields) if model is not None else []
