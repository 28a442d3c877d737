"""What methods need of the data, and which of them can do without."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence

import numpy as np

from paretune.core.method import Method
from paretune.core.record import PreferenceData
from paretune.errors import ConfigError
from paretune.methods import load_methods
from paretune.pipeline.config import RunConfig


def check_scores(config: RunConfig, data: PreferenceData) -> None:
    """Refuse methods that need scores where responses have none.

    Args:
        config: of the run.
        data: its training records, as far as they are rewarded.

    Raises:
        ConfigError: naming the objectives, and every method that learns from these data.
    """
    is_open = np.isnan(data.rewards.values).any(axis=0)
    unscored = [n for n, gaps in zip(data.rewards.objectives, is_open, strict=True) if gaps]
    require_scores(config, unscored, data.n_comparisons > 0)


def require_scores(config: RunConfig, unscored: Sequence[str], has_pairs: bool) -> None:
    """The same, given which objectives have gaps and whether there are comparisons."""
    for method in config.methods:
        if unscored and "scores" in config.build_method(method).needs:
            raise ConfigError(
                f"methods: {method.name} needs a score of every response, and "
                f"{', '.join(unscored)} has gaps; expected rewards.{unscored[0]} with a function, "
                "a model, or trained: {}; or a method that learns from these data: "
                f"{', '.join(without_scores(has_pairs))}"
            )


def without_scores(has_pairs: bool) -> list[str]:
    """Methods that need no scores, by name; with the option that they can do so by.

    Args:
        has_pairs: also those that need comparisons.

    Example:
        >>> [name for name in without_scores(has_pairs=True) if "dpo" in name]
        ['dpo', 'modpo (margins: policies)', 'scalarized_dpo']
    """
    met = {"pairs"} if has_pairs else set()
    found = []
    for name, method in load_methods().items():
        option = _option_within(method(), met)
        if option is not None:
            found.append(f"{name} ({option})" if option else name)
    return found


def _option_within(method: Method, met: set[str]) -> str | None:
    """The option by which a method's needs are met: empty for its defaults, ``None`` for none."""
    if set(method.needs) <= met:
        return ""
    made: typing.Any = method
    for field, annotation in typing.get_type_hints(type(method)).items():
        for choice in typing.get_args(annotation):
            if typing.get_origin(annotation) is typing.Literal:
                try:
                    other = dataclasses.replace(made, **{field: choice})
                except ConfigError:
                    continue
                if set(other.needs) <= met:
                    return f"{field}: {choice}"
    return None
