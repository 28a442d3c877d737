"""The search of a comparison: every method tries as many settings, on validation prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from paretune.core.comparison_results import SettingTried
from paretune.core.results import RunResult
from paretune.evaluation.comparison import best_setting, setting_tried
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.config_sections import CompareConfig
from paretune.pipeline.settings_grid import combinations, setting_name, with_options

SEARCH = "search"
"""Folder of the run that tries settings."""


@final
@dataclass(frozen=True)
class Choice:
    """What the search found for one method.

    Args:
        options: of the winner; ``None`` when every setting failed.
        tried: in order; empty where there was nothing to choose.
    """

    options: Mapping[str, Any] | None
    tried: tuple[SettingTried, ...] = ()

    @property
    def failed(self) -> str | None:
        """What went wrong with every setting."""
        if self.options is not None:
            return None
        return f"all {len(self.tried)} settings failed, first: {self.tried[0].failed}"


def search_config(config: RunConfig) -> RunConfig | None:
    """One run that tries all settings of all methods, or ``None`` where nothing is to be chosen.

    It has a seed of its own (base, data and training order), a coarse grid of trade-offs, and is
    measured on training prompts that nothing learns from.

    Args:
        config: of a recipe.
    """
    compare = config.compare or CompareConfig()
    methods: list[dict[str, Any]] = []
    for method in config.methods:
        settings = combinations(method)
        if len(settings) < 2:
            continue
        for number, options in enumerate(settings, 1):
            values = with_options(method, options) | {"label": setting_name(method, number)}
            values.pop("tradeoffs", None)
            methods.append(values)
    if not methods:
        return None
    values = _plain(config)
    return parse_config(
        values
        | {
            "name": SEARCH,
            "seed": compare.search_seed,
            "methods": methods,
            "tradeoffs": {"grid": compare.search_tradeoffs},
            "evaluate": {**values.get("evaluate", {}), "part": "validation"},
        }
    )


def choose(config: RunConfig, result: RunResult | None, problem: str = "") -> dict[str, Choice]:
    """The best setting of every method, by name.

    Args:
        config: of the recipe.
        result: of the search run; ``None`` where nothing was searched, or everything failed.
        problem: why everything failed.
    """
    criterion = (config.compare or CompareConfig()).criterion
    found = {}
    for method in config.methods:
        settings = combinations(method)
        if len(settings) < 2:
            found[method.name] = Choice(settings[0])
            continue
        tried = tuple(
            SettingTried(options, None, failed=problem)
            if result is None
            else setting_tried(result, setting_name(method, number), options, criterion)
            for number, options in enumerate(settings, 1)
        )
        best = best_setting(tried)
        found[method.name] = Choice(None if best is None else settings[best], tried)
    return found


def seed_config(config: RunConfig, choices: Mapping[str, Choice], seed: int) -> RunConfig:
    """The run of one seed: every method that is left at its chosen setting.

    Args:
        config: of the recipe.
        choices: by name of the method.
        seed: of the run.
    """
    methods = [
        with_options(method, options)
        for method in config.methods
        if (options := choices[method.name].options) is not None
    ]
    return parse_config(_plain(config) | {"name": f"seed-{seed}", "seed": seed, "methods": methods})


def _plain(config: RunConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json", exclude_unset=True)
    values.pop("compare", None)
    return values
