"""Scalarizers by the names that configuration files use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from paretune.errors import ConfigError, nearest
from paretune.functional.gradient_combination import MGDA, UPGrad
from paretune.functional.hypervolume_gradient import HypervolumeGradient
from paretune.functional.learned_weights import Mirror, RandomWeights, UncertaintyWeights
from paretune.functional.pareto_hypervolume import ParetoHypervolume
from paretune.functional.scalarizer import Scalarizer
from paretune.functional.scalarizers import (
    Chebyshev,
    Linear,
    LogHypervolume,
    SmoothChebyshev,
    Tilted,
)

ScalarizerName = Literal[
    "linear", "chebyshev", "stch", "tilted", "pareto_hv", "loghv", "mirror", "uw", "rlw", "mgda",
    "upgrad", "hv_gradient",
]  # fmt: skip

SCALARIZERS: Mapping[ScalarizerName, type[Scalarizer]] = {
    "linear": Linear,
    "chebyshev": Chebyshev,
    "stch": SmoothChebyshev,
    "tilted": Tilted,
    "pareto_hv": ParetoHypervolume,
    "loghv": LogHypervolume,
    "mirror": Mirror,
    "uw": UncertaintyWeights,
    "rlw": RandomWeights,
    "mgda": MGDA,
    "upgrad": UPGrad,
    "hv_gradient": HypervolumeGradient,
}


def build_scalarizer(name: str, options: Mapping[str, Any] | None = None) -> Scalarizer:
    """A scalarizer from its name and its options, as a configuration file holds them.

    Args:
        name: one of :data:`SCALARIZERS`.
        options: field to plain value; a list becomes a tuple, text that is a number becomes one
            (YAML 1.1 reads ``1e-5`` as text). A field that is not named keeps its default.

    Raises:
        ConfigError: for an unknown name or option (the message proposes the nearest), a missing
            one, or a value that the scalarizer refuses.

    Example:
        >>> build_scalarizer("stch", {"mu": 0.5})
        SmoothChebyshev(mu=0.5, reduce='auto')
    """
    if name not in SCALARIZERS:
        raise ConfigError(f"unknown scalarizer {name!r}{nearest(name, SCALARIZERS)}")
    cls: Any = SCALARIZERS[name]  # type: ignore[index]
    known = [field.name for field in fields(cls)]
    given = {}
    for option, value in (options or {}).items():
        if option not in known:
            raise ConfigError(
                f"scalarizer {name!r}: unknown option {option!r}{nearest(option, known)}"
            )
        given[option] = _plain(value)
    if name == "loghv" and "reference" not in given:
        raise ConfigError("scalarizer 'loghv': found no reference, expected one above every loss")
    found: Scalarizer = cls(**given)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
