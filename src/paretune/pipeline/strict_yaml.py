"""YAML read strictly: safe loader, no repeated key, and the line of every value for messages.

What is read is small and stays small: aliases of aliases that would unfold to more values than
anybody writes are refused before a value is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from paretune.errors import ConfigError

_LARGEST = 1 << 20
"""Bytes of a file."""
_MOST = 50_000
"""Values in it, aliases unfolded."""
_DIGITS = 100
"""Signs of a number or date: making one of a million digits takes minutes."""
Where = dict[tuple[str | int, ...], int]


def read_yaml(path: Path) -> tuple[dict[str, Any], Where]:
    """A YAML mapping and the line of each of its values.

    Args:
        path: a file of at most 1 MiB.

    Returns:
        The values, and line numbers (from 1) by key path.

    Raises:
        ConfigError: if the file is missing, not YAML, not a mapping, or repeats a key.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: found no such file, expected a run configuration (run.yaml)")
    if path.stat().st_size > _LARGEST:
        raise ConfigError(f"{path}: found {path.stat().st_size} bytes, expected at most {_LARGEST}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not UTF-8: {error}") from error
    values, where = _parse(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: found {type(values).__name__}, expected keys and values")
    return values, where


class _Loader(yaml.SafeLoader):
    """Counts the values that it has read."""

    n_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.n_values += 1
        if self.n_values > _MOST:
            raise yaml.MarkedYAMLError(problem=f"found more than {_MOST:,} values")
        return super().compose_node(parent, index)


def _parse(text: str, source: str) -> tuple[Any, Where]:
    """The value of a text, and where its parts are."""
    where: Where = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except RecursionError as error:
        raise ConfigError(f"{source}: found keys nested too deep, expected a run.yaml") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{source}{line}: not YAML: {problem}") from error
    if node is None:
        return None, where
    try:
        # First of all: what it refuses would take years to make values of.
        _walk(node, (), where, source)
    except RecursionError as error:  # an alias inside its own anchor
        raise ConfigError(f"{source}: found a value that holds itself, expected a tree") from error
    try:
        return loader.construct_document(node), where
    except (yaml.YAMLError, ValueError) as error:  # an unknown tag, a month 13
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{source}{line}: not YAML: {problem}") from error


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``a.b=c`` on top of the values of a file; ``c`` is read as YAML.

    Raises:
        ConfigError: if an override has no ``=`` or goes through something that holds no keys.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set: found {override!r}, expected key=value")
        try:
            value, _ = _parse(text, f"--set {key}")
        except ConfigError as error:
            raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from error
        target: Any = values
        *path, last = key.split(".")
        for part in path:
            target = _step(target, part, key)
        if isinstance(target, list):
            target[_index(target, last, key)] = value
        else:
            target[last] = value
    return values


def _step(target: Any, part: str, key: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, key)]
    if target.get(part) is None:
        target[part] = {}
    if not isinstance(target[part], dict | list):
        raise ConfigError(f"--set {key}: {part} is {target[part]!r}, expected keys below it")
    return target[part]


def _index(target: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(target):
        raise ConfigError(f"--set {key}: found {part!r}, expected a number below {len(target)}")
    return int(part)


def _walk(node: Any, key: tuple[str | int, ...], where: Where, source: str) -> None:
    where[key] = line = node.start_mark.line + 1
    if len(where) > _MOST:
        raise ConfigError(f"{source}: found more than {_MOST:,} values once aliases are unfolded")
    _check_length(node, f"{source}:{line}")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            _check_length(key_node, f"{source}:{key_node.start_mark.line + 1}")
            name = str(key_node.value)
            if name in seen:
                raise ConfigError(
                    f"{source}:{key_node.start_mark.line + 1}: {name}: the key is repeated"
                )
            seen.add(name)
            _walk(value_node, (*key, name), where, source)
            where[(*key, name)] = key_node.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value_node in enumerate(node.value):
            _walk(value_node, (*key, index), where, source)


def _check_length(node: Any, place: str) -> None:
    is_text = node.tag == "tag:yaml.org,2002:str" or not isinstance(node, yaml.ScalarNode)
    if not is_text and len(node.value) > _DIGITS:
        raise ConfigError(f"{place}: found a number of {len(node.value):,} signs")
