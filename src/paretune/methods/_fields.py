"""Fields of a method: checked when it is constructed, converted when read from a configuration."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

from paretune.core.method import Method
from paretune.errors import ConfigError, nearest


def check(is_fine: bool, where: str, found: object, expected: str) -> None:
    """Refuse a field's value unless ``is_fine``.

    Raises:
        ConfigError: with what was found, what was expected, and where (``method.field``).
    """
    if not is_fine:
        raise ConfigError(f"{where}: found {found!r}, expected {expected}")


def check_choices(method: Method, name: str) -> None:
    """Refuse a method whose ``Literal`` fields hold anything else.

    Raises:
        ConfigError: naming the field and the nearest choice.
    """
    for field, annotation in typing.get_type_hints(type(method)).items():
        if typing.get_origin(annotation) is Literal:
            _check_choice(getattr(method, field), annotation, f"{name}.{field}")


def from_options(method: type[Method], name: str, options: Mapping[str, Any]) -> Method:
    """A method from plain values, as a configuration file holds them.

    Raises:
        ConfigError: for an unknown option (the message proposes the nearest), a value of the wrong
            type, or one that the method itself refuses.
    """
    cls: Any = method
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for option in options:
        if option not in known:
            raise ConfigError(f"method {name!r}: unknown option {option!r}{nearest(option, known)}")
    annotations = typing.get_type_hints(method)
    return method(**{k: _convert(v, annotations[k], f"{name}.{k}") for k, v in options.items()})


def _convert(value: Any, annotation: Any, where: str) -> Any:
    """``value`` as the annotation wants it, without guessing: only int and text become float."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        options = typing.get_args(annotation)
        if value is None and type(None) in options:
            return None
        wanted = [o for o in options if o is not type(None)]
        if len(wanted) == 1:
            return _convert(value, wanted[0], where)
    if typing.get_origin(annotation) is Literal:
        _check_choice(value, annotation, where)
        return value
    if typing.get_origin(annotation) is tuple and isinstance(value, list | tuple):
        return tuple(_convert(v, typing.get_args(annotation)[0], where) for v in value)
    if typing.get_origin(annotation) is Mapping and isinstance(value, Mapping):
        # What the options mean, whoever takes them checks.
        return dict(value)
    if annotation is float and not isinstance(value, bool):
        try:
            # Text too: YAML 1.1 reads 1e-5 as text.
            return float(value)
        except (TypeError, ValueError):
            pass
    if annotation in (int, str, bool) and type(value) is annotation:
        return value
    expected = getattr(annotation, "__name__", str(annotation))
    raise ConfigError(f"{where}: found {value!r} ({type(value).__name__}), expected {expected}")


def _check_choice(value: Any, choices: Any, where: str) -> None:
    known = typing.get_args(choices)
    # True == 1, so the type counts too.
    if not any(value == choice and type(value) is type(choice) for choice in known):
        raise ConfigError(f"{where}: found {value!r}{nearest(str(value), map(str, known))}")
