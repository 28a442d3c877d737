"""The configuration of a run: one ``run.yaml``, read strictly.

Every key is described where it is defined; an unknown key is refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)

from paretune.core.method import Method
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.errors import ConfigError, nearest
from paretune.methods import build
from paretune.pipeline.config_sections import (
    LARGEST_SEED,
    BaseConfig,
    BoxConfig,
    BuildConfig,
    CompareConfig,
    DataConfig,
    EvaluateConfig,
    GenerateConfig,
    RewardConfig,
    Strict,
    TrainedReward,
)
from paretune.pipeline.judge_config import JudgeConfig, may_be_secret
from paretune.pipeline.meaning import problems_of
from paretune.pipeline.strict_yaml import Where, apply_overrides, read_yaml
from paretune.safety.secrets import Key, find_secrets

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Of runs and methods: a folder name that stays where it is put."""


class GridConfig(Strict):
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


class MethodConfig(BaseModel):
    """One method: its name, a label if it comes twice, its options beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    method: str
    label: str | None = Field(None, pattern=_NAME)
    train: dict[str, Any] = {}
    tradeoffs: TradeOffs | None = None
    search: dict[str, list[Any]] = Field(
        {}, description="option, or train.<setting>: values that `paretune compare` chooses among"
    )

    @property
    def name(self) -> str:
        """What results call it."""
        return self.label or self.method

    @property
    def options(self) -> dict[str, Any]:
        """Options of the method itself."""
        return dict(self.model_extra or {})


class RunConfig(Strict):
    """Everything a run needs to know."""

    name: str = Field(pattern=_NAME)
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of every draw")
    objectives: list[str] = Field(description="the axes, in order; larger is better")
    data: DataConfig
    rewards: dict[str, RewardConfig] = Field({}, description="default: the column of that name")
    base: BaseConfig = BaseConfig()
    tradeoffs: TradeOffs = GridConfig()
    methods: list[MethodConfig] = Field(min_length=1)
    train: TrainSettings = TrainSettings()
    generate: GenerateConfig = GenerateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    compare: CompareConfig | None = Field(None, description="read by `paretune compare` alone")
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

        A name stands for its number (``objective``, ``primary``, ``axis``), and names with values
        for one value an objective, in order (``thresholds``, ``reward_floors``).
        """
        options = method.options
        for option, value in options.items():
            if option in ("objective", "primary", "axis") and isinstance(value, str):
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
    # Before anything that repeats a value in a message.
    _refuse(find_secrets(values), where or {}, source)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(e, where or {}, source) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    _refuse(problems_of(config), where or {}, source)
    return config


def _refuse(problems: Iterable[tuple[Key, str]], where: Where, source: str) -> None:
    """Tell all problems at once, if there are any."""
    lines = [
        f"{_place(key, where, source)}: {'.'.join(map(str, key)) or 'run'}: {text}"
        for key, text in problems
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def with_seeds(config: RunConfig, seeds: int | None) -> RunConfig:
    """A recipe with another number of seeds; ``None`` leaves it as it is.

    Raises:
        ConfigError: if there are fewer than two, or the search's own is among them.
    """
    if seeds is None:
        return config
    values = config.model_dump(mode="json", exclude_unset=True)
    return parse_config(values | {"compare": {**(values.get("compare") or {}), "seeds": seeds}})


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
    "data.judge": JudgeConfig, "compare": CompareConfig,
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
