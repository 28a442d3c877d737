"""A wish in place of methods: one objective as good as possible, others at least so good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from paretune.errors import ConfigError
from paretune.pipeline.config import RunConfig, parse_config

_METHOD = "mopo"
_CANDIDATES = 8
"""Replies of the reference a prompt: floors then mean "preferred to the reference's reply"."""


def with_wish(config: RunConfig, primary: str, at_least: Sequence[str] = ()) -> RunConfig:
    """A run of its own with a single method: the constrained policy that was wished for.

    Its other options are those of the run's ``mopo``, if it has one. Objectives that are not named
    are free. The run is called after the wish, so that the other results stay.

    Args:
        config: of the run; its methods are replaced.
        primary: name of the objective to maximize.
        at_least: ``objective=0.6`` for a floor in preference probability over the reference, or
            ``objective=reward:4.5`` for one in expected reward.

    Raises:
        ConfigError: for an unknown objective, one that is named twice, a floor on the primary
            objective, or a floor that is no number or out of range.

    """
    config.axes.index(primary)
    thresholds: dict[str, float] = {}
    reward_floors: dict[str, float] = {}
    for text in at_least:
        name, equals, value = text.partition("=")
        floors = reward_floors if value.startswith("reward:") else thresholds
        number = _number(value.removeprefix("reward:"))
        if not equals or number is None:
            raise ConfigError(
                f"--at-least: found {text!r}, expected objective=0.6 or objective=reward:4.5"
            )
        config.axes.index(name)
        if name in thresholds or name in reward_floors:
            raise ConfigError(f"--at-least: found {name} twice, expected one floor an objective")
        if floors is thresholds and not 0 <= number <= 1:
            raise ConfigError(
                f"--at-least: found {text!r}, expected a preference probability in [0, 1], or "
                f"{name}=reward:{value} for a reward"
            )
        if name == primary:
            raise ConfigError(f"--at-least: found {text!r}, expected no floor for the primary one")
        floors[name] = number
    own = next((m for m in config.methods if m.method == _METHOD), None)
    method: dict[str, Any] = {"method": _METHOD, "candidates": _CANDIDATES}
    if own is not None:
        method |= own.options | {"labels": "pool", "train": own.train}
    floors_in_name = "-".join(text.replace("=", "-").replace(":", "-") for text in at_least)
    label = f"{primary}-{floors_in_name}".rstrip("-")[:64]
    method |= {"label": label, "primary": primary, "tradeoffs": [{primary: 1.0}]}
    # Given, though maybe empty: an objective that is not named is free, its floor does not adapt.
    method |= {"thresholds": thresholds, "reward_floors": reward_floors}
    values = config.model_dump(mode="json", exclude_unset=True)
    name = f"{config.name}-{label}"[:64].rstrip("-.")
    return parse_config(values | {"name": name, "methods": [method]})


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
