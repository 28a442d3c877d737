"""The methods: one file each; listing this folder is the registry.

A file ``<name>.py`` holds one final frozen dataclass and ``METHOD = <the class>``. Other packages
offer methods through the entry-point group ``paretune.methods``, whose names and objects mean the
same.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from paretune.core.method import Method
from paretune.errors import ConfigError, nearest

GROUP = "paretune.methods"


def method_names() -> tuple[str, ...]:
    """Names of all methods, sorted, without importing any."""
    return tuple(sorted({*_own(), *_offered()}))


def load_methods() -> dict[str, type[Method]]:
    """Every method by name, imported."""
    return {name: method_class(name) for name in method_names()}


def method_class(name: str) -> type[Method]:
    """The class of one method.

    Raises:
        ConfigError: if the name is unknown (the message proposes the nearest), if another package
            offers a name that is taken, or what it offers is not a method.

    Example:
        >>> method_class("rewarded_soups").paper
        'arXiv:2306.04488'
    """
    own, offered = _own(), _offered()
    found: Any
    if name in own and name in offered:
        raise ConfigError(
            f"method {name!r}: found it here and in {offered[name].value!r}, expected one home"
        )
    if name in own:
        found = importlib.import_module(f"{__name__}.{name}").METHOD
    elif name in offered:
        found = offered[name].load()
    else:
        raise ConfigError(f"unknown method {name!r}{nearest(name, {*own, *offered})}")
    is_complete = is_dataclass(found)
    if not (isinstance(found, type) and issubclass(found, Method) and is_complete):
        raise ConfigError(f"method {name!r}: found {found!r}, expected a dataclass, a Method")
    return found


def build(name: str, options: Mapping[str, Any]) -> Method:
    """A method from its name and its options, as a configuration file holds them.

    Args:
        name: a file of this folder, or an entry point.
        options: field to plain value; a field that is not named keeps its default.

    Raises:
        ConfigError: for an unknown name or option, or a value that does not fit.

    Example:
        >>> build("rewarded_soups", {"beta": 0.5})
        RewardedSoups(beta=0.5)
    """
    from paretune.methods._fields import from_options

    return from_options(method_class(name), name, options)


def _own() -> tuple[str, ...]:
    """Files of this folder, without those that start with an underscore."""
    return tuple(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def _offered() -> dict[str, EntryPoint]:
    """Entry points of other packages."""
    return {point.name: point for point in entry_points(group=GROUP)}
