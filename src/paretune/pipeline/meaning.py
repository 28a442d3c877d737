"""What the types of a configuration cannot tell: names that must exist, values that must fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.errors import ConfigError, nearest
from paretune.pipeline.judge_config import judge_problems
from paretune.pipeline.settings_grid import search_problems

if TYPE_CHECKING:
    from paretune.pipeline.config import MethodConfig, RunConfig

REFERENCE = "reference"
"""What results call the base policy; no method may."""

BASES = "bases"
"""Folder beside the runs that they share; no run may be called so."""

Key = tuple[str | int, ...]
_OF_THE_RUN = ("max_prompt_tokens", "max_response_tokens")
"""Training settings that a method cannot change: all methods share the encoded texts."""


def problems_of(config: RunConfig) -> Iterator[tuple[Key, str]]:
    """Key and message of everything that is wrong with a configuration of the right types."""
    if config.name == BASES:
        yield ("name",), f"found {BASES!r}, where the bases of all runs lie, expected another name"
    if problem := _problem(lambda: config.axes):
        yield ("objectives",), problem
        return
    if len(config.objectives) < 2:
        yield ("objectives",), f"found {config.objectives}, expected at least two to trade off"
        return
    sections: dict[Key, Mapping[str, Any]] = {
        ("rewards",): config.rewards,
        ("evaluate", "rewards"): config.evaluate.rewards,
        ("data", "files"): config.data.files,
        ("data", "labels"): config.data.labels,
    }
    for section, names in sections.items():
        for name in names:
            if problem := _problem(lambda name=name: config.axes.index(name)):  # type: ignore[misc]
                yield (*section, name), problem
    for place, problem in judge_problems(config.data.judge, config.axes):
        yield ("data", "judge", *place), problem
    if problem := _problem(lambda: _distinct(config.run_tradeoffs)):
        yield ("tradeoffs",), problem
    for n, method in enumerate(config.methods):
        yield from _of_method(config, method, ("methods", n))
    yield from search_problems(config, _of_method)
    for name, times in Counter(m.name for m in config.methods).items():
        if times > 1:
            yield ("methods",), f"{name!r} comes twice, expected a label that tells them apart"
    box, expected = config.evaluate.box, len(config.objectives)
    if box and not len(box.low) == len(box.high) == expected:
        yield ("evaluate", "box"), f"expected {expected} numbers in low and in high"


def _of_method(config: RunConfig, method: MethodConfig, key: Key) -> Iterator[tuple[Key, str]]:
    if method.name == REFERENCE:
        yield key, f"found the name {REFERENCE!r}, which results give the base policy"
    # A plan checks the options against the objectives and the trade-offs.
    asked = [TradeOff.even(len(config.objectives))]
    if not _problem(lambda: config.tradeoffs_of(method)):
        asked = config.tradeoffs_of(method)
    if problem := _problem(lambda: config.build_method(method).plan(len(asked[0]), asked)):
        yield key, problem
    shared = [name for name in _OF_THE_RUN if name in method.train]
    if shared:
        yield (
            (*key, "train"),
            f"found {', '.join(shared)}, expected below the run's own train: every method learns "
            "from the same encoded texts",
        )
    elif problem := _problem(lambda: config.train_of(method)):
        yield (*key, "train"), problem
    elif (lora := config.train_of(method).lora) and lora.quantize not in ("none", config.quantize):
        yield (
            (*key, "train"),
            f"found lora.quantize {lora.quantize}, expected it below the run's own train: the "
            "reference and every method share one base",
        )
    if method.tradeoffs is not None and (
        problem := _problem(lambda: _distinct(config.tradeoffs_of(method)))
    ):
        yield (*key, "tradeoffs"), problem


def _distinct(tradeoffs: list[TradeOff]) -> None:
    for slug, times in Counter(t.slug for t in tradeoffs).items():
        if times > 1:
            raise ConfigError(
                f"found {times} trade-offs at {slug}, expected each once (to four digits)"
            )


def _problem(attempt: Callable[[], Any]) -> str | None:
    try:
        attempt()
    except ConfigError as error:
        return str(error)
    except ValidationError as error:
        found = error.errors()[0]
        key, text = found["loc"], str(found["msg"])
        if found["type"] == "unexpected_keyword_argument":
            kind = LoraSettings if "lora" in key[:-1] else TrainSettings
            text = f"unknown key{nearest(str(key[-1]), list(kind.__dataclass_fields__))}"
        return f"{'.'.join(map(str, key))}: {text}"
    return None
