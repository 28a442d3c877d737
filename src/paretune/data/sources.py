"""Where rows come from, and the rules a row must follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final, get_args

from paretune.errors import ConfigError, nearest

Format = Literal[
    "auto",
    "records",
    "pairs",
    "responses",
    "ultrafeedback",
    "helpsteer2",
    "pku_saferlhf",
    "hh_rlhf",
]
OnBad = Literal["error", "skip"]


@final
@dataclass(frozen=True)
class DataSource:
    """One file, folder or hub data set, and how its columns are named.

    Args:
        path: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file, a folder of such files, a folder
            saved by ``datasets``, or a hub id (``owner/name``).
        format: shape of the rows; ``auto`` decides for each file by its first readable row.
        split: split of a folder or hub data set; a single file has no splits.
        labels: objective -> its name in the file (``{"helpful": "helpfulness"}``). An objective
            that is not named here keeps its own name.
        columns: field of the format -> its name in the file (``{"prompt": "question"}``).
        objective: for files of one axis: every label of the file belongs to this objective.
        turns: what an HH-RLHF dialogue becomes: ``text`` keeps every character, ``messages``
            splits it into turns without the white space around them.
        limit: read at most this many rows.

    Raises:
        ConfigError: if a value is unknown, ``limit`` is not positive, or the format needs
            ``objective`` and has none.
    """

    path: str
    format: Format = "auto"
    split: str = "train"
    labels: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    objective: str | None = None
    turns: Literal["text", "messages"] = "text"
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        if not self.path:
            raise ConfigError("path: found an empty text, expected a file, a folder or a hub id")
        _one_of("format", self.format, get_args(Format))
        _one_of("turns", self.turns, ("text", "messages"))
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit: found {self.limit}, expected at least 1 row")
        if self.format == "hh_rlhf" and self.objective is None:
            raise ConfigError(
                f"objective: found none for {self.path}, expected the objective that all of its "
                "chosen and rejected replies were judged on"
            )
        if self.objective is not None and self.labels:
            raise ConfigError(
                f"labels: found {dict(self.labels)} beside objective {self.objective!r}, expected "
                "one of the two: a file of one axis has no label names"
            )


@final
@dataclass(frozen=True)
class RowRules:
    """What to do with rows that are readable but of doubtful use.

    ``skip`` leaves the row out and counts it under its reason, ``error`` reports it as bad.

    Args:
        empty: a prompt or response of white space only, or no response at all.
        identical: a comparison of two equal texts.
        ties: a comparison with a tie on every label.
        repeated: a row with the content of an earlier one.
        too_long: a prompt or response over its limit; ``truncate`` keeps the start of a response
            (a prompt over its limit is still skipped).
        prompt_chars: limit of a prompt in characters, all turns together.
        response_chars: limit of a response in characters.
    """

    empty: Literal["skip", "error"] = "skip"
    identical: Literal["skip", "error", "keep"] = "skip"
    ties: Literal["skip", "error", "keep"] = "keep"
    repeated: Literal["skip", "error", "keep"] = "keep"
    too_long: Literal["skip", "error", "truncate"] = "skip"
    prompt_chars: int = 100_000
    response_chars: int = 100_000

    def __post_init__(self) -> None:
        _one_of("empty", self.empty, ("skip", "error"))
        for name in ("identical", "ties", "repeated"):
            _one_of(name, getattr(self, name), ("skip", "error", "keep"))
        _one_of("too_long", self.too_long, ("skip", "error", "truncate"))
        for name in ("prompt_chars", "response_chars"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: found {getattr(self, name)}, expected at least 1")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}: unknown value {value!r}{nearest(str(value), known)}")
