"""Settings that a comparison tries for a method: every combination of its ``search`` values."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretune.pipeline.config import MethodConfig, RunConfig
    from paretune.pipeline.config_sections import CompareConfig

Key = tuple[str | int, ...]
Problems = Callable[["RunConfig", "MethodConfig", Key], Iterator[tuple[Key, str]]]

_NOT_OPTIONS = ("method", "label", "tradeoffs", "search", "train")
_LONGEST_NAME = 64


def combinations(method: MethodConfig) -> list[dict[str, Any]]:
    """Every combination of the values, the last option changing fastest; one empty one without.

    The keys of a combination are those of ``search``.
    """
    names = list(method.search)
    return [dict(zip(names, row, strict=True)) for row in product(*method.search.values())]


def with_options(method: MethodConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's values with options set and nothing to search; ``train.steps`` goes below train.

    Args:
        method: of a recipe.
        options: a combination.
    """
    values = copy.deepcopy(method.model_dump(mode="json", exclude_unset=True))
    values.pop("search", None)
    for name, value in options.items():
        target, parts = values, name.split(".")
        for part in parts[:-1]:
            target = target.setdefault(part, {})
        target[parts[-1]] = value
    return values


def setting_name(method: MethodConfig, number: int) -> str:
    """What the search calls a setting of a method, from 1."""
    return f"{method.name}-{number}"


def search_problems(config: RunConfig, problems_of: Problems) -> Iterator[tuple[Key, str]]:
    """Key and message of everything that is wrong with what is to be searched.

    Args:
        config: of a recipe.
        problems_of: what is wrong with one method.
    """
    limit = compare_settings(config).settings
    names = Counter(
        setting_name(m, n) for m in config.methods for n in range(1, _count(m) + 1) if m.search
    )
    for place, method in enumerate(config.methods):
        key: Key = ("methods", place, "search")
        wrong = [name for name in method.search if name in _NOT_OPTIONS]
        if wrong:
            yield key, f"found {', '.join(wrong)}, expected options of the method, or train.<one>"
            continue
        empty = [name for name, values in method.search.items() if not values]
        if empty:
            yield (*key, empty[0]), "found no value, expected at least one to choose"
            continue
        if _count(method) > limit:
            yield (
                key,
                f"found {_count(method)} settings, expected at most {limit}: every method has the "
                "same budget (compare.settings)",
            )
            continue
        if not method.search:
            continue
        long_or_twice = [
            name
            for n in range(1, _count(method) + 1)
            if names[name := setting_name(method, n)] > 1
            or len(name) > _LONGEST_NAME
            or any(name == other.name for other in config.methods)
        ]
        if long_or_twice:
            yield key, f"found the name {long_or_twice[0]!r} for a setting, expected another label"
        yield from _of_settings(config, method, key, problems_of)
    if config.compare is not None or any(method.search for method in config.methods):
        compare = compare_settings(config)
        seeds = range(config.seed, config.seed + compare.seeds)
        if compare.search_seed in seeds:
            yield (
                ("compare", "search_seed"),
                f"found {compare.search_seed}, expected none of the seeds {seeds.start} to "
                f"{seeds.stop - 1}: what is chosen on a seed must not be judged on it",
            )


def compare_settings(config: RunConfig) -> CompareConfig:
    """How methods are compared: the section of the recipe, or its defaults."""
    from paretune.pipeline.config_sections import CompareConfig

    return config.compare or CompareConfig()


def _of_settings(
    config: RunConfig, method: MethodConfig, key: Key, problems_of: Problems
) -> Iterator[tuple[Key, str]]:
    """The first problem of each kind that some setting has."""
    told = set()
    for options in combinations(method):
        try:
            candidate = type(method).model_validate(with_options(method, options))
        except ValueError as error:
            yield key, f"{in_words(options)}: {error}"
            return
        for _, problem in problems_of(config, candidate, key):
            if (kind := re.sub(r"[\d.e+-]+", "#", problem)) not in told:
                told.add(kind)
                yield key, f"with {in_words(options)}: {problem}"


def in_words(options: Mapping[str, Any]) -> str:
    """A setting as text.

    Example:
        >>> in_words({"beta": 0.5, "train.learning_rate": 2e-4}), in_words({})
        ('beta 0.5, train.learning_rate 0.0002', 'as in the recipe')
    """
    return ", ".join(f"{name} {value}" for name, value in options.items()) or "as in the recipe"


def _count(method: MethodConfig) -> int:
    return math.prod(len(values) for values in method.search.values())
